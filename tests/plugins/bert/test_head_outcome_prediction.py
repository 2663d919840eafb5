"""Expected quality, latency and cost."""

import numpy as np
import pytest
from head_cases import clusters
from router_sdk_bert.head.outcome_prediction import OutcomePredictor

from router_sdk.records import Agent, Signals
from router_sdk.testing.examples import make_example, revise


def test_it_follows_the_task():
    vectors, right = clusters(600, spread=0.3)
    table = OutcomePredictor(0)
    for number, (vector, label) in enumerate(zip(vectors, right, strict=True), start=1):
        slow = label == "analyst"
        signals = Signals(latency_ms=4_000.0 if slow else 200.0)
        table.learn(make_example("coder", 0.2 if slow else 0.9, number=number, signals=signals), vector)
    asked, kinds = clusters(100, spread=0.3, seed=3)
    expected = [table.of("coder", vector) for vector in asked]
    slow = np.array([kind == "analyst" for kind in kinds])
    quality = np.array([one["quality"] for one in expected])
    latency = np.array([one["latency_ms"] for one in expected])
    assert quality[slow].mean() < 0.45 < 0.75 < quality[~slow].mean()
    assert np.median(latency[slow]) > 4 * np.median(latency[~slow])
    assert table.of("writer", asked[0]) == {}


def test_a_correction_takes_back_what_was_said():
    vectors, _ = clusters(30)
    corrected, direct = OutcomePredictor(0), OutcomePredictor(0)
    for number, vector in enumerate(vectors, start=1):
        first = make_example("coder", 0.1, number=number, signals=Signals(quality=0.1, latency_ms=50.0))
        second = revise(first, 0.8, signals=Signals(quality=0.8, latency_ms=70.0, cost_usd=0.1))
        corrected.learn(first, vector)
        corrected.learn(second, vector)
        direct.learn(
            make_example("coder", 0.8, number=number, signals=Signals(quality=0.8, latency_ms=70.0, cost_usd=0.1)),
            vector,
        )
    for vector in vectors[:5]:
        assert corrected.of("coder", vector) == pytest.approx(direct.of("coder", vector), rel=1e-6)


def test_an_agents_own_word_counts_as_a_few_outcomes():
    table, vector = OutcomePredictor(0), clusters(1)[0][0]
    table.prepare([Agent("coder", latency_ms=100.0, success_rate=0.5)])
    assert table.of("coder", None) == pytest.approx({"quality": 0.5, "latency_ms": 100.0})
    for number in range(1, 6):
        table.learn(make_example("coder", 1.0, number=number), vector)
    assert table.of("coder", None)["quality"] == pytest.approx(0.75)
    table.forget(["coder"])
    assert table.of("coder", None)["quality"] == pytest.approx(0.5)


def test_what_is_said_at_the_bounds_stays_finite_and_can_be_taken_back():
    vectors, _ = clusters(40)
    table, most = OutcomePredictor(0), Signals(quality=1.0, latency_ms=1e12, cost_usd=1e9)
    table.prepare([Agent("coder", latency_ms=1e12, cost_usd=1e9)])
    said = [make_example("coder", 1.0, number=n, signals=most) for n in range(1, 201)]
    for one in said:
        table.learn(one, vectors[one.decision_seq % 40])
    expected = table.of("coder", vectors[0])
    assert expected["latency_ms"] == pytest.approx(1e12, rel=1e-3)
    assert expected["cost_usd"] == pytest.approx(1e9, rel=1e-3)
    for one in said:
        table.learn(revise(one, 0.5, signals=Signals(quality=0.5, latency_ms=100.0, cost_usd=0.0)), vectors[0])
    again = OutcomePredictor(0)
    names, sums = table.arrays()
    again.restore({"names": names}, {"expectations": sums})
    again.prepare([Agent("coder")])
    assert all(np.isfinite(list(again.of("coder", vector).values())).all() for vector in [None, *vectors[:3]])
