import numpy as np
import pytest
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.drift import detectors

from router_sdk.numerics.change_detection import river_installed
from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Task
from router_sdk.testing import FixedContext, check_strategy, make_example, make_services

AGENTS = AgentSet([Agent("a"), Agent("b")])
TASK = Task(task_type="sums")
needs_river = pytest.mark.skipif(not river_installed(), reason="river is an extra")


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
    monkeypatch.setattr(detectors, "river_installed", lambda: False)
    made = strategy(change_detector="adwin")
    made.learn(stream({"a": 1.0, "b": 0.6}, 1_000))
    made.learn(stream({"a": 0.0, "b": 0.6}, 400, first=1_001))
    assert changes(made) == {"a": 0, "b": 0}
    assert "river is not installed" in made.report()["change_detector"]


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
