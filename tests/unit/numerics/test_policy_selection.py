import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.numerics.policy_selection import LEADING, LEAST, MOST_RATIO, PolicySelection, doubly_robust

NAMES = ("first", "second", "third")


def played(gaps, rounds, *, seed=0, floor=0.02, start=(1 / 3, 1 / 3, 1 / 3), kind="a"):
    """A selection that serves: each policy has one agent of its own, worth ``gaps``; reward of the chosen one is seen.

    Returns:
        The selection, and what was earned by round.
    """
    rng, selection = np.random.default_rng(seed), PolicySelection(NAMES, start)
    sums, counts, earned = np.full(3, 0.5), np.ones(3), np.zeros(rounds)
    for turn in range(rounds):
        shares = (1 - floor) * np.array(selection.weights.of(kind)) + floor / 3
        acted = int(rng.choice(3, p=shares / shares.sum()))
        earned[turn] = reward = float(rng.random() < gaps[acted])
        gains = doubly_robust((sums / counts).tolist(), (0, 1, 2), acted, reward, float(shares[acted]))
        selection.note(kind, gains)
        sums[acted] += reward
        counts[acted] += 1
    return selection, earned


def test_estimates_by_hand():
    expected = [0.5, 0.25]
    assert doubly_robust(expected, [0, 1], 0, 1.0, 0.5) == [0.5 + 0.5 / 0.5, 0.25]
    assert doubly_robust(expected, [0, 1, 1], 1, 0.0, 0.001) == [0.5, *(0.25 - MOST_RATIO * 0.25,) * 2]


def test_the_estimate_is_right_on_average_whatever_the_regression_says():
    rng, truth, propensities = np.random.default_rng(5), np.array([0.8, 0.3]), np.array([0.9, 0.1])
    acted = rng.choice(2, p=propensities, size=40_000)
    rewards = rng.random(40_000) < truth[acted]
    for expected in ([0.0, 0.0], [0.9, 0.9], [0.8, 0.3]):
        found = [
            doubly_robust(expected, [0, 1], int(who), float(got), float(propensities[who]))
            for who, got in zip(acted, rewards, strict=True)
        ]
        np.testing.assert_allclose(np.mean(found, axis=0), truth, atol=0.03)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_best_policy_comes_to_answer(best):
    gaps = [0.5, 0.5, 0.5]
    gaps[best] = 0.7
    for seed in range(3):
        selection, _ = played(gaps, 2_500, seed=seed)
        shares = selection.weights.of("a")
        assert max(range(3), key=shares.__getitem__) == best
        assert shares[best] > 0.8


def test_a_trusted_policy_that_is_worse_is_left():
    selection, earned = played([0.3, 0.6, 0.3], 1_500, start=(0.96, 0.03, 0.01))
    assert selection.weights.of("a")[1] > 0.8
    assert earned[-500:].mean() > 0.5


def test_what_is_lost_to_the_best_policy_stays_within_the_bound():
    lost = [0.7 * 4_000 - played([0.5, 0.7, 0.6], 4_000, seed=seed)[1].sum() for seed in range(6)]
    assert np.mean(lost) < 4.0 * np.sqrt(3 * 0.25 * 4_000 * np.log(3))


def test_a_change_is_followed():
    selection, _ = played([0.8, 0.3, 0.3], 1_500)
    for _ in range(1_500):
        selection.note("a", (0.2, 0.7, 0.3))
    assert selection.weights.of("a")[1] > 0.8


def test_kinds_are_told_apart_and_a_new_one_begins_with_what_all_say():
    selection = PolicySelection(NAMES)
    for _ in range(400):
        selection.note("a", (0.9, 0.1, 0.1))
        selection.note("b", (0.1, 0.6, 0.1))
    assert selection.weights.of("a")[0] > 0.9
    assert selection.weights.of("b")[1] > 0.9
    assert selection.weights.of("new")[0] > 0.5
    assert set(selection.report()) == {"", "a", "b"}


gains = st.tuples(*[st.floats(-20, 20)] * 3)


@given(st.lists(st.tuples(st.sampled_from("ab"), gains), max_size=60), st.sampled_from("abc"))
@settings(max_examples=60, deadline=None)
def test_shares_are_a_mixture_with_a_leader_and_come_back_from_disk_to_the_bit(told, asked):
    selection = PolicySelection(NAMES)
    for kind, gain in told:
        selection.note(kind, gain)
    shares = selection.weights.of(asked)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= LEAST / 2
    assert max(shares) >= LEADING - 1e-9
    again = PolicySelection(NAMES)
    again.restore(json.loads(json.dumps(selection.state())))
    assert again.weights.of(asked) == shares
    selection.note("a", (1.0, 0.0, 0.5))
    again.note("a", (1.0, 0.0, 0.5))
    assert again.state() == selection.state()


def test_what_was_published_stays_as_it_was():
    selection = PolicySelection(NAMES)
    before = selection.weights
    asked = before.of("a")
    selection.note("a", (1.0, 0.0, 0.0))
    assert before.of("a") == asked != selection.weights.of("a")


@pytest.mark.parametrize(
    "spoilt", [{"policies": ["other"]}, {"overall": [1.0]}, {"overall": [float("nan")] * 6}, {"overall": [-1.0] * 6}]
)
def test_numbers_that_are_none_are_refused(spoilt):
    selection = PolicySelection(NAMES)
    with pytest.raises(ValueError, match=r"gains|counts|unpack"):
        selection.restore({**selection.state(), **spoilt})
