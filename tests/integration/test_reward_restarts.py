"""A state is known by the reward that made it: after a restart another reward replays the log, the same does not."""

import logging
import threading
from functools import partial

import programs
import pytest
from fitted_strategy import Words
from unit.doubles import Counting, build

from router_sdk import Outcome, Router
from router_sdk.errors import FitError, InvalidConfigError

WEIGHT = 1.0


def scaled(signals, agent, *, by):
    return None if signals.quality is None else signals.quality * by


class Scaled:
    """Scales by its own state and by a global."""

    def __init__(self, by):
        self.by = by

    def __call__(self, signals, agent):
        return None if signals.quality is None else signals.quality * self.by * WEIGHT


REWARDS = {"partial": lambda by: partial(scaled, by=by), "object": Scaled}
"""By kind: from a factor to a reward."""


def start(store, kind, by, weight=1.0):
    """A program that starts a router on a store: what it replayed, and what it then knows."""
    global WEIGHT
    WEIGHT = float(weight)
    with Router(["a"], [Counting], store, reward=REWARDS[kind](float(by)), seed=1) as router:
        strategy = router.strategy("counting")
        replayed = sum(strategy.batches)
        if not router.statistics()["total_examples"]:
            router.observe("x", "a", Outcome(quality=1.0))
            router.flush()
        return {"replayed": replayed, "total": strategy.cells["a", "default"][1]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REWARDS)
def test_another_process_replays_under_another_reward_and_only_then(store_path, kind, monkeypatch):
    def started(seed, *arguments):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        return programs.run(start, store_path, kind, *arguments)

    assert started("1", 0.5) == {"replayed": 0, "total": 500}
    assert started("2", 0.5) == {"replayed": 0, "total": 500}
    other = (0.25,) if kind == "partial" else (0.5, 0.5)  # the object reads a global, too
    assert started("3", *other) == {"replayed": 1, "total": 250}


def test_goals_of_metrics_are_part_of_the_state(make_router):
    def taught(high):
        goals = {"mape": {"goal": "min", "low": 5.0, "high": high}}
        router = make_router([Counting], agents=["a"], reward_metrics=goals)
        if not router.statistics()["total_examples"]:
            router.observe("state", "a", Outcome(metrics={"mape": 10.0}))
        router.flush()
        found = router.strategy("counting").state["a", "default"][1], router.examples[-1].reward
        router.close()
        return found

    assert taught(30.0) == (800, pytest.approx(0.8))
    assert taught(15.0) == (500, pytest.approx(0.5))
    assert taught(30.0) == (800, pytest.approx(0.8))


def guarded():
    guard = threading.Lock()

    def halved(signals, agent):
        with guard:
            return None if signals.quality is None else signals.quality / 2

    return halved


def test_a_reward_that_cannot_be_known_is_named_once_and_replayed_at_each_start(make_router, caplog):
    for replayed in (0, 1, 1):
        caplog.clear()
        router = make_router([Counting], agents=["a"], reward=guarded(), snapshot_seconds=0.01)
        told = [record.getMessage() for record in caplog.records if "cannot be known" in record.getMessage()]
        assert len(told) == 1
        assert "halved" in told[0]
        assert "guard" in told[0]
        assert sum(router.strategy("counting").batches) == replayed
        if not replayed:
            router.observe("x", "a", Outcome(quality=1.0))
        router.flush()
        assert router.strategy("counting").state == {("a", "default"): (1, 500)}
        router.close()


def test_a_reward_that_changes_while_it_is_in_use_is_said_and_replayed(make_router, caplog):
    weights = {"by": 0.5}

    def weighed(signals, agent):
        return None if signals.quality is None else signals.quality * weights["by"]

    first = make_router([Counting], agents=["a"], reward=weighed)
    first.observe("x", "a", Outcome(quality=1.0))
    first.snapshot()
    weights["by"] = 0.25
    first.observe("x", "a", Outcome(quality=1.0))
    first.close()
    assert [record.name for record in caplog.records if "weighed changed while" in record.getMessage()]

    weights["by"] = 0.5
    second = make_router([Counting], agents=["a"], reward=weighed)
    assert second.strategy("counting").state == {("a", "default"): (2, 1_000)}
    assert sum(second.strategy("counting").batches) == 1, "what was saved before it changed is good"


def test_metrics_alone_say_once_that_they_teach_nothing_and_are_counted(make_router, caplog):
    router = make_router([Counting], agents=["a"])
    decision = router.route("x")
    for number in range(3):
        router.observe("x", "a", Outcome(metrics={"mape": 10.0 + number, "r2": 0.8}))
    router.record(decision.decision_id, Outcome(latency_ms=5.0))
    router.flush()
    told = [record.getMessage() for record in caplog.records if "teach nothing" in record.getMessage()]
    assert len(told) == 1
    assert "mape, r2" in told[0]
    assert "reward_metrics" in told[0]
    assert router.statistics()["taught_nothing"] == router.status()["statistics"]["taught_nothing"] == 4
    router.record(decision.decision_id, Outcome(success=True))
    router.flush()
    assert router.statistics()["taught_nothing"] == 3
    assert [example.signals.metrics for example in router.examples[1:2]] == [{"mape": 10.0, "r2": 0.8}], "it is kept"


@pytest.mark.parametrize(
    ("outcome", "settings"),
    [
        ({"metrics": {"mape": 10.0}}, {"reward_metrics": {"mape": {"goal": "min", "low": 5, "high": 30}}}),
        ({"metrics": {"mape": 10.0}, "success": True}, {}),
        ({"metrics": {"mape": 10.0}, "correct_agent": "a"}, {}),
        ({"metrics": {"mape": 10.0}}, {"reward": lambda signals, agent: None}),
        ({"latency_ms": 5.0}, {}),
    ],
)
def test_nothing_is_said_of_metrics_that_teach_or_are_not_alone(make_router, caplog, outcome, settings):
    router = make_router([Counting], agents=["a"], **settings)
    router.observe("x", "a", outcome)
    router.flush()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_one_strategy_object_serves_one_router_ever(make_router, tmp_path):
    mine = build(Counting, tmp_path)
    first = make_router([mine], agents=["a"])
    first.observe("x", "a", Outcome(success=True))
    with pytest.raises(InvalidConfigError, match=r"counting.*second one"):
        make_router([mine], store=tmp_path / "other.db", agents=["a"])
    first.close()
    with pytest.raises(InvalidConfigError, match=r"counting.*second one"):
        make_router([mine], store=tmp_path / "other.db", agents=["a"])
    second = make_router([build(Counting, tmp_path)], agents=["a"])
    assert second.strategy("counting").state == first.strategy("counting").state != {}


def test_an_object_of_a_router_that_did_not_come_about_is_still_free(make_router, tmp_path):
    mine = build(Counting, tmp_path)
    with pytest.raises(InvalidConfigError, match="not in the chain"):
        make_router([mine], strategy={"thompson": {}})
    assert make_router([mine], agents=["a"]).route("x").agent == "a"


def test_a_fit_is_never_made_with_another_reward_than_the_routers(make_router, words_installed):
    router = make_router(
        ["words"], agents=["a", "b"], reward=partial(scaled, by=0.5), fit_executor="process", retrain=False
    )
    router.fit([f"text {n}" for n in range(40)], ["a", "b"] * 20)
    with pytest.raises(FitError, match=r"scaled.*register"):
        router.models.retrain(wait=True)


def test_an_interrupted_fit_goes_on_with_the_reward_that_it_began_with_or_not_at_all(make_router):
    def request(reward):
        """Begin a fit, stop it, and say which attempt that was."""
        router = make_router([Words], agents=["a", "b"], reward=reward, fit_executor="thread", retrain=False)
        if not router.statistics()["total_examples"]:
            router.fit([f"{word} {n}" for n in range(20) for word in ("red", "blue")], ["a", "b"] * 20)
        fit = router.models.retrain(mode="hang")
        while fit.words != "counting words":
            assert fit.running
        fit.stop()
        assert fit.wait(10).state == "stopped"
        (path,) = router._parts.store.folder.glob("fits/*/request.json")
        router.close()
        return path.stat().st_mtime_ns

    first = request(partial(scaled, by=0.5))
    assert request(partial(scaled, by=0.5)) == first
    second = request(partial(scaled, by=0.25))
    assert second != first
    assert request(partial(scaled, by=0.25)) == second


if __name__ == "__main__":
    programs.main(globals())
