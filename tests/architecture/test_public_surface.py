import inspect
import re
from importlib.resources import files

import router_sdk
from router_sdk import errors, plugin


def test_the_public_names_are_these():
    assert router_sdk.__all__ == [
        "Agent",
        "Call",
        "Decision",
        "Example",
        "Outcome",
        "OutcomeReward",
        "Proposal",
        "Router",
        "RouterConfig",
        "RouterError",
        "Strategy",
        "Task",
    ]
    assert all(getattr(router_sdk, name).__doc__ for name in router_sdk.__all__)


def test_what_plugin_authors_may_rely_on_is_this():
    assert plugin.__all__ == [
        "CHECKPOINTS",
        "DEFAULT_TASK_TYPE",
        "RESULTS",
        "Activity",
        "Address",
        "Agent",
        "AgentSet",
        "Alert",
        "Check",
        "CheckResult",
        "Comparison",
        "Connection",
        "CorruptArtifactError",
        "Decision",
        "Encoder",
        "EncoderConfig",
        "EncoderUnavailableError",
        "Engine",
        "Example",
        "ExampleColumns",
        "Execution",
        "FeatureValue",
        "FitContext",
        "FitError",
        "FitExecutor",
        "FitExecutorConfig",
        "FitJob",
        "FitStoppedError",
        "InvalidConfigError",
        "InvalidInputError",
        "Kept",
        "Message",
        "NotAStoreError",
        "NotTrainableError",
        "Outcome",
        "Outgoing",
        "Prefetched",
        "PrioritizedBuffer",
        "Proposal",
        "QualityScorer",
        "Reached",
        "Reading",
        "RenewedLease",
        "ReplayBuffer",
        "ReplayDraw",
        "RequestEncoder",
        "ReservoirBuffer",
        "Restriction",
        "RewardFunction",
        "RouteContext",
        "RouterClosedError",
        "Rows",
        "Schema",
        "SchemaVersionError",
        "Score",
        "Shelf",
        "Signals",
        "Sink",
        "Source",
        "SourceCheck",
        "StoreBusyError",
        "StoreUnavailableError",
        "Strategy",
        "StrategyConfig",
        "StrategyServices",
        "StreamUnavailableError",
        "Stretches",
        "Task",
        "TooFewExamplesError",
        "TrainingData",
        "Trigger",
        "Writing",
        "counted",
        "fit_in_child",
        "folded",
        "hookimpl",
        "nearest",
        "no_fork",
        "normal",
        "pack_folder",
        "phrase_pattern",
        "unpack_folder",
        "unspaced_pairs",
        "words",
    ]
    assert all(hasattr(plugin, name) for name in plugin.__all__)


def test_the_package_says_that_it_is_typed():
    assert files("router_sdk").joinpath("py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(router_sdk, "Roter")


def test_the_tree_in_the_errors_module_is_the_tree_of_its_classes():
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind.__module__ == errors.__name__
    }
    assert sorted(classes) == sorted(errors.__all__) == list(errors.__all__)
    drawn, path = {}, []
    for line in errors.__doc__.splitlines():
        found = re.match(r"^ {4}([│├└─ ]*)(\w+Error)\b(?: \((\w+)\))?", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else "Exception", found[3])
    assert drawn.keys() == classes.keys()
    for name, (parent, beside) in drawn.items():
        assert [base.__name__ for base in classes[name].__bases__] == [parent, *([beside] if beside else [])]
