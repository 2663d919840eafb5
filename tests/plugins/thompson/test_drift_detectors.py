import json

import numpy as np
import pytest
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy, adwin, detection
from router_sdk_thompson.adwin import MOST, AdwinDetector

from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Task
from router_sdk.testing import FixedContext, check_strategy, make_example, make_services

AGENTS = AgentSet([Agent("a"), Agent("b")])
TASK = Task(task_type="sums")
needs_river = pytest.mark.skipif(not adwin.river_installed(), reason="river is an extra")


def strategy(**fields):
    made = ThompsonStrategy(ThompsonConfig(min_evidence=0, half_life_s=None, **fields), make_services())
    made.prepare(AGENTS)
    return made


def stream(rates, count, first=1, seed=0):
    rng = np.random.default_rng([seed, first])
    return [
        make_example(name, float(rng.random() < rates[name]), number=first + n, task=TASK, eligible=AGENTS.names)
        for n in range(count)
        for name in [AGENTS.names[n % 2]]
    ]


def scores(made):
    return made.propose(TASK, AGENTS, FixedContext()).scores


def changes(made):
    return {name: told["changes"] for name, told in made.report()["agents"].items()}


@needs_river
@pytest.mark.parametrize("kind", ["cusum", "adwin"])
@pytest.mark.parametrize("seed", range(3))
def test_a_fall_is_noticed_and_calm_is_not(kind, seed):
    made = strategy(change_detector=kind)
    made.learn(stream({"a": 0.9, "b": 0.6}, 1_000, seed=seed))
    assert changes(made) == {"a": 0, "b": 0}
    made.learn(stream({"a": 0.3, "b": 0.6}, 160, first=1_001, seed=seed))
    assert changes(made)["a"] >= 1
    assert changes(made)["b"] == 0
    assert scores(made)["a"] < 0.5
    assert made.report()["change_detector"] == kind


@pytest.mark.parametrize("fields", [{"change_detector": "off"}, {"change_threshold": None}])
def test_nobody_watches_where_it_is_off(fields):
    made = strategy(**fields)
    made.learn(stream({"a": 1.0, "b": 0.6}, 1_000))
    made.learn(stream({"a": 0.0, "b": 0.6}, 400, first=1_001))
    assert changes(made) == {"a": 0, "b": 0}
    assert made.report()["change_detector"] == "off"


def test_without_river_adwin_is_off_and_says_so(monkeypatch):
    monkeypatch.setattr(detection, "river_installed", lambda: False)
    made = strategy(change_detector="adwin")
    made.learn(stream({"a": 1.0, "b": 0.6}, 1_000))
    made.learn(stream({"a": 0.0, "b": 0.6}, 400, first=1_001))
    assert changes(made) == {"a": 0, "b": 0}
    assert "river is not installed" in made.report()["change_detector"]


@needs_river
def test_a_window_is_the_same_after_its_residuals_were_replayed():
    rng, live = np.random.default_rng(0), AdwinDetector(0.01)
    residuals = [float(each) for each in rng.normal(size=MOST + 300)]
    for each in residuals:
        assert not live.surprised(each, 0.0)
    again = AdwinDetector.restored(0.01, json.loads(json.dumps(live.state())))
    shifted = [float(each) for each in rng.normal(-1.5, 1.0, size=60)]
    found = [(live.surprised(each, 0.0), again.surprised(each, 0.0)) for each in shifted]
    assert all(one == other for one, other in found)
    assert any(one for one, _ in found)
    assert len(live.state()[0]) < MOST


@needs_river
def test_a_change_that_only_the_shorter_window_finds_is_an_alarm():
    rng, live = np.random.default_rng(4), AdwinDetector(0.01)
    restless, calm, fallen = rng.normal(0.0, 3.0, 500), rng.normal(0.0, 1.0, 430), rng.normal(-1.1, 1.0, 70)
    found = [live.surprised(float(each), 0.0) for each in (*restless, *calm, *fallen)]
    assert (found.index(True), live.alarms) == (MOST - 1, 1)
    again = AdwinDetector.restored(0.01, json.loads(json.dumps(live.state())))
    assert (again.state(), len(live.state()[0])) == (live.state(), 34)
    for each in rng.normal(-1.1, 1.0, 100):  # What it is now is the new calm.
        assert not live.surprised(float(each), 0.0)
    assert live.alarms == 1


@needs_river
def test_it_is_saved_with_the_rest(tmp_path):
    made, again = strategy(change_detector="adwin"), strategy(change_detector="adwin")
    made.learn(stream({"a": 0.9, "b": 0.6}, 500))
    made.save(tmp_path)
    again.load(tmp_path)
    more = stream({"a": 0.2, "b": 0.6}, 200, first=501)
    for each in (made, again):
        each.learn(more)
    assert scores(made) == scores(again)
    assert changes(made) == changes(again)
    assert changes(made)["a"] >= 1
    path = tmp_path / "cells.json"
    path.write_text(path.read_text().replace('"detector": [[', '"detector": [["x", ', 1))
    with pytest.raises(CorruptArtifactError):
        strategy(change_detector="adwin").load(tmp_path)


@needs_river
def test_adwin_keeps_the_contract():
    config = ThompsonConfig(change_detector="adwin", min_context_evidence=1)
    check_strategy(lambda services: ThompsonStrategy(config, services))
