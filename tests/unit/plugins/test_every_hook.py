"""One test per hook; a test in ``architecture`` sees to it that none is missing."""

import threading
from pathlib import Path
from queue import Queue

import pytest
from fitted_strategy import Words as Fitted
from stream_source import Broker, MemoryPlugin, MemorySource

from router_sdk import Agent, Outcome
from router_sdk.errors import FitError, InvalidConfigError, PluginLoadError
from router_sdk.plugin import Check, CheckResult, Encoder, FitExecutor, QualityScorer, Score, Trigger, hookimpl
from router_sdk.plugins import PluginRegistry
from router_sdk.store.sqlite import SQLiteEngine

from ..doubles import Counting


class Words(Encoder):
    name = "words"

    def encode(self, texts):
        import numpy as np

        return [np.array([len(text.split())]) for text in texts]


def plugin(**hooks):
    """An object with these functions as its hook implementations."""
    return type("Plugin", (), {name: staticmethod(hookimpl(function)) for name, function in hooks.items()})()


@pytest.fixture
def routed_with(make_router):
    def route(strategies=("counting",), **hooks):
        brings = {"register_strategies": lambda: [Counting], **hooks}
        return make_router(list(strategies), plugins=[plugin(**brings)])

    return route


def test_register_strategies(routed_with):
    assert routed_with().route("x").strategy == "counting"


def test_register_encoders(routed_with):
    class Encoding(Counting):
        name = "encoding"

        def propose(self, task, agents, context):
            context.encode("words")
            return super().propose(task, agents, context)

    router = routed_with(["encoding"], register_strategies=lambda: [Encoding], register_encoders=lambda: [Words])
    decision = router.route("three small words")
    router.record(decision, Outcome(success=True))
    assert {tag: vector.tolist() for tag, vector in router.examples[-1].vectors.items()} == {"words:fp32": [3]}


def test_register_rewards(make_router):
    rewards = plugin(register_rewards=lambda: {"half": lambda signals, agent: 0.5})
    router = make_router([Counting], plugins=[rewards], reward="half", learn_now=True)
    router.observe("x", "billing", Outcome(success=True))
    assert router.examples[-1].reward == 0.5


def test_register_quality_scorers(make_router):
    class Constant(QualityScorer):
        name = "constant"

        def score(self, execution):
            return Score(0.25)

    scorers = plugin(register_quality_scorers=lambda: [Constant()])
    router = make_router([Counting], plugins=[scorers], quality={"scorers": ["constant"]})
    router.observe("x", "billing", Outcome(response="y"))
    router.flush()
    assert router.examples[-1].signals.quality == 0.25


def test_register_benchmark_routers():
    registry = PluginRegistry.load([plugin(register_benchmark_routers=lambda: {"first": lambda agents: agents[0]})])
    (found,) = registry.hook.register_benchmark_routers()
    assert found["first"]([Agent("a")]).name == "a"


@pytest.fixture
def in_memory(make_router, monkeypatch):
    broker = Broker()
    monkeypatch.setattr(MemorySource, "brokers", {"here": broker, "there": broker})
    return broker, make_router([Counting], plugins=[MemoryPlugin()])


def test_register_sources(in_memory):
    broker, router = in_memory
    broker.put("no event")
    assert router.streams.consume("memory:/here").refused == 1


def test_register_sinks(in_memory):
    broker, router = in_memory
    broker.put("no event")
    router.streams.consume("memory:/here", dead_letters="memory:/there")
    assert [one.body for one in broker.sent] == [b"no event"]


def test_register_commands():
    import typer

    def register_commands(cli):
        cli.command("hello")(lambda: None)

    cli = typer.Typer()
    PluginRegistry.load([plugin(register_commands=register_commands)]).hook.register_commands(cli=cli)
    assert "hello" in [command.name for command in cli.registered_commands]


def test_filter_agents(routed_with):
    router = routed_with(filter_agents=lambda task, agents: {"coder"} if "code" in task.text else None)
    assert set(router.route("code this").probabilities) == {"coder"}
    assert len(router.route("anything").probabilities) == 3


def test_route(routed_with):
    router = routed_with()
    decision = router.hook.route(task="x")
    router.flush()
    assert router.decision(decision.decision_id).agent == decision.agent


def test_record(routed_with):
    router = routed_with()
    assert router.hook.record(decision=router.route("x"), outcome=Outcome(success=True)) is True
    assert router.examples[-1].reward == 1.0


def test_a_wrapper_sees_what_passes_and_a_second_implementation_is_an_error(make_router):
    seen = []

    class Watching:
        @hookimpl(wrapper=True)
        def route(self, task):
            decision = yield
            seen.append(decision.agent)
            return decision

    router = make_router([Counting], plugins=[Watching()])
    assert router.hook.route(task="x").agent == seen[0]
    for hook in ({"route": lambda task: None}, {"record": lambda decision, outcome: None}):
        with pytest.raises(PluginLoadError, match="wrapper"):
            make_router([Counting], plugins=[plugin(**hook)])


def test_on_decision(routed_with):
    seen = []
    router = routed_with(on_decision=lambda decision: seen.append(decision))
    made = [router.route("x"), router.route("x", idempotency_key="k"), *router.route_batch(["x", "y"])]
    router.route("x", idempotency_key="k")
    assert seen == made


def test_on_outcome(routed_with):
    seen = []
    router = routed_with(on_outcome=lambda decision_id, outcome: seen.append((decision_id, outcome.success)))
    decision = router.route("x")
    router.record(decision, Outcome(success=True))
    observed = router.observe("x", "billing", Outcome(success=False))
    assert seen == [(decision.decision_id, True), (observed.decision_id, False)]


def test_an_observer_that_raises_stops_no_request(routed_with, caplog):
    def broken(**_):
        raise RuntimeError("observer down")

    router = routed_with(on_decision=lambda decision: broken(), on_outcome=lambda outcome: broken())
    router.record(router.route("x"), Outcome(success=True))
    assert [record.exc_info[0] for record in caplog.records] == [RuntimeError, RuntimeError]


@pytest.fixture
def fitting(make_router):
    """A router with a strategy that is fitted by hand, and sixty labelled examples in its log."""

    def make(**hooks):
        router = make_router([Fitted], plugins=[plugin(**hooks)], retrain=False, fit_executor="thread")
        agents = ["analyst", "billing", "coder"]
        texts = [f"{agent} please {number}" for number in range(20) for agent in agents]
        return router.fit(texts, [text.split()[0] for text in texts])

    return make


def test_register_triggers(make_router):
    class Always(Trigger):
        name = "always"

        def due(self, activity):
            return "it is always time" if activity.model_version is None else None

    started = threading.Event()
    brings = plugin(register_triggers=lambda: [Always()], on_fit_started=lambda reason: started.set())
    router = make_router([Fitted], plugins=[brings], retrain_interval=10_000, fit_executor="thread")
    for number in range(5):  # as many as it takes to judge what comes of it
        assert not started.is_set()
        router.observe(f"x {number}", "billing", Outcome(correct_agent="billing"))
    router.flush()
    assert started.wait(20)


def test_register_checks(fitting):
    class Never(Check):
        name = "never"

        def compare(self, comparison):
            return CheckResult(self.name, "fail", f"{comparison.strategy} shall not pass")

    fit = fitting(register_checks=lambda: [Never()]).models.retrain(wait=True)
    assert (fit.state, fit.words) == ("refused", "never: fail, words shall not pass")


def test_register_stores(make_router, tmp_path):
    class Elsewhere(SQLiteEngine):
        """A file whose name is given as a URL."""

        @classmethod
        def of(cls, url, schema):
            return cls(Path(url.removeprefix("elsewhere://")))

    brings = plugin(register_stores=lambda: {"elsewhere": Elsewhere})
    router = make_router(["heuristic"], store=f"elsewhere://{tmp_path}/router.db", plugins=[brings])
    assert router.status()["store"]["path"] == str((tmp_path / "router.db").resolve())


def test_a_store_is_imported_once_a_url_names_it(make_router, monkeypatch):
    brings = plugin(register_stores=lambda: {"nowhere": "no.such.module:Engine"})
    make_router(["heuristic"], plugins=[brings])
    with pytest.raises(PluginLoadError, match="the engine of nowhere:// cannot be imported"):
        make_router(["heuristic"], store="nowhere://x", plugins=[brings])


def test_what_needs_a_file_of_the_log_is_refused_where_there_is_none(make_router, tmp_path):
    class Elsewhere(SQLiteEngine):
        """A log in no file, as far as anybody can tell."""

        name = "elsewhere"

        @classmethod
        def of(cls, url, schema):
            return cls(tmp_path / "router.db")

    settings = {"store": "elsewhere://x", "plugins": [plugin(register_stores=lambda: {"elsewhere": Elsewhere})]}
    executor = {"command": {"command": "run {request}"}}
    with pytest.raises(InvalidConfigError, match="use fit_executor='process'"):
        make_router(["heuristic"], **settings, fit_executor="command", executor=executor)
    make_router(["heuristic"], **settings, fit_executor="process")


def test_what_the_driver_of_a_store_raises_is_no_fault_of_a_strategy(make_router, tmp_path, monkeypatch):
    class DriverError(Exception):
        """Any of a database's own."""

    class Elsewhere(SQLiteEngine):
        """A file of another database."""

        errors = (DriverError,)

        @classmethod
        def of(cls, url, schema):
            return cls(tmp_path / "router.db")

    brings = plugin(register_stores=lambda: {"elsewhere": Elsewhere})
    router = make_router(["thompson"], store="elsewhere://x", plugins=[brings])

    def save(*_):
        raise DriverError

    router.record(router.route("x"), Outcome(success=True))
    router.flush()
    with monkeypatch.context() as patched:
        patched.setattr(router._parts.store.snapshots, "save", save)
        with pytest.raises(DriverError):
            router.snapshot()
    assert router.status()["learner"]["broken"] == []
    router.snapshot()


def test_register_fit_executors(make_router):
    class Nowhere(FitExecutor):
        name = "nowhere"

        def run(self, job):
            raise FitError(f"there is no place for {job.folder.name}")

    brings = plugin(register_fit_executors=lambda: [Nowhere])
    router = make_router([Fitted], plugins=[brings], fit_executor="nowhere", retrain=False)
    with pytest.raises(FitError, match="there is no place for words-fit"):
        router.models.retrain(wait=True)


def test_on_fit_started(fitting):
    seen = []
    fitting(on_fit_started=lambda strategy, reason: seen.append((strategy, reason))).models.retrain(wait=True)
    assert seen == [("words", "by hand")]


def test_on_fit_finished(fitting):
    seen = Queue()
    hooks = {"on_fit_finished": lambda strategy, state, version: seen.put((strategy, state, version))}
    fitting(**hooks).models.retrain(wait=True)
    assert seen.get(timeout=20) == ("words", "promoted", 1)


def test_on_promotion(fitting):
    seen = []
    fitting(on_promotion=lambda strategy, version: seen.append((strategy, version))).models.retrain(wait=True)
    assert seen == [("words", 1)]


@pytest.mark.slow
def test_on_drift(routed_with):
    seen = Queue()
    router = routed_with(on_drift=lambda alert: seen.put((alert.name, alert.subject)))
    for _ in range(30):
        router.observe("x", "billing", Outcome(success=False))
    router.flush()
    assert seen.get(timeout=20) == ("agent_failures", "billing")


def test_on_rollback(fitting):
    seen = []
    router = fitting(on_rollback=lambda strategy, version: seen.append((strategy, version)))
    router.models.retrain(wait=True)
    router.models.rollback("words")
    assert seen == [("words", None)]
