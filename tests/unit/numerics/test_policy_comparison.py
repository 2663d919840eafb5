"""What policies would have earned, from outcomes of every sort."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.numerics.policy_comparison import ALL_COMPARED, EVERY, MOST_GAIN, PolicyComparison, shares_among

NAMES = ("one", "two", "three")
EVEN = (0.34, 0.33, 0.33)


@dataclass(frozen=True)
class Outcome:
    """One that tells."""

    decision_id: str = "0"
    task_type: str = "a"
    eligible: tuple[str, ...] = NAMES
    agent: str | None = "one"
    reward: float | None = 1.0
    propensity: float | None = 0.5
    labelled: bool = False
    label: str | None = None


def told(comparison, outcome, favourites, context=None, expected=(0.5, 0.5, 0.5), **more):
    """Take in an outcome as strategies do."""
    if asked := comparison.asks(outcome, context, new=True):
        comparison.note(outcome, context, () if comparison.observing else favourites, expected, **more)
    return asked


def lead_of(comparison):
    return max(range(3), key=comparison.weights.of("a").__getitem__)


def test_whose_favourites_earn_more_comes_to_lead_from_logged_decisions_and_from_labels():
    logged, labelled = (PolicyComparison(NAMES, EVEN) for _ in range(2))
    rng = np.random.default_rng(0)
    for turn in range(300):
        acted = int(rng.integers(3))
        reward = float(rng.random() < (0.2, 0.2, 0.8)[acted])
        told(logged, Outcome(f"{turn}", agent=NAMES[acted], reward=reward, propensity=1 / 3), (0, 1, 2))
        told(labelled, Outcome(f"{turn}", labelled=True, label="two", agent=None, reward=None), (0, 1, 2))
    assert lead_of(logged) == 2
    assert lead_of(labelled) == 1
    assert not told(PolicyComparison(NAMES, EVEN, labels=False), Outcome(labelled=True, reward=None), (0, 1, 2))


def test_rewards_observed_at_one_task_compare_once_the_favourites_are_known():
    comparison, where = PolicyComparison(NAMES, EVEN), np.ones(4, dtype=np.float32)
    for turn in range(40):
        for place, name in enumerate(NAMES):
            told(comparison, Outcome(f"{turn}{name}", agent=name, reward=(0.6, 0.9, 0.7)[place], propensity=None),
                 (0, 1, 2), where * turn)  # fmt: skip
            assert comparison.again is (place > 0)
    assert lead_of(comparison) == 1
    assert not comparison.feedback.exclusive
    seen = comparison.selection.state()
    told(comparison, Outcome("x", agent="one", propensity=None), (0, 1, 2), where)
    told(comparison, Outcome("y", agent="one", propensity=None), (0, 1, 2), -where)
    assert comparison.selection.state()["overall"][0] == seen["overall"][0] + 1, "the last whole one, no other"


def test_of_one_that_succeeded_the_others_may_be_presumed():
    comparison = PolicyComparison(NAMES, EVEN)
    for turn in range(40):
        told(comparison, Outcome(f"{turn}", agent="three", propensity=None), (0, 1, 2), np.array([turn]), others=0.1)
    assert lead_of(comparison) == 2


def test_who_has_no_say_neither_gains_nor_loses_and_who_has_hardly_any_share_is_still_compared():
    sleeping, ahead = PolicyComparison(NAMES, (0.01, 0.49, 0.5)), PolicyComparison(NAMES, (0.01, 0.49, 0.5))
    for turn in range(60):
        outcome = Outcome(f"{turn}", labelled=True, label="one", agent=None, reward=None)
        told(sleeping, outcome, (-1, 1, 1))
        told(ahead, outcome, (0, 1, 1))
    assert sleeping.weights.of("a")[0] == pytest.approx(PolicyComparison(NAMES, (0.01, 0.49, 0.5)).weights.of("a")[0])
    assert lead_of(ahead) == 0


def test_a_single_rare_success_counts_for_no_more_than_the_bound():
    comparison = PolicyComparison(NAMES, EVEN)
    for turn in range(200):
        told(comparison, Outcome(f"{turn}", reward=0.0, propensity=0.9), (0, 1, 2), expected=(0.0, 0.0, 0.0))
    before = comparison.selection.state()["overall"][3:]
    told(comparison, Outcome("x", agent="two", propensity=0.01), (0, 1, 2), expected=(0.0, 0.0, 0.0))
    gained = np.subtract(comparison.selection.state()["overall"][3:], before)
    assert gained[1] == pytest.approx(MOST_GAIN, rel=0.01)


def test_gains_in_rewards_are_what_was_estimated_against_the_mixture():
    comparison = PolicyComparison(NAMES, EVEN, in_spreads=False)
    told(comparison, Outcome(agent="two", propensity=0.25), (0, 1, 2), expected=(0.5, 0.5, 0.5))
    gains = comparison.selection.state()["overall"][3:]
    assert gains[1] - gains[0] == pytest.approx((1.0 - 0.5) / 0.25)
    assert gains[0] == gains[2]


def test_later_on_one_in_so_many_is_compared_the_same_ones_whoever_asks():
    one, other = PolicyComparison(NAMES, EVEN), PolicyComparison(NAMES, EVEN)
    count = ALL_COMPARED + 2_000
    asked = [[each.asks(Outcome(f"{turn:032x}"), None, new=True) for turn in range(count)] for each in (one, other)]
    assert asked[0] == asked[1]
    assert all(asked[0][:ALL_COMPARED])
    assert sum(asked[0][ALL_COMPARED:]) == pytest.approx(2_000 / EVERY, rel=0.2)


def test_what_is_not_new_or_leaves_no_choice_compares_nobody():
    comparison = PolicyComparison(NAMES, EVEN)
    assert not comparison.asks(Outcome(), None, new=False)
    assert not comparison.asks(Outcome(eligible=("one",)), None, new=True)
    assert not comparison.asks(Outcome(reward=None), None, new=True)
    assert comparison.report() == {"": pytest.approx(dict(zip(NAMES, (0.5, 0.25, 0.25), strict=True)), abs=0.01)}


def test_the_best_policy_has_half_and_who_would_have_hardly_any_has_none():
    assert shares_among((0.3, 0.3, 0.2, 0.2), (0, 1)) == pytest.approx({0: 0.5, 1: 0.5})
    assert shares_among((0.01, 0.9, 0.05, 0.04), (0, 1)) == {1: 1.0}
    found = shares_among((0.3, 0.25, 0.25, 0.2), range(4))
    assert found[0] == pytest.approx(0.5)
    assert sum(found.values()) == pytest.approx(1.0)


outcomes = st.builds(
    Outcome,
    decision_id=st.text("0123", min_size=1, max_size=3),
    task_type=st.sampled_from("ab"),
    agent=st.sampled_from(NAMES),
    reward=st.none() | st.floats(0, 1),
    propensity=st.none() | st.floats(0.01, 1),
    labelled=st.booleans(),
    label=st.none() | st.sampled_from(NAMES),
)


@given(st.lists(st.tuples(outcomes, st.integers(0, 2)), max_size=40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_cut_anywhere_it_goes_on_to_the_very_same_state(steps, cut):
    whole, parts = PolicyComparison(NAMES, EVEN), PolicyComparison(NAMES, EVEN)
    for place, (outcome, where) in enumerate(steps):
        if place == cut:
            state, parts = json.loads(json.dumps(parts.state())), PolicyComparison(NAMES, EVEN)
            parts.restore(state)
        for each in (whole, parts):
            told(each, outcome, (0, where, -1), np.array([where], dtype=np.float32), others=0.2)
    assert whole.state() == parts.state()


@pytest.mark.parametrize("spoilt", [{"heard": {"a": [7]}}, {"scale": [0.0]}, {"seen": None}, {"together": []},
                                    {"together": [None, "a", ["one"], [3], {}, None]}])  # fmt: skip
def test_a_state_that_cannot_be_is_refused(spoilt):
    comparison = PolicyComparison(NAMES, EVEN)
    with pytest.raises((ValueError, TypeError)):
        comparison.restore({**comparison.state(), **spoilt})


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_what_only_one_would_choose_is_not_believed_to_earn_what_it_does_where_all_choose_it(share):
    """Mushrooms: eating is worth 1, or .5 on average of the poisonous half; leaving .875. Two of three can tell."""
    comparison, rng = PolicyComparison(NAMES, EVEN), np.random.default_rng(3)
    names, record = ("eat", "leave"), (0.99, 0.875)  # eaten is nearly only what is good
    for turn in range(400):
        poisonous = bool(rng.random() < 0.5)
        wise = int(poisonous)
        acted = wise if not poisonous or rng.random() > share else 0
        reward = 0.875 if acted else float(not poisonous or rng.random() < 0.5)
        propensity = 1.0 if not poisonous else 1.0 - share if acted else share
        told(
            comparison,
            Outcome(f"{turn}", eligible=names, agent=names[acted], reward=reward, propensity=propensity),
            (0, wise, wise),
            expected=record,
        )
    assert comparison.weights.of("a")[0] < 0.02
    again = PolicyComparison(NAMES, EVEN)
    again.restore(json.loads(json.dumps(comparison.state())))
    assert again.state() == comparison.state()


@pytest.mark.parametrize("sums", [[float("nan"), 0.0], [-10.0, 1.0], [1.0, float("inf")]])
def test_what_was_earned_is_looked_at_when_it_is_read(sums):
    comparison = PolicyComparison(NAMES, EVEN)
    with pytest.raises(ValueError, match="earned"):
        comparison.restore({**comparison.state(), "earned": {"100": sums}})
