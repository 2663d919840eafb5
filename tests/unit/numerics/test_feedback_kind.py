"""Whether one agent is right or several succeed, and what a success says of the others."""

import numpy as np
import pytest

from router_sdk.numerics.feedback_kind import FeedbackKind


@pytest.mark.parametrize(("agents", "good", "bad"), [(6, 1.0, 0.0), (2, 0.95, 0.05), (20, 1.0, 0.0)])
def test_one_right_agent_is_believed_from_the_first_outcome_to_the_last(agents, good, bad):
    kind, rng = FeedbackKind(), np.random.default_rng(1)
    for turn in range(2_000):
        shares = np.full(agents, 0.02 / agents)  # the first one is right, and the favourite ever more often
        shares[0 if rng.random() < turn / 1_500 else rng.integers(agents)] += 0.98
        if turn < 200:
            shares[:] = 1.0 / agents
        chosen = int(rng.choice(agents, p=shares / shares.sum()))
        kind.note(agents, float(shares[chosen]), float(rng.random() < (good if chosen == 0 else bad)))
        assert kind.exclusive, turn


@pytest.mark.parametrize(("agents", "good", "bad"), [(6, 0.95, 0.6), (6, 0.1, 0.01), (2, 0.85, 0.6), (9, 0.6, 0.5)])
def test_other_kinds_are_found_within_some_hundred_outcomes(agents, good, bad):
    kind, rng = FeedbackKind(), np.random.default_rng(2)
    for _ in range(400):
        favourite = rng.random() < 0.5
        mean = good if favourite or rng.random() < 1.0 / agents else bad
        kind.note(agents, 0.9 if favourite else 1.0 / agents if agents > 3 else 0.2, float(rng.random() < mean))
    assert not kind.exclusive
    again = FeedbackKind()
    again.restore(kind.state())
    assert again.state() == kind.state()


def test_where_anybody_often_succeeds_nothing_follows_for_the_others():
    seldom, often = FeedbackKind(), FeedbackKind()
    for turn in range(100):
        seldom.note(10, 0.1, float(turn % 10 == 0))
        often.note(10, 0.1, float(turn % 2 == 0))
        often.note(10, 0.9, 0.0)
    assert seldom.others() == pytest.approx(0.1)
    assert often.others() is None


def test_from_a_few_whims_nothing_follows_but_where_something_else_says_so():
    kind = FeedbackKind()
    assert kind.others() is None
    assert kind.others(presumed=True) == pytest.approx(0.1)
    for _ in range(20):
        kind.note_all([0.8, 0.9, 0.7])
    assert kind.others(presumed=True) is None


@pytest.mark.parametrize("spoilt", [[1.0] * 7, [1.0] * 7 + [-1.0], [1.0] * 7 + [float("nan")]])
def test_what_cannot_be_is_refused(spoilt):
    with pytest.raises(ValueError, match="eight numbers"):
        FeedbackKind().restore(spoilt)
