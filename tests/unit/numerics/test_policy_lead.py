import json
from math import exp, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.numerics.policy_lead import (
    ERRORS,
    GUESSED,
    KEPT,
    LEAST_SPREAD,
    LEFT,
    LOGISTIC,
    MOST_RATIO,
    LeadComparison,
)

BOTH = ("first", "second")


def told(outcomes, kind="a", comparison=None):
    """The first prefers a, the second b, and each outcome says who acted, what came of it, at which propensity."""
    comparison = comparison or LeadComparison(BOTH)
    for acted, reward, propensity in outcomes:
        comparison.note(kind, ("a", "b"), {acted: reward}, propensity)
    return comparison


def share(comparison, kind="a"):
    return comparison.lead.of(kind)[1]


def test_shares_by_hand():
    one_each = told([("a", 0.0, 0.5), ("b", 1.0, 0.001)])
    number, total = KEPT + 1.0, 1.0
    spread = sqrt(total / number - (total / number) ** 2)
    precision = LEFT / (1.0 + LEFT)  # a size of 1 each, whatever the weight, and the first's is older
    odds = LOGISTIC * (precision / spread / sqrt(precision + GUESSED) - ERRORS)
    assert share(one_each) == pytest.approx(1.0 / (1.0 + exp(-odds)))
    assert MOST_RATIO < 1 / 0.001
    assert share(LeadComparison(BOTH)) == pytest.approx(1.0 / (1.0 + exp(LOGISTIC * ERRORS)))


def test_where_all_prefer_the_same_nothing_is_at_stake():
    comparison, begins = LeadComparison(BOTH), share(LeadComparison(BOTH))
    comparison.note("a", ("b", "b"), {"b": 1.0}, 0.5)
    comparison.note("a", (None, "b"), {"b": 1.0}, 0.5)
    comparison.note("a", ("a", "b"), {}, 0.5)
    assert (share(comparison), set(comparison.report())) == (begins, {""})


def test_a_few_rare_draws_do_not_drown_what_every_other_decision_says():
    often = [("b", float(number % 3 > 0), 0.96) for number in range(60)]
    rare = [("a", float(number == 0), 0.004) for number in range(4)]
    assert share(told([*often, *rare])) > 0.5
    swapped = [("a" if who == "b" else "b", reward, propensity) for who, reward, propensity in [*often, *rare]]
    assert share(told(swapped)) < 0.05


def test_one_of_which_too_little_is_known_leads_until_it_was_seen_where_the_first_leaves_something():
    leading = {}
    for leaves in (0, 2, 10):
        comparison = LeadComparison(BOTH)
        leading[leaves] = 0
        for number in range(1_000):
            second = share(comparison) > 0.5
            leading[leaves] += second
            told([("b", 0.0, 0.9) if second else ("a", float(number % 10 >= leaves), 0.9)], comparison=comparison)
    assert leading[0] == 0 < leading[2] < leading[10] < 100


def test_who_learns_slowly_and_ends_well_leads():
    early = [("a", 1.0, 0.9), ("b", 0.0, 0.9)] * 100
    late = [("a", 0.0, 0.9), ("b", 1.0, 0.9)] * 100
    assert share(told(early)) < 0.01
    assert share(told([*early, *late])) > 0.9


def test_a_kind_borrows_differences_and_not_levels_from_others():
    comparison = LeadComparison(BOTH)
    for kind, level in (("hard", 0.1), ("easy", 0.9)):
        # Where tasks are easy the second acts more often, so that its mean over all is the higher.
        acts = ["b"] * (9 if kind == "easy" else 1) + ["a"] * (1 if kind == "easy" else 9)
        told([(acts[number % 10], level + 0.01 * (number % 3), 0.9) for number in range(300)], kind, comparison)
    assert all(comparison.lead.of(kind)[1] < 0.5 for kind in ("hard", "easy", "new"))


def test_a_new_kind_begins_with_what_the_others_say_and_goes_its_own_way():
    comparison = told([("a", 0.0, 0.9), ("b", 1.0, 0.9)] * 50)
    assert share(comparison, "new") > 0.9
    told([("a", 1.0, 0.9), ("b", 0.0, 0.9)] * 50, "new", comparison)
    assert share(comparison, "new") < 0.05 < 0.9 < share(comparison)


def test_exact_rewards_and_equal_ones_have_a_spread():
    assert share(told([("a", 0.7, 0.9), ("b", 0.7, 0.9)] * 50)) < 0.2
    assert share(told([("a", 0.7, 0.9), ("b", 0.7 + LEAST_SPREAD, 0.9)] * 50)) > 0.9


notes = st.lists(
    st.tuples(
        st.sampled_from("xy"),
        st.tuples(*[st.sampled_from(["a", "b", "c", None])] * 3),
        st.dictionaries(st.sampled_from("abc"), st.floats(0, 1), max_size=3),
        st.floats(1e-6, 1),
    ),
    max_size=40,
)


@given(notes, notes)
@settings(max_examples=60, deadline=None)
def test_shares_sum_to_one_and_come_back_from_disk_to_the_bit(before, after):
    names = ("first", "second", "third")
    whole, parts = LeadComparison(names), LeadComparison(names)
    for note in before:
        whole.note(*note)
        parts.note(*note)
    again = LeadComparison(names)
    again.restore(json.loads(json.dumps(parts.state())))
    for note in after:
        whole.note(*note)
        again.note(*note)
    assert again.state() == whole.state()
    for kind in ("x", "y", "new"):
        shares = whole.lead.of(kind)
        assert again.lead.of(kind) == shares
        assert sum(shares) == pytest.approx(1.0)
        assert min(shares) >= 0.0


def test_what_was_published_stays_as_it_was():
    comparison = LeadComparison(BOTH)
    before, asked = comparison.lead, comparison.lead.of("a")
    told([("a", 0.0, 0.5), ("b", 1.0, 0.5)], comparison=comparison)
    assert before.of("a") == asked != comparison.lead.of("a")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"policies": ["other"]},
        {"overall": [[float("nan"), 0.0]]},
        {"overall": []},
        {"kinds": {"a": [[1.0, 1.0, 1.0]]}},
        {"kinds": {"a": [[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}},
        {"kinds": {"a": [[1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}},
    ],
)
def test_numbers_that_are_none_are_refused_and_nothing_changes(spoilt):
    comparison = told([("b", 1.0, 0.5), ("a", 0.0, 0.5)])
    state = comparison.state()
    with pytest.raises(ValueError, match=r"rewards of|finite|sums"):
        comparison.restore({**state, **spoilt})
    assert comparison.state() == state
