"""A plugin that ends the program has failed like any other; a program that is told to end does."""

import signal
import sys
from functools import partial
from importlib.metadata import EntryPoint

import pytest
from fitted_strategy import Words

from router_sdk import Outcome, Proposal, Router, plugins
from router_sdk.errors import FAULTS, FitError, InvalidRewardError, StrategyError, UnknownStrategyError, let_end
from router_sdk.plugin import hookimpl
from router_sdk.plugins import PluginRegistry

from .doubles import Counting

BYE = SystemExit(3)
METHODS = [
    "propose",
    "propose_batch",
    "restrict",
    "learn",
    "prepare",
    "published",
    "close",
    "report",
    "expected",
    "save",
]


def leaving(*methods, name="leaving", error=BYE):
    """A strategy of which these methods end the program."""

    def leave(self, *arguments, **named):
        raise error

    return type("Leaving", (Counting,), {"name": name, **dict.fromkeys(methods, leave)})


@pytest.mark.parametrize("method", METHODS)
def test_a_strategy_that_exits_is_passed_over(make_router, method):
    router = make_router([leaving(method), Counting], learn_now=True)
    for decision in (router.route("x"), *router.route_batch(["x", "y"])):
        router.record(decision, Outcome(success=True))
    router.agent_performance()
    assert router.status()["strategies"][0]["name"] == "leaving"
    if method == "propose":
        assert decision.strategy == "counting"
        assert decision.skipped[0].reason == "failed: SystemExit"
    try:
        router.close()
    except StrategyError as error:
        assert method == "save"
        assert "leaving: SystemExit" in str(error)  # noqa: PT017


def test_a_strategy_that_exits_while_it_warms_up_says_so(make_router):
    assert make_router([leaving("warm_up"), Counting]).warm_up() == {"leaving": "failed: SystemExit"}


@pytest.mark.parametrize("error", [SystemExit("bye"), RuntimeError("bye")])
def test_a_strategy_that_cannot_be_made_is_a_named_error(store_path, error):
    with pytest.raises(StrategyError, match=rf"strategy 'leaving' cannot be made: {type(error).__name__}: bye"):
        Router(["a"], [leaving("__init__", error=error)], store_path)


def test_an_interrupt_passes(make_router):
    router = make_router([leaving("propose", error=KeyboardInterrupt()), Counting])
    with pytest.raises(KeyboardInterrupt):
        router.route("x")


def leave(*_, **__):
    sys.exit("bye")


def test_a_plugin_that_exits_when_it_is_imported_is_set_aside(monkeypatch, tmp_path):
    (tmp_path / "leaves_at_once.py").write_text("import sys\nsys.exit(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [(EntryPoint("gone", "leaves_at_once", "router_sdk"), None)]
    monkeypatch.setattr(plugins, "discover", lambda: found)
    (info,) = PluginRegistry.load().describe()
    assert "SystemExit" in str(info.error)


@pytest.mark.parametrize("hook", ["register_strategies", "filter_agents", "on_decision", "on_outcome"])
def test_a_hook_that_exits_stops_no_request(make_router, hook):
    function = {
        "register_strategies": lambda: leave(),
        "filter_agents": lambda task, agents: leave(),
        "on_decision": lambda decision: leave(),
        "on_outcome": lambda outcome: leave(),
    }[hook]
    plugin = type("Plugin", (), {hook: staticmethod(hookimpl(function))})()
    router = make_router([Counting], plugins=[plugin])
    router.record(router.route("x"), Outcome(success=True))
    assert len(router.examples) == 1


def test_a_reward_that_exits_is_a_named_error(make_router):
    router = make_router([Counting], reward=leave)
    with pytest.raises(InvalidRewardError, match="SystemExit"):
        router.record(router.route("x"), Outcome(success=True))


def handler(number, frame):
    sys.exit(5)


class Handles:
    def __call__(self, number, frame):
        sys.exit(5)

    def method(self, number, frame):
        sys.exit(5)


@pytest.mark.parametrize("handled", [handler, partial(handler), Handles(), Handles().method])
def test_a_signal_that_ends_the_program_ends_it_wherever_it_comes(make_router, handled):
    class Struck(Counting):
        def propose(self, task, agents, context):
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handled)
    try:
        router = make_router([Struck, leaving("nothing")])
        with pytest.raises(SystemExit):
            router.route("x")
        with pytest.raises(SystemExit):
            router.route_batch(["x"])
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_no_handler_raised_stays():
    try:
        leave()
    except FAULTS as error:
        let_end(error)


@pytest.mark.parametrize("evidence", [lambda: leave(), lambda: 1 / 0, lambda: 5])
def test_an_explanation_that_fails_says_who_failed_and_why(make_router, evidence):
    class Mute(Counting):
        name = "mute"

        def propose(self, task, agents, context):
            return Proposal(dict.fromkeys(agents.names, 1 / len(agents)), evidence=evidence)

    told = make_router([Mute]).route("x").explain()["evidence"]["failed"]
    assert told.startswith("strategy 'mute' cannot explain itself: ")
    assert any(kind in told for kind in ("SystemExit: bye", "ZeroDivisionError", "TypeError"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("thomson", "; did you mean 'thompson'?"),
        ("heuristics", "; did you mean 'heuristic'?"),
        ("zzz", "]"),
        ("../x", "]"),
    ],
)
def test_a_mistyped_strategy_never_names_a_package_that_is_not_ours(name, hint):
    with pytest.raises(UnknownStrategyError) as caught:
        PluginRegistry.load().strategy(name)
    assert str(caught.value).endswith(hint)
    assert f"router-sdk-{name}" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("bert", "; pip install router-sdk-bert"), ("brt", "; did you mean 'bert'?; pip install router-sdk-bert")],
)
def test_what_is_ours_and_not_installed_says_how_to_get_it(monkeypatch, name, hint):
    monkeypatch.setattr(plugins, "discover", list)
    with pytest.raises(UnknownStrategyError) as caught:
        PluginRegistry.load().strategy(name)
    assert str(caught.value).endswith(hint)


def test_a_fit_that_exits_has_failed(make_router):
    class Leaves(Words):
        def before_fit(self):
            leave()

    router = make_router([Leaves], retrain=False, fit_executor="thread")
    texts = [f"{agent} {number}" for number in range(20) for agent in ("analyst", "billing", "coder")]
    router.fit(texts, [text.split()[0] for text in texts])
    with pytest.raises(FitError, match="SystemExit: bye"):
        router.models.retrain(wait=True)
