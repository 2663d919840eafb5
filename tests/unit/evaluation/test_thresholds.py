import random

import pytest

from router_sdk.evaluation.held_out import Answer
from router_sdk.evaluation.thresholds import best_threshold, first_answers


def answer(number, favourite, confidence, score, *, labelled=True, weight=1.0, answered=True):
    label = favourite if score == 1.0 else "nobody else"
    return Answer(f"{number:032x}", number, favourite, answered, confidence, label, labelled, confidence, score, weight)


def labelled_log(count, seed=1_000, second=0.6):
    """The first is right as often as it says; the other always alike. They never agree."""
    rng = random.Random(seed)
    own, rest = [], {}
    for number in range(count):
        confidence = rng.random()
        one = answer(number, "a", confidence, float(rng.random() < confidence))
        own.append(one)
        rest[one.decision_id] = answer(number, "b", second, float(rng.random() < second))
    return own, rest


def test_it_hands_on_where_the_next_does_better():
    found = best_threshold("s", *labelled_log(3_000))
    assert found.value == pytest.approx(0.6, abs=0.12)
    assert found.low > 0.0
    assert found.low < found.gain < found.high
    assert found.gain == pytest.approx(0.6 * 0.6 / 2, abs=0.05)
    assert found.handed_on == pytest.approx(0.6, abs=0.12)
    assert (found.tasks, found.differing) == (3_000, 3_000)


def test_what_handing_on_costs_lowers_it():
    free, dear = (best_threshold("s", *labelled_log(3_000), cost_of_handing_on=cost) for cost in (0.0, 0.3))
    assert dear.value == pytest.approx(0.3, abs=0.12)
    assert dear.value < free.value


def test_where_the_next_does_no_better_it_answers_always():
    found = best_threshold("s", *labelled_log(3_000, second=0.02))
    assert (found.value, found.handed_on) == (0.0, 0.0)


def test_where_both_choose_the_same_nothing_is_at_stake():
    own, _ = labelled_log(3_000)
    found = best_threshold("s", own, {one.decision_id: one for one in own})
    assert found.value is None
    assert found.reason == "insufficient: the next would choose otherwise on 0 tasks, and 0 tell how that goes"


def test_a_log_that_hardly_ever_acted_on_the_next_ones_choice_tells_nothing():
    own, rest = labelled_log(3_000)
    kept = {
        key: one._replace(score=one.score if number % 50 == 0 else None, weight=20.0, labelled=False)
        for number, (key, one) in enumerate(rest.items())
    }
    found = best_threshold("s", own, kept)
    assert found.value is None
    assert "and 60 tell how that goes" in found.reason


def test_too_few_judged_answers_tell_nothing():
    own, rest = labelled_log(40)
    assert best_threshold("s", own, rest).reason == "insufficient: 40 of its answers are judged"


def test_who_says_nobody_fits_is_not_asked_for_a_threshold():
    own, rest = labelled_log(500)
    nobody = [one._replace(favourite=None, decision_id=f"{10**6 + one.seq:032x}") for one in own]
    assert best_threshold("s", own + nobody, rest) == best_threshold("s", own, rest)


def test_the_first_that_answers_counts():
    silent = {"1": answer(1, None, None, None, answered=False)}
    first, second = {"1": answer(1, "a", 0.5, 1.0)}, {"1": answer(1, "b", 0.5, 1.0), "2": answer(2, "c", 0.5, 1.0)}
    found = first_answers([silent, first, second], ["1", "2", "3"])
    assert {key: one.favourite for key, one in found.items()} == {"1": "a", "2": "c"}
