"""Bets against a floor: looking at them often raises no false alarms, and what fell is found soon."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.evaluation.sequential import alarm_at, evidence_below, gain_interval, mean_sequence

RUNS = 400
ALPHA = 0.05
UNIT = st.floats(0.0, 1.0)


def rewards(rng, mean, shape):
    return (rng.random(shape) < mean).astype(float)


@pytest.mark.parametrize("mean", [0.05, 0.5, 0.95])
def test_looking_after_every_outcome_raises_few_false_alarms(mean):
    values = rewards(np.random.default_rng(1), mean, (RUNS, 500))
    alarms = sum(alarm_at(evidence_below(run, mean), ALPHA) is not None for run in values)
    assert alarms <= RUNS * ALPHA  # by Ville's inequality the chance of each is at most that, and it is not met


def test_who_bets_on_what_is_not_so_wins_nothing_on_average():
    rng = np.random.default_rng(2)
    floors = rng.uniform(0.2, 0.8, (200_000, 8))
    wealth = np.exp(evidence_below(rewards(rng, floors, floors.shape), floors)[:, -1])
    assert wealth.mean() == pytest.approx(1.0, abs=5 * wealth.std() / math.sqrt(wealth.size))


@pytest.mark.parametrize(("before", "after", "most"), [(0.8, 0.3, 40), (0.8, 0.5, 110), (0.2, 0.0, 60)])
def test_what_fell_is_found_soon(before, after, most):
    values = rewards(np.random.default_rng(3), after, (RUNS, 500))
    found = [alarm_at(evidence_below(run, before), ALPHA) or 1_000 for run in values]
    assert np.quantile(found, 0.95) <= most


@given(st.lists(st.tuples(UNIT, UNIT), min_size=2, max_size=40), st.integers(1, 39))
def test_what_comes_later_changes_nothing_of_what_was_concluded(pairs, cut):
    values, floors = np.array(pairs).T
    whole, part = evidence_below(values, floors), evidence_below(values[:cut], floors[:cut])
    np.testing.assert_allclose(whole[:cut], part, atol=1e-12)
    assert np.all(np.isfinite(whole))


@given(st.lists(UNIT, min_size=1, max_size=30), UNIT, UNIT)
def test_many_floors_are_asked_at_once(values, one, other):
    both = evidence_below(values, np.array([[one], [other]]))
    np.testing.assert_allclose(both[0], evidence_below(values, one))
    np.testing.assert_allclose(both[1], evidence_below(values, other))


def test_an_interval_holds_the_gain_at_all_times_at_once():
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(100):
        baseline = rng.uniform(0.3, 0.7, 200)
        values = rewards(rng, baseline + 0.1, 200)
        bounds = [gain_interval(values[:n], baseline[:n], 0.1) for n in (1, 5, 20, 50, 100, 200)]
        missed += any(not low <= 0.1 <= high for low, high in bounds)
    assert missed <= 10


def test_an_interval_closes_in_on_the_gain():
    values = rewards(np.random.default_rng(5), 0.6, 2_000)
    low, high = gain_interval(values, 0.5, 0.05)
    assert low > 0.0
    assert high - low < 0.15
    assert gain_interval([], [], 0.05) == (-1.0, 1.0)


@pytest.mark.parametrize("draw", [lambda r: r.random(3_000) < 0.3, lambda r: r.exponential(1.0, 3_000)])
def test_a_sequence_for_a_mean_without_bounds_seldom_ever_misses(draw):
    dice = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        values = np.asarray(draw(dice), dtype=float)
        low, high = mean_sequence(values, 0.05)[50:].T
        mean = 0.3 if values.max() <= 1.0 else 1.0
        missed += bool(np.any((low > mean) | (high < mean)))
    assert missed <= 15  # of 10 expected at most, three standard errors


def test_a_sequence_for_a_mean_narrows_and_begins_without_bounds():
    values = np.random.default_rng(6).normal(1e6, 1.0, 2_000)
    sequence = mean_sequence(values, 0.05)
    assert np.all(np.isinf(sequence[0]))
    width = sequence[:, 1] - sequence[:, 0]
    assert width[1_999] < width[199] / 2
    assert width[1_999] == pytest.approx(0.14, abs=0.02)
    assert mean_sequence([], 0.05).shape == (0, 2)
