"""One bad event hurts itself: what an earlier release let in is a dead letter of whom it hurts; the rest goes on."""

import time

import pytest
from rich.console import Console

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.cli.commands.status import status_tables
from router_sdk.store.agents import add_agents

HUGE = [{"x": 10**400}, {"x": 1e155}, {"x": 1e200}]
EXPENSIVE = 1e308


def unbounded(features):
    """A task that the door does not take any more."""
    return Task.model_construct(text="", task_type="default", features=features)


def expensive():
    """An outcome that the door does not take any more."""
    fields = {"success": True, "cost_usd": EXPENSIVE}
    return Outcome.model_construct(set(fields), **fields)


def everything(router):
    """Whatever saves what was learnt."""
    router.snapshot()
    assert router.forget("nobody's") == 0
    assert router.archive(before=1.0) == 0
    router.snapshot()


def taught(path, count, bad=lambda i: None):
    """A router on ``path`` that has observed so many outcomes, some of them bad."""
    router = Router(["a", "b"], ["thompson"], path, seed=1, retrain=False)
    for i in range(count):
        task, outcome = bad(i) or (Task(features={"x": float(i % 7)}), Outcome(success=i % 2 == 0, cost_usd=0.01))
        router.observe(task, "ab"[i % 2], outcome)
    router.flush()
    return router


@pytest.mark.parametrize("features", HUGE, ids=["an integer of 400 digits", "1e155", "1e200"])
def test_a_huge_feature_of_an_earlier_release(tmp_path, features):
    bad = (unbounded(features), Outcome(success=True))
    with taught(tmp_path / "bad.db", 40, lambda i: bad if i == 20 else None) as router:
        everything(router)
        told = router.status()
        assert told["learner"]["refused"] == {"thompson": 1}
        assert told["learner"]["faults"] == {}
        assert told["learner"]["snapshots"] == dict.fromkeys(
            ("thompson", "performance", "calibration", "drift"), told["learner"]["head"]
        )
        assert told["strategies"][0]["dense"]["events"] == 39
    with Router(["a", "b"], ["thompson"], tmp_path / "bad.db", retrain=False) as router:
        assert router.status()["strategies"][0]["dense"]["events"] == 39, "also after a restart"


def test_costs_whose_sum_or_square_is_infinite(tmp_path, capsys):
    with taught(tmp_path / "bad.db", 30, lambda i: (Task("x"), expensive()) if i in (10, 20) else None) as router:
        everything(router)
        learner = router.status()["learner"]
        assert (learner["refused"], learner["broken"]) == ({"performance": 2, "thompson": 1}, [])
        assert router.agent_performance()[0].executions + router.agent_performance()[1].executions == 28
        console = Console(width=200)
        for table in status_tables(router.status()):
            console.print(table)
    shown = capsys.readouterr().out
    assert "thompson: 1; performance: 2 of the decisions, see the dead letters" in shown
    assert "performance cannot learn from it: ValueError" in shown


def test_an_agent_of_an_earlier_release_that_was_dearer_than_anything(tmp_path):
    with Router(["a"], ["thompson"], tmp_path / "r.db") as router:
        dear = Agent("b").model_copy(update={"cost_usd": 1e300, "latency_ms": 2e12})
        add_agents(router._parts.store.writer, [dear])
    with Router(None, ["thompson"], tmp_path / "r.db") as router:
        assert [(agent.name, agent.cost_usd, agent.latency_ms) for agent in router.agents] == [
            ("a", None, None),
            ("b", 1e9, 1e12),
        ]


def test_a_clock_that_was_ahead_once_costs_a_week_of_memory(tmp_path, monkeypatch):
    router = Router(["a", "b"], ["thompson"], tmp_path / "r.db", seed=0, learn_now=True, retrain=False)
    with router:
        for _ in range(20):
            router.observe(Task(task_type="t"), "a", Outcome(success=True))
        known = router.status()["strategies"][0]["agents"]["a"]["mass"]
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3 * 365 * 86_400)
        router.observe(Task(task_type="t"), "b", Outcome(success=True))
        monkeypatch.undo()
        router.observe(Task(task_type="t"), "b", Outcome(success=True))
        agents = router.status()["strategies"][0]["agents"]
        assert 0.8 * known < agents["a"]["mass"] < known
        assert agents["b"]["mass"] == pytest.approx(2.0)
