"""What changed is noticed by a router at work, told to plugins, shown by ``status``, and known after a restart."""

import io
import random

import pytest
from rich.console import Console

from router_sdk import Agent, Outcome, Router
from router_sdk.cli.commands.status import status_tables
from router_sdk.plugin import hookimpl

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]


class Told:
    def __init__(self):
        self.alerts = []

    @hookimpl
    def on_drift(self, alert):
        self.alerts.append(alert)

    @property
    def names(self):
        return [(alert.name, alert.subject) for alert in self.alerts]


@pytest.fixture
def opened(tmp_path):
    def opened(*plugins, **settings):
        options = {"retrain": False, "seed": 7, "batch_events": 64, **settings}
        return Router(AGENTS, ["thompson"], tmp_path / "r.db", plugins=plugins, **options)

    return opened


def work(router, count, chances, *, words="invoice refund charge", seed=1):
    """Tasks, and how they went with whoever got them."""
    rng = random.Random(seed)
    vocabulary = words.split()
    for start in range(0, count, 64):
        texts = [" ".join(rng.choices(vocabulary, k=8)) for _ in range(min(64, count - start))]
        for decision in router.route_batch([{"text": text, "task_type": "desk"} for text in texts]):
            router.record(decision, Outcome(success=rng.random() < chances[decision.agent]))
        router.flush()
    look(router)


def look(router):
    """What the learner does every few seconds, now."""
    router._parts.learner.submit(lambda: router._parts.alerts.look(now=True)).result()


GOOD = {"billing": 0.9, "fraud": 0.6, "sales": 0.5}


def test_an_agent_that_fails_and_texts_that_are_new_are_told_once(opened):
    told = Told()
    with opened(told, strategy={"thompson": {"contextual": False}}) as router:
        work(router, 700, GOOD)
        assert told.alerts == []
        report = router.status()["drift"]
        assert (report["prediction_drift"], report["input_drift"], report["residual_change"]) == (False, False, False)
        assert report["predictions"]["desk"]["value"] is not None

        work(router, 450, {**GOOD, "billing": 0.1}, words="parcel lost tracking courier", seed=2)
        look(router)
        assert ("residual_change", "billing") in told.names
        assert ("input_drift", "text") in told.names
        assert ("prediction_drift", "desk") in told.names, "others are asked now"
        assert len(told.names) == len(set(told.names)), "once an episode"
        report = router.status()
        assert {(one["name"], one["subject"]) for one in report["alerts"]} <= set(told.names)
        assert report["drift"]["agents"]["billing"]["direction"] == "worse"
        screen = Console(file=io.StringIO(), width=100)
        screen.print(*status_tables(report))
        assert "Alerts" in screen.file.getvalue()
        before = report["drift"]

    with opened(read_only=True) as router:
        assert router.status()["drift"] == before, "what router status shows"
        assert {one["name"] for one in router.status()["alerts"]} == {one["name"] for one in report["alerts"]}


def test_a_replay_comes_to_the_same(opened):
    with opened() as router:
        work(router, 500, GOOD)
        before = router.status()["drift"]
        router._parts.store.writer.transact(lambda connection, seq: connection.execute("DELETE FROM snapshots"))
    with opened() as router:
        assert router.status()["drift"] == before


def test_switched_off_there_is_nothing(opened):
    with opened(drift={"enabled": False}) as router:
        work(router, 300, GOOD)
        report = router.status()
        assert "drift" not in report["learner"]["cursors"]
        assert report["drift"]["agents"] == {}
        assert report["alerts"] == []
        assert list(status_tables(report))


def test_the_figures_of_statistics(opened):
    with opened() as router:
        found = router.statistics()
        assert found["update_success_rate"] is None
        nothing = ("canary_pass_rate", "gate_pass_rate", "rollback_frequency", "learning_efficiency")
        assert [found[name] for name in nothing] == [None] * 4
        assert (found["updates_per_minute"], found["rollbacks"], found["violations"]) == (0.0, 0, 0)
        work(router, 300, {"billing": 1.0, "fraud": 0.2, "sales": 0.1})
        found = router.statistics()
        assert found["update_success_rate"] == 1.0
        assert found["updates_per_minute"] == found["total_updates"] / 10
        assert found["learning_efficiency"] > 0.0, "it earns more, the more it learns"
