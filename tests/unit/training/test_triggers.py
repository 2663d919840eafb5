"""What each trigger measures, from when on it is due, and what it says before."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.training.window_triggers import Drift, ErrorRate, LowConfidence, NegativeFeedback, QualityDrop
from router_sdk.triggers import WINDOW, Activity, Answered, ExampleCount, Heard, Manual, Reading, Schedule, Trigger

HOUR = 3_600.0
NOW = 1_000_000.0


def activity(**told):
    given = {
        "strategy": "s",
        "examples": 1_000,
        "fresh": 500,
        "model_version": 1,
        "recent_reward": None,
        "earlier_reward": None,
        "seconds_since_fit": 100.0,
        "now": NOW,
    }
    return Activity(**{**given, **told})


def heard(rewards, *, start=1, at=NOW, agent="a", **said):
    return [Heard(start + place, at, agent, reward, **said) for place, reward in enumerate(rewards)]


def good(count, share=1.0):
    """So many outcomes, of which a share went well, spread evenly."""
    return [float((place * share) % 1.0 + share >= 1.0 - 1e-9) for place in range(count)]


# -- counts and clocks


@pytest.mark.parametrize(
    ("counted", "examples", "due", "words"),
    [
        (9, 9, False, "1 more fresh examples to come"),
        (10, 10, True, "10 fresh examples"),
        (10, 4, False, "4 examples in all, it takes 5"),
    ],
)
def test_a_count_of_fresh_examples(counted, examples, due, words):
    said = ExampleCount(10, 5).reading(activity(counted=counted, fresh=counted, examples=examples))
    assert (said.due, said.reason, said.value, said.threshold) == (due, words, counted, 10)
    assert ExampleCount(10, 5).due(activity(counted=counted, fresh=counted, examples=examples)) == (
        words if due else None
    )


def test_of_a_quality_only_those_count_that_have_it():
    trigger = ExampleCount(10, 5, 0.7)
    assert (
        trigger.reading(activity(counted=3, fresh=500)).reason == "7 more fresh examples of quality 0.7 or more to come"
    )
    assert trigger.due(activity(counted=10)) == "10 fresh examples of quality 0.7 or more"


@pytest.mark.parametrize(
    ("seconds", "fresh", "due", "words"),
    [
        (None, 1, True, "nothing was ever fitted"),
        (23 * HOUR, 5, False, "1 hours to go"),
        (24 * HOUR, 5, True, "24 hours since the last fit"),
        (24 * HOUR, 0, False, "nothing fresh to learn from"),
    ],
)
def test_a_schedule(seconds, fresh, due, words):
    said = Schedule(24.0).reading(activity(seconds_since_fit=seconds, fresh=fresh))
    assert (said.due, said.reason) == (due, words)


def test_nobody_but_a_person_starts_a_fit_by_hand():
    said = Manual().reading(activity())
    assert not said.due
    assert "router retrain" in said.reason


def test_a_trigger_that_knows_only_due_has_a_reading_all_the_same():
    class Sometimes(Trigger):
        name = "sometimes"

        def due(self, activity):
            return "now" if activity.fresh else None

    assert Sometimes().reading(activity()) == Reading("sometimes", True, "now")
    assert Sometimes().reading(activity(fresh=0)) == Reading("sometimes", False, "not yet")
    assert not Sometimes().reading(activity(fresh=0)).share


# -- windows


def test_a_fall_of_rewards_counts_from_the_last_fit_on():
    before, late = heard(good(200, 0.8)), heard(good(100, 0.5), start=201)
    told = activity(outcomes=[*before, *late], upto=200)
    said = QualityDrop(0.1).reading(told)
    assert said.due
    assert said.value == pytest.approx(0.3)
    assert said.reason == "the mean reward went from 0.800 to 0.500"
    assert not QualityDrop(0.31).reading(told).due
    # what made it due does not make the next one due
    again = QualityDrop(0.1).reading(activity(outcomes=told.outcomes, upto=300))
    assert (again.due, again.reason) == (False, "0 rewarded outcomes since the last fit, it takes 50")


@pytest.mark.parametrize(
    ("before", "late", "words"),
    [
        (good(200, 0.8), good(49, 0.0), "49 rewarded outcomes since the last fit, it takes 50"),
        (good(49, 0.8), good(50, 0.0), "49 rewarded outcomes before them to compare with, it takes 50"),
        (good(200, 0.8), good(200, 0.8), "the mean reward went from 0.800 to 0.800"),
        ([0.5, 1.0] * 25, [0.0, 1.0] * 19 + [1.0] * 12, "which may be chance"),
    ],
)
def test_what_is_no_fall(before, late, words):
    outcomes = [*heard(before), *heard(late, start=len(before) + 1)]
    said = QualityDrop(0.1).reading(activity(outcomes=outcomes, upto=len(before)))
    assert not said.due
    assert words in said.reason


def test_what_is_older_than_the_window_is_compared_with():
    old, late = heard(good(100, 0.9), at=NOW - 25 * HOUR), heard(good(60, 0.2), start=101, at=NOW - HOUR)
    told = activity(outcomes=[*old, *late])
    assert [len(some) for some in told.lately(24.0)] == [60, 100]
    assert QualityDrop(0.1).reading(told).due
    assert [len(some) for some in told.lately(26.0)] == [160, 0]


def test_a_window_is_bounded_and_so_is_what_it_is_compared_with():
    told = activity(outcomes=heard([1.0] * (2 * WINDOW + 500)))
    late, before = told.lately(24.0)
    assert (len(late), len(before)) == (WINDOW, WINDOW)
    assert before[-1].seq + 1 == late[0].seq


def test_a_clock_that_was_set_back_makes_nothing_old():
    late, _ = activity(outcomes=heard([1.0] * 60, at=NOW + HOUR)).lately(24.0)
    assert len(late) == 60


@given(st.lists(st.floats(0, 1), max_size=120), st.integers(0, 120), st.floats(0.01, 1))
def test_a_fall_is_due_only_where_the_means_differ_by_so_much(rewards, cut, threshold):
    cut = min(cut, len(rewards))
    said = QualityDrop(threshold, least=2).reading(activity(outcomes=heard(rewards), upto=cut))
    before, late = rewards[:cut], rewards[cut:]
    if said.due:
        assert min(len(before), len(late)) >= 2
        assert math.fsum(before) / len(before) - math.fsum(late) / len(late) >= threshold - 1e-9
    if said.value is not None:
        assert -1.0 <= said.value <= 1.0
    assert 0.0 <= said.share <= 1.0


@pytest.mark.parametrize(
    ("trigger", "field", "words"),
    [(ErrorRate, "failed", "executions failed"), (NegativeFeedback, "disliked", "were disliked")],
)
def test_rates(trigger, field, words):
    def said_of(bad, count):
        outcomes = [Heard(1 + place, NOW, "a", None, **{field: place < bad}) for place in range(count)]
        silent = [Heard(1_000 + place, NOW, "a", 1.0) for place in range(500)]  # say nothing of it
        return trigger(0.2).reading(activity(outcomes=[*outcomes, *silent]))

    assert said_of(20, 100).reason == f"20 of 100 {words}"
    assert said_of(20, 100).due
    assert not said_of(19, 100).due
    few = said_of(30, 49)
    assert (few.due, few.value) == (False, pytest.approx(30 / 49))
    assert "it takes 50" in few.reason
    assert said_of(0, 0).value is None


def test_little_confidence():
    answers = [Answered(1 + place, NOW, 0.4 if place % 2 else 0.9) for place in range(100)]
    told = activity(answers=answers)
    said = LowConfidence(0.5, below=0.5).reading(told)
    assert (said.due, said.reason) == (True, "50 of 100 decisions with a confidence below 0.5")
    assert not LowConfidence(0.51, below=0.5).reading(told).due
    assert not LowConfidence(0.5, below=0.5).reading(activity(answers=answers, upto=60)).due  # 40 are too few
    assert LowConfidence(0.5, below=0.5).reading(activity()).value is None


def test_drift_compares_each_agent_with_itself():
    fell, rose = heard(good(60, 0.4), agent="fell"), heard(good(60, 1.0), agent="rose", start=61)
    told = activity(outcomes=[*fell, *rose], lifetime={"fell": 0.8, "rose": 0.6})
    said = Drift(0.2).reading(told)
    assert said.due
    assert said.reason == "fell earns 0.400 of late, 0.800 over its lifetime"
    assert not Drift(0.5).reading(told).due
    assert not QualityDrop(0.1).reading(told).due
    few = Drift(0.2).reading(activity(outcomes=fell[:49], lifetime={"fell": 0.8}))
    assert (few.due, few.reason) == (False, "no agent has 50 rewarded outcomes since the last fit")


def test_drift_hears_what_strategies_report():
    steady = heard(good(60, 0.8))
    said = Drift(0.2).reading(activity(outcomes=steady, lifetime={"a": 0.8}, changes={"a (thompson)": 1}))
    assert (said.due, said.reason) == (True, "changed: a (thompson)")
    few = activity(outcomes=steady[:10], lifetime={"a": 0.8}, changes={"a (thompson)": 1})
    assert not Drift(0.2).reading(few).due


# -- after versions that were rolled back


@pytest.mark.parametrize(("rollbacks", "patience"), [(0, 1), (1, 2), (2, 4), (5, 32), (60, 32)])
def test_each_version_that_was_rolled_back_doubles_what_is_needed(rollbacks, patience):
    assert activity(rollbacks=rollbacks).patience == patience
    count = ExampleCount(10)
    assert not count.reading(activity(rollbacks=rollbacks, counted=10 * patience - 1)).due
    assert count.reading(activity(rollbacks=rollbacks, counted=10 * patience)).due
    needed = min(50 * patience, WINDOW)
    failing = [Heard(place, NOW, "a", 0.0, True) for place in range(1, needed + 1)]
    assert not ErrorRate(0.2).reading(activity(rollbacks=rollbacks, outcomes=failing[1:])).due
    assert ErrorRate(0.2).reading(activity(rollbacks=rollbacks, outcomes=failing)).due
