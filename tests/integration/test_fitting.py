"""From examples over a fit and the gate to what serves, with the real threads and child processes."""

import json
import shutil
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
from fitted_strategy import Words

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import (
    CorruptArtifactError,
    FitError,
    GateRefusedError,
    InvalidConfigError,
    InvalidInputError,
    NotTrainableError,
    UnknownVersionError,
)
from router_sdk.plugin import Proposal, hookimpl
from router_sdk.store.artifacts import check_artifact
from router_sdk.training.fit import Fit

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}


def open_router(store: Path, **settings) -> Router:
    options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, **settings}
    return Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store, **options)


def teach(router: Router, rounds: int = 20, right: dict[str, str] = RIGHT, start: int = 0) -> None:
    for number in range(start, start + rounds):
        for word, agent in right.items():
            router.observe(f"{word} number {number}", agent=agent, outcome=Outcome(correct_agent=agent))
    router.flush()


def fits(store: Path) -> list[tuple]:
    with sqlite3.connect(store) as connection:
        rows = connection.execute(
            "SELECT status, error, model_version, samples, metrics_after FROM learning_events WHERE type = 'fit'"
        ).fetchall()
    connection.close()
    return rows


def test_a_fit_passes_the_gate_and_serves(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        teach(router)
        assert router.route("refund please").strategy != "words"
        fit = router.models.retrain(wait=True)
        assert (fit.state, fit.share) == ("promoted", 1.0)
        decision = router.route("refund please")
        assert (decision.strategy, decision.agent, decision.model_version) == ("words", "billing", 1)
        (version,) = router.models.versions("words")
        assert version.passed
        assert version.aliases == ("champion",)
        assert version.metrics["after"]["value"] == 1.0
        assert version.metrics["curve"] == [{"epoch": 1, "loss": 0.5}]
        report = router.models.report("words", 1)
        assert (report.passed, report.after.accuracy, report.examples) == (True, 1.0, version.samples)
        assert router.statistics()["retrain_count"] == 1
    assert fits(tmp_path / "r.db") == [("succeeded", None, 1, version.samples, 1.0)]


def test_what_was_promoted_serves_after_a_restart_and_in_other_processes(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router, open_router(store) as other:
        teach(router)
        router.models.retrain(wait=True)
        other._parts.learner.submit(other._parts.promoter.follow).result()
        assert other.route("offer me").agent == "sales"
        assert other.route("offer me").model_version == 1
    with open_router(store) as again:
        assert again.route("stolen card").agent == "fraud"
        assert again.route("stolen card").model_version == 1


def test_a_worse_candidate_is_refused_and_what_serves_goes_on(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router:
        teach(router)
        router.models.retrain(wait=True)
        fit = router.models.retrain(wait=True, mode="worse")
        assert fit.state == "refused"
        assert "no_regression: fail" in fit.words
        assert router.route("stolen card").model_version == 1
        with pytest.raises(GateRefusedError, match="force=True"):
            router.models.promote("words", 2)
        assert router.models.promote("words", 2, force=True).version == 2
        assert router.route("stolen card").agent == "billing"
        assert router.models.rollback("words") == 1
        assert router.route("stolen card").agent == "fraud"
        assert router.models.rollback("words") is None
        assert router.route("stolen card").strategy != "words"
        with pytest.raises(UnknownVersionError):
            router.models.rollback("words")
    assert [status for status, *_ in fits(store)] == ["succeeded", "refused"]


def test_few_examples_are_insufficient(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        teach(router, rounds=1)
        fit = router.models.retrain(wait=True)
        assert fit.state == "refused"
        assert "insufficient: 3 examples" in fit.words
        assert fit.version is None  # nothing was fitted
        teach(router, rounds=1, start=1)
        fit = router.models.retrain(wait=True)
        assert fit.state == "promoted"  # every one of six judged in turn
        assert router.models.report("words", 1).folds == 6
        assert router.models.report("words", 1).held_out == 6


def test_a_trigger_fits_without_being_asked(tmp_path: Path) -> None:
    promoted = threading.Event()

    class Observer:
        seen: list[tuple] = []

        @hookimpl
        def on_fit_started(self, strategy, reason):
            self.seen.append(("started", strategy, reason))

        @hookimpl
        def on_promotion(self, strategy, version):
            self.seen.append(("promotion", strategy, version))
            promoted.set()

    settings = {"epsilon": 0.0, "retrain": True, "retrain_interval": 60, "retrain_cooldown_seconds": 0.0}
    observer = Observer()
    router = Router(
        agents=AGENTS,
        strategies=[Words],
        store=tmp_path / "r.db",
        plugins=[observer],
        fit_executor="thread",
        **settings,
    )
    with router:
        teach(router, rounds=10)
        assert router.statistics()["next_retrain_in"] == 30
        teach(router, rounds=10, start=10)
        assert promoted.wait(20)
        assert router.route("refund").agent == "billing"
    assert observer.seen[0] == ("started", "words", "60 fresh examples")
    assert observer.seen[1] == ("promotion", "words", 1)


def test_whoever_waited_for_a_fit_may_begin_the_next_one(tmp_path: Path) -> None:
    """Also while a plugin is still told of the end."""
    told, go_on = threading.Event(), threading.Event()

    class Slow:
        @hookimpl
        def on_fit_finished(self, strategy, state, version):
            told.set()
            go_on.wait(20)

    with open_router(tmp_path / "r.db", plugins=[Slow()]) as router:
        teach(router)
        router.models.retrain(wait=True)
        assert told.wait(20)
        again = router.models.retrain()
        go_on.set()
        assert again.wait(20).version.version == 2


def test_a_trigger_waits_out_the_cooldown(tmp_path: Path) -> None:
    def open_it(cooldown_s: float) -> Router:
        automatic = {"retrain": True, "retrain_interval": 60, "retrain_cooldown_seconds": cooldown_s}
        return open_router(tmp_path / "r.db", **automatic)

    def consider(router: Router) -> None:
        router._parts.learner.submit(router._parts.trainer.consider).result()

    with open_it(3600.0) as router:
        teach(router, rounds=20)
        consider(router)
        router.models.newest_fit.wait(20)
        teach(router, rounds=20, start=20)
        consider(router)
        router._parts.trainer._not_before = 0.0  # the pause after any fit is another matter
        consider(router)
        assert [version.version for version in router.models.versions("words")] == [1]
    with open_it(0.0) as router:
        consider(router)
        router.models.newest_fit.wait(20)
        assert [version.version for version in router.models.versions("words")] == [1, 2]


class Remembers(Words):
    """Knows what it was taught word by word, and nothing else."""

    name = "remembers"

    def propose(self, task, agents, context):
        known = dict(self.memory.values())
        return (
            Proposal({name: float(name == known[task.text]) for name in agents.names}) if task.text in known else None
        )

    def learn(self, examples):
        for example in examples:
            if example.label is not None:
                self.memory[example.decision_id] = (example.task.text, example.label)

    def fit(self, data, context):
        fitted = type(self)(self.config, self.services)
        fitted.learn(data.examples)
        return fitted


@pytest.mark.parametrize("rounds", [4, 40])  # few judge in turn, of many a share
def test_what_serves_has_forgotten_what_judges_it(tmp_path: Path, rounds: int) -> None:
    settings = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0}
    with Router(agents=AGENTS, strategies=[Remembers], store=tmp_path / "r.db", **settings) as router:
        teach(router, rounds)
        assert router.route("refund number 1").strategy == "remembers"
        router.models.retrain(wait=True)
        (version,) = router.models.versions("remembers")
        assert [version.metrics[side]["value"] for side in ("before", "after")] == [0.0, 0.0]
        assert router.route("refund number 1").strategy == "remembers"


def test_a_failed_fit_leaves_what_serves_and_the_next_one_works(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router:
        teach(router)
        router.models.retrain(wait=True)
        with pytest.raises(FitError, match="not finite"):
            router.models.retrain(wait=True, mode="raise")
        assert router.route("refund").model_version == 1
        teach(router, rounds=1, start=20)
        assert router.models.retrain(wait=True).state == "promoted"
        assert router.route("refund").model_version == 2
        assert router.examples.timeline()["lately"]["versions"] == {"words": {"1": 1, "2": 1}}
    statuses = [(status, error) for status, error, *_ in fits(store)]
    assert statuses == [("succeeded", None), ("failed", "failed: the loss is not finite"), ("succeeded", None)]


def test_a_stopped_fit_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    router = open_router(store)
    teach(router)
    fit = router.models.retrain(mode="hang")
    while fit.share < 0.4:
        assert fit.running
    waiting = router.models.retrain()
    assert (waiting.state, waiting.words) == ("waiting", "another fit is running")
    router.close()
    assert (fit.state, waiting.state) == ("stopped", "stopped")
    assert waiting.words == "it was stopped before its turn came"
    with open_router(store) as again:
        assert again.models.retrain(wait=True, mode="hang").state == "promoted"


def test_fits_that_are_asked_for_meanwhile_wait_and_equal_ones_are_one(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router:
        teach(router)
        running = router.models.retrain(mode="hang")
        while running.share < 0.4:
            assert running.running
        same, again = router.models.retrain(), router.models.retrain()
        assert same is again
        assert same is not running
        other, given_up = router.models.retrain(mode="raise"), router.models.retrain(confidence_threshold=0.5)
        given_up.stop()
        assert [fit.state for fit in (running, same, other)] == ["running", "waiting", "waiting"]
        assert router.models.newest_fit is running
        running.stop()
        assert same.wait(60).state == "promoted"
        with pytest.raises(FitError, match="not finite"):
            other.wait(60)
        assert given_up.wait(60).words == "it was stopped before its turn came"
        late = router.models.retrain()
        assert late is not same
        assert late.wait(60).version is not None
    assert [status for status, *_ in fits(store)] == ["stopped", "succeeded", "failed", "refused"]


def test_no_more_than_so_many_wait(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        teach(router)
        router.models.retrain(mode="hang")
        waiting = [router.models.retrain(confidence_threshold=number / 100) for number in range(16)]
        with pytest.raises(FitError, match="16 fits wait already"):
            router.models.retrain()
        waiting[3].stop()
        assert router.models.retrain().state == "waiting"


def test_an_attempt_that_was_cut_off_is_no_reason_to_fit_at_once(tmp_path: Path) -> None:
    """A process is killed in the middle of a fit; the next one on the store waits as after any attempt."""
    store = tmp_path / "r.db"
    with open_router(store) as router:
        teach(router)
        parts = router._parts
        parts.trainer._begin(Fit("words", "due"), parts.chain.stage("words"), 0)
    with open_router(store, retrain_cooldown_seconds=3600.0, retrain=True) as router:
        (told,) = router.models.check_triggers("words")
        assert told.due is not None
        assert "cooldown" in told.waits
        assert told.cooldown.value < 600.0
        assert router.models.fits("words") == []


def test_the_candidate_learns_what_came_during_the_fit(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        teach(router)
        router.models.retrain(wait=True)
        teach(router, rounds=3, start=100)
        served = router._parts.chain.stage("words").strategy
        assert isinstance(served, Words)
        assert len(served.memory) == 69
        assert router.models.rollback("words") is None
        back = router._parts.chain.stage("words").strategy
        assert isinstance(back, Words)
        assert len(back.memory) == 69


def test_a_damaged_version_is_not_loaded(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router:
        teach(router)
        router.models.retrain(wait=True)
        teach(router, rounds=1, start=20)
        router.models.retrain(wait=True)
        first, second = router.models.versions("words")
        shutil.rmtree(tmp_path / "r.db.artifacts" / "snapshots", ignore_errors=True)
        damaged = tmp_path / "r.db.artifacts" / "versions" / second.folder / "words.json"
        damaged.write_text(damaged.read_text()[:-10])
        with pytest.raises(CorruptArtifactError):
            router.models.promote("words", 2)
        assert router.route("refund").agent == "billing"
    with open_router(store) as again:
        assert again.route("refund").model_version == first.version


def test_an_exported_version_is_loaded_elsewhere(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        teach(router)
        router.models.retrain(wait=True)
        (version,) = router.models.versions()
        folder = router.models.export_to("words", 1, tmp_path / "out")
        assert folder == tmp_path / "out"
        elsewhere = Words(Words.Config(), router.strategy("words").services)
        elsewhere.load(folder)
        decided = router.route("refund please")
        asked = elsewhere.propose(decided.task, decided.distribution.agents, None)
        assert max(asked.probabilities, key=asked.probabilities.get) == "billing"
    told = json.loads((folder / "version.json").read_text())
    assert told.pop("log")  # so that an import knows how much of its own log it has learnt
    assert told == json.loads(json.dumps(version.to_dict()))
    assert json.loads((folder / "report.json").read_text())["strategy"] == "words"
    assert folder.stat().st_mode & 0o077 == 0
    check_artifact(folder)


def test_an_export_writes_over_nothing_and_gives_nothing_damaged(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        teach(router)
        router.models.retrain(wait=True)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").write_text("x")
        beside = router._parts.store.folder / "versions" / "mine"
        full = tmp_path / "full"
        refused = {
            tmp_path / "full": "not empty",
            tmp_path / "full" / "mine": "no folder",
            beside: "belongs to the store",
        }
        refused |= {full / "mine" / "below": "cannot write", tmp_path / ("x" * 300): "cannot write"}
        for target, words in {**refused, "a\0b": "cannot write", "~nobodyatall/x": "cannot write", 5: "target"}.items():
            with pytest.raises(InvalidInputError, match=words):
                router.models.export_to("words", 1, target)
        assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("r.db")) == ["full"]
        with pytest.raises(UnknownVersionError, match="no version 7"):
            router.models.export_to("words", 7, tmp_path / "out")
        (kept,) = (router._parts.store.folder / "versions").iterdir()
        next(path for path in kept.iterdir() if path.name != "manifest.json").write_text("{}")
        with pytest.raises(CorruptArtifactError):
            router.models.export_to("words", 1, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_forget_reaches_the_versions(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router:
        teach(router)
        secret = router.route({"text": "xylophone lessons", "session_id": "s1"})
        router.record(secret, Outcome(correct_agent="sales"))
        router.flush()
        router.models.retrain(wait=True)
        router.forget("s1")
        (version,) = router.models.versions("words")
        _, memory = json.loads((tmp_path / "r.db.artifacts" / "versions" / version.folder / "words.json").read_text())
        assert secret.decision_id not in memory
        assert len(memory) == 60


def test_what_cannot_be_fitted_says_so(tmp_path: Path) -> None:
    with Router(agents=AGENTS, strategies=["thompson"], store=":memory:") as router:
        with pytest.raises(NotTrainableError, match="learns online only"):
            router.models.retrain()
        assert router.statistics()["next_retrain_in"] is None
    with open_router(tmp_path / "r.db") as router:
        with pytest.raises(InvalidConfigError, match="epochs"):
            router.models.retrain(epochs=3)
        with pytest.raises(UnknownVersionError, match="no version 7"):
            router.models.promote("words", 7)


def test_pretraining_makes_a_first_version_and_logs_no_decision(tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    with open_router(store) as router:
        texts = [f"{word} number {number}" for number in range(20) for word in RIGHT]
        fit = router.models.pretrain(texts, [RIGHT[text.split()[0]] for text in texts])
        assert fit.state == "promoted"
        assert router.route("refund me").agent == "billing"
        (version,) = router.models.versions()
        assert (version.kind, version.upto) == ("pretrain", 0)
        assert router.statistics()["total_examples"] == 0


@pytest.mark.usefixtures("words_installed")
def test_a_fit_in_a_child_process(tmp_path: Path) -> None:
    with Router(agents=AGENTS, strategies=["words"], store=tmp_path / "r.db", retrain=False, epsilon=0.0) as router:
        teach(router)
        with pytest.raises(FitError, match="the worker ended with 7"):
            router.models.retrain(wait=True, mode="die")
        with pytest.raises(FitError, match="not finite"):
            router.models.retrain(wait=True, mode="raise")
        hanging = router.models.retrain(mode="hang")
        while hanging.share < 0.1:
            assert hanging.running
        hanging.stop()
        assert hanging.wait(5).state == "stopped"
        assert router.models.retrain(wait=True).state == "promoted"
        assert router.route("offer").agent == "sales"
    assert "words_plugin.fitted_strategy" in sys.modules
