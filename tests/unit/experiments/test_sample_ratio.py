"""Units that get lost on the way to an arm are found; shares that change as configured are no alarm."""

import numpy as np
import pytest

from router_sdk.experiments.sample_ratio import SURE, sample_ratio


def came(rng, shares, counts, kept=1.0):
    """Units of phases with these shares of the challenger; of the challenger's a share is kept."""
    arms, chances = [], []
    for share, count in zip(shares, counts, strict=True):
        arm = (rng.random(count) < share).astype(int)
        arm = arm[(arm == 0) | (rng.random(count) < kept)]
        arms.append(arm)
        chances.append(np.where(arm == 1, share, 1.0 - share))
    return np.concatenate(arms), np.concatenate(chances)


@pytest.mark.parametrize(
    ("shares", "counts"),
    [([0.5], [1_500]), ([0.1], [1_500]), ([0.1, 0.25, 0.5], [500] * 3), ([0.3, 0.31] * 15, [50] * 30)],
)
def test_false_alarms_are_no_more_frequent_than_said(shares, counts):
    found = [sample_ratio(*came(np.random.default_rng(seed), shares, counts), 2).p_value for seed in range(150)]
    assert sum(p < 0.1 for p in found) <= 150 * 0.1
    assert sum(p < SURE for p in found) == 0


@pytest.mark.parametrize(("shares", "counts"), [([0.5], [6_000]), ([0.1], [60_000]), ([0.1, 0.5], [3_000, 6_000])])
def test_a_tenth_of_an_arm_that_is_lost_is_found(shares, counts):
    found = [sample_ratio(*came(np.random.default_rng(seed), shares, counts, 0.85), 2).right for seed in range(5)]
    assert not any(found)


def test_three_arms_and_what_was_expected_of_each():
    rng = np.random.default_rng(1)
    shares = np.array([0.8, 0.15, 0.05])
    arm = rng.choice(3, 5_000, p=shares)
    found = sample_ratio(arm, shares[arm], 3)
    assert found.right
    assert sum(found.observed) == 5_000
    assert found.expected == pytest.approx(5_000 * shares, rel=0.02)
    assert not sample_ratio(arm, np.array([0.8, 0.1, 0.1])[arm], 3).right


def test_an_arm_that_nobody_comes_to():
    assert not sample_ratio(np.zeros(400, dtype=int), np.full(400, 0.9), 2).right


def test_before_any_unit_came():
    found = sample_ratio(np.zeros(0, dtype=int), np.zeros(0), 2)
    assert (found.observed, found.p_value, found.right) == ((0, 0), 1.0, True)
