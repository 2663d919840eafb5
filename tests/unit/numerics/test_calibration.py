from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.numerics.calibration import LEAST, fit_calibrator, increasing

GRID = np.linspace(0.0, 1.0, 101).tolist()


def pairs(chance, count=2_000, seed=1_000):
    """Confidences all over, and successes with ``chance(confidence)``."""
    rng = np.random.default_rng(seed)
    confidences = rng.random(count)
    return confidences.tolist(), (rng.random(count) < chance(confidences)).astype(float).tolist()


def furthest(chance, found):
    return max(abs(found(given_) - float(chance(np.float64(given_)))) for given_ in GRID[5:-5])


def test_below_some_pairs_nothing_is_known():
    confidences, rewards = pairs(lambda said: said, LEAST)
    assert fit_calibrator(confidences[:-1], rewards[:-1]) is None
    assert fit_calibrator(confidences, rewards).pairs == LEAST


@pytest.mark.parametrize(
    "chance",
    [
        lambda said: said,
        lambda said: said**0.25,
        lambda said: 1.0 / (1.0 + np.exp(-2.5 * (np.log(said + 1e-9) - np.log1p(1e-9 - said)) - 1.0)),
        lambda said: 0.3 + 0.4 * (said > 0.5),
        lambda said: 0.2 + 0.1 * said,
    ],
    ids=["right already", "too low", "a line on log odds", "a step", "hardly any"],
)
def test_it_finds_what_confidences_came_to(chance):
    found = fit_calibrator(*pairs(chance))
    off = np.array([abs(found(given_) - float(chance(np.float64(given_)))) for given_ in GRID])
    assert off[5:-5].mean() < 0.06  # at the ends there is little to go by


def test_what_is_right_stays_almost_as_it_is():
    found = fit_calibrator(*pairs(lambda said: said))
    assert found.weights[0] > 0.5
    assert furthest(lambda said: said, found) < 0.02


def test_a_step_takes_steps():
    found = fit_calibrator(*pairs(lambda said: 0.3 + 0.4 * (said > 0.5)))
    assert found.weights[2] > 0.9


def test_the_newest_pairs_count_most():
    early, late = pairs(lambda said: 0.1 + 0 * said, 1_000), pairs(lambda said: 0.9 + 0 * said, 1_000, seed=1_001)
    found = fit_calibrator(early[0] + late[0], early[1] + late[1])
    assert 0.85 < found(0.5) < 0.95  # the second thousand has the fourfold weight, and it went up


def test_what_improves_all_the_time_is_not_lagged_behind():
    rng = np.random.default_rng(1_003)
    risen = np.linspace(0.2, 0.8, 1_000)
    found = fit_calibrator([0.5] * 1_000, (rng.random(1_000) < risen).astype(float).tolist())
    assert found(0.5) == pytest.approx(0.8, abs=0.06)  # the weighted mean is .58


def test_what_stands_still_is_not_extrapolated():
    off = [
        abs(fit_calibrator(*pairs(lambda said: 0.5 + 0 * said, 500, seed))(0.5) - 0.5) for seed in range(1_000, 1_020)
    ]
    assert np.mean(off) < 0.03


def test_a_pair_of_grades_says_more_than_a_pair_of_coins():
    rng = np.random.default_rng(1_004)
    confidences = rng.random(400)
    grades = (0.6 + 0.1 * (confidences > 0.5) + rng.normal(0.0, 0.03, 400)).clip(0.0, 1.0)
    found = fit_calibrator(confidences.tolist(), grades.tolist())
    assert (found(0.25), found(0.75)) == pytest.approx((0.6, 0.7), abs=0.01)
    assert found.weights[2] > 0.9


def test_weights_are_relative_and_count():
    confidences, rewards = pairs(lambda said: said**0.25, 600)
    plain = fit_calibrator(confidences, rewards)
    alike = fit_calibrator(confidences, rewards, [3.0] * 600)
    assert alike(0.4) == pytest.approx(plain(0.4), abs=1e-9)
    said, came = [0.5] * 600, [1.0, 1.0, 0.0] * 200
    assert fit_calibrator(said, came, [1.0, 1.0, 2.0] * 200)(0.5) == pytest.approx(0.5, abs=0.02)


def test_grades_are_as_good_as_successes():
    rng = np.random.default_rng(1_002)
    confidences = rng.random(2_000)
    grades = (0.5 + 0.3 * confidences + rng.normal(0.0, 0.1, 2_000)).clip(0.0, 1.0)
    found = fit_calibrator(confidences.tolist(), grades.tolist())
    assert furthest(lambda said: 0.5 + 0.3 * said, found) < 0.05


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=LEAST, max_size=200),
)
def test_it_increases_and_stays_within_0_and_1_whatever_came(told):
    found = fit_calibrator(*zip(*told, strict=True))
    means = [found(given_) for given_ in GRID]
    assert all(0.0 <= mean <= 1.0 for mean in means)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(means))


@pytest.mark.parametrize("reward", [0.0, 1.0])
@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_one_value_alone_is_no_trouble(confidence, reward):
    found = fit_calibrator([confidence] * 100, [reward] * 100)
    assert abs(found(confidence) - reward) < 0.05


def test_against_what_is_given_a_confidence_that_says_nothing_is_flat():
    found = fit_calibrator(*pairs(lambda said: 1.0 - said))
    assert found(0.9) - found(0.1) < 0.05


def test_violators_are_pooled():
    assert increasing(np.array([0.1, 0.5, 0.3, 0.8]), np.array([1.0, 1.0, 3.0, 1.0])) == [0.1, 0.35, 0.35, 0.8]
