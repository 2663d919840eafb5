"""The thresholds, with a real store, real figures and real hooks; what changed is learnt from examples by hand."""

import random

import pytest

from router_sdk.learning.alerts import Alerts
from router_sdk.learning.drift import Drift
from router_sdk.learning.performance import Performance
from router_sdk.loop_settings import DriftConfig
from router_sdk.plugin import hookimpl
from router_sdk.plugins import PluginRegistry
from router_sdk.records import Signals
from router_sdk.store import Store
from router_sdk.store.events import LearningEvent, write_learning_events
from router_sdk.testing.examples import make_example


class Told:
    def __init__(self):
        self.alerts = []

    @hookimpl
    def on_drift(self, alert):
        self.alerts.append(alert)


class Watched:
    """The parts that ``Alerts`` looks at."""

    def __init__(self, path, **settings):
        config = DriftConfig(**settings)
        self.store, self.performance, self.drift = Store(path), Performance(), Drift(config)
        self.told = Told()
        plugins = PluginRegistry.load([self.told])
        self.alerts = Alerts(config, self.store, self.performance, self.drift, plugins)
        self.numbers = iter(range(1, 10**6))

    def updates(self, count, *, failed=0, duration_ms=10.0):
        events = [
            LearningEvent("s", "learn", 1, number, duration_ms, 1, error="torn" if number < failed else None)
            for number in range(count)
        ]
        write_learning_events(self.store.writer, events)

    def outcomes(self, count, chance, *, agent="a", seed=1):
        rng = random.Random(seed)
        for _ in range(count):
            passed = rng.random() < chance
            one = make_example(agent, float(passed), number=next(self.numbers), signals=Signals(success=passed))
            self.performance.learn([one])
            self.drift.learn([one])

    def look(self):
        """What was told by this look, by name and subject."""
        before = len(self.told.alerts)
        self.alerts.look(now=True)
        return [(alert.name, alert.subject) for alert in self.told.alerts[before:]]

    @property
    def status(self):
        return [(one["name"], one["subject"]) for one in self.alerts.status()]


@pytest.fixture
def watched(tmp_path):
    made = []

    def watch(**settings):
        made.append(Watched(tmp_path / f"{len(made)}.db", **settings))
        return made[-1]

    yield watch
    for one in made:
        one.store.close()


def test_failed_updates_are_told_once_an_episode(watched, caplog):
    caplog.set_level("INFO", "router_sdk")
    parts = watched()
    parts.updates(19, failed=19)
    assert parts.look() == [], "too few to say"
    parts.updates(81)
    assert parts.look() == [("failed_updates", None)]
    assert parts.look() == parts.look() == []
    assert parts.status == [("failed_updates", None)]
    (alert,) = parts.told.alerts
    assert (alert.value, alert.threshold) == (pytest.approx(0.19), 0.05)
    assert "19.0% of the newest 100 updates failed" in alert.words
    assert alert.words in caplog.text
    parts.updates(300)
    assert parts.look() == []
    assert parts.status == [("failed_updates", None)], "4.75 % is not well behind"
    assert parts.alerts.status()[0]["since"] == alert.since
    parts.updates(600)
    assert (parts.look(), parts.status) == ([], [])
    parts.updates(100, failed=100)
    assert parts.look() == [("failed_updates", None)], "another episode"


def test_slow_updates(watched):
    parts = watched()
    parts.updates(50, duration_ms=900.0)
    assert parts.look() == []
    parts.updates(50, duration_ms=1_300.0)
    assert parts.look() == [("slow_updates", None)]
    assert parts.alerts.status()[0]["words"] == "an update takes 1,100 ms on average"


def test_rewards_that_fell_beyond_chance(watched):
    parts = watched(agent_failures=None, residual_threshold=None)
    parts.outcomes(200, 0.8)
    assert parts.look() == []
    parts.outcomes(100, 0.3)
    assert parts.look() == [("improvement_rate", None)]
    assert parts.told.alerts[0].value < -0.5
    parts.outcomes(200, 0.3, seed=2)
    assert (parts.look(), parts.status) == ([], []), "it earns less, but no less than before"


def test_rewards_that_scatter_did_not_fall(watched):
    """An improvement rate below −10 % is nothing unusual among coins: a quarter of all hundreds of them have one."""
    parts = watched(agent_failures=None, residual_threshold=None)
    rates = []
    for seed in range(100):
        parts.outcomes(20, 0.5, seed=seed)
        assert parts.look() == []
        rates.append(parts.performance.improvement()[0] or 0.0)
    assert min(rates) < -0.1


def test_an_agents_own_failures(watched):
    parts = watched(improvement_rate=None, residual_threshold=None)
    parts.outcomes(19, 0.0, agent="b")
    assert parts.look() == [], "too few to say"
    parts.outcomes(100, 0.9, agent="a")
    parts.outcomes(10, 0.0, agent="b")
    assert parts.look() == [("agent_failures", "b")]
    assert parts.told.alerts[0].words == "b failed 100% of its newest 29 tasks"


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"predictions": "default"}, "on all tasks the router favours other agents than before: 0.31 nats apart"),
        ({"predictions": "desk"}, "on tasks of the type desk the router favours other agents than before: 0.31 nats"),
        ({"inputs": "text"}, "tasks have other words, or features, than before: 0.31 standard deviations apart"),
        ({"inputs": "minilm"}, "tasks are about other things than before, as minilm reads them: 0.31"),
    ],
)
def test_what_differs_is_said_in_words(watched, monkeypatch, figures, words):
    parts = watched()
    differs = {"differs": True, "value": 0.31, "limit": 0.1, "since": 7.0}
    report = {"predictions": {}, "inputs": {}, "agents": {}}
    report |= {name: {subject: differs} for name, subject in figures.items()}
    monkeypatch.setattr(parts.drift, "report", lambda: report)
    (told,) = parts.alerts.status()
    assert told["words"].startswith(words)
    assert told["words"].endswith("the limit is 0.10")
    assert told["subject"] in figures.values()


def test_an_agent_that_changed(watched):
    parts = watched(improvement_rate=None, agent_failures=None)
    parts.outcomes(150, 0.9)
    assert parts.look() == []
    parts.outcomes(30, 0.1, seed=2)
    assert parts.look() == [("residual_change", "a")]
    alert = parts.told.alerts[0]
    assert alert.value < 0.0
    assert "a does worse than was foretold of it" in alert.words
    assert alert.since == parts.drift.report()["agents"]["a"]["since"], "by the log's time"


@pytest.mark.parametrize(
    "name", ["failed_updates", "slow_updates_ms", "improvement_rate", "agent_failures", "residual_threshold"]
)
def test_each_can_be_switched_off(watched, name):
    told = {}
    for settings in ({}, {name: None}):
        parts = watched(**settings)
        parts.updates(40, failed=40, duration_ms=2_000.0)
        parts.outcomes(200, 0.9)
        parts.outcomes(60, 0.0, seed=2)
        told[bool(settings)] = {alert for alert, _ in parts.look()}
    missing = {"slow_updates_ms": "slow_updates", "residual_threshold": "residual_change"}.get(name, name)
    assert told[False] - told[True] == {missing}


def test_nothing_is_looked_at_where_that_is_off(watched):
    parts = watched(enabled=False)
    parts.updates(40, failed=40)
    assert (parts.look(), parts.status) == ([], [])


def test_between_two_looks_lies_some_time(watched):
    parts = watched()
    parts.alerts.look()
    parts.updates(40, failed=40)
    parts.alerts.look()
    assert parts.told.alerts == []
    assert parts.status == [("failed_updates", None)], "who asks is told at once"


def test_a_plugin_that_raises_is_told_no_more_and_stops_nobody(watched, caplog):
    parts = watched()

    def broken(alert):
        raise RuntimeError("observer down")

    parts.told.alerts = type("List", (list,), {"append": broken, "__len__": lambda self: 0})()
    parts.updates(40, failed=40)
    parts.alerts.look(now=True)
    parts.alerts.look(now=True)
    assert caplog.text.count("on_drift raised") == 1
