"""Agents that are no longer what they were: noticed soon, and left soon; and not seen where nothing changed."""

import numpy as np
import pytest
from head_cases import NAMES, accuracy, clusters, labelled, neighbours, new_head, rewarded
from router_sdk_bert.head.drift import LabelShift

from router_sdk.numerics.change_detection import BernoulliCusum


def fed(successes, expected=1.0):
    state, position = BernoulliCusum(), 0
    for position, success in enumerate(successes, start=1):
        state = state.updated(expected, float(success), position)
    return state


def test_evidence_is_the_likelihood_ratio():
    settled = BernoulliCusum(good=90.0, seen=100.0)
    fell = settled.updated(1.0, 0.0, 7)
    assert fell.evidence == pytest.approx(np.log(0.55 / 0.1))
    assert fell.since == 7
    again = fell.updated(1.0, 0.0, 8)
    assert again.since == 7, "the change began with the first failure"
    rose = settled.updated(1.0, 1.0, 9)
    assert (rose.evidence, rose.since) == (0.0, 9)


def test_a_fall_is_noticed_within_a_dozen_outcomes():
    before = fed([True] * 95 + [False] * 5)
    state, taken = before._replace(evidence=0.0), 0
    while state.evidence <= 12.0:
        taken += 1
        state = state.updated(0.95, 0.0, 100 + taken)
    assert taken <= 12


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.95])
def test_a_steady_agent_raises_no_alarm(rate):
    rng = np.random.default_rng(5)
    alarms, state = 0, BernoulliCusum()
    for position, success in enumerate(rng.random(50_000) < rate):
        # A model that is far too sure of itself must not raise any either.
        state = state.updated(0.99, float(success), position)
        if state.evidence > 12.0:
            alarms, state = alarms + 1, BernoulliCusum()
    assert alarms == 0


def swapped(labels, one="billing", other="coder"):
    turn = {one: other, other: one}
    return [turn.get(label, label) for label in labels]


@pytest.mark.slow
def test_two_agents_swap_roles():
    vectors, right = clusters(1_500)
    later, then = clusters(300, seed=2)
    asked, wanted = clusters(300, seed=3)
    affected = [i for i, label in enumerate(wanted) if label in ("billing", "coder")]
    turned = [swapped(wanted)[i] for i in affected]
    reached = {}
    for threshold in (12.0, None):
        head = new_head(change_threshold=threshold)
        head.add(labelled(vectors, right))
        assert not head.report()["changes"]
        head.add(labelled(later, swapped(then), first=5_000))
        reached[threshold] = accuracy(head, asked[affected], turned)
    assert set(head.report()["changes"]) == set()
    assert reached[12.0] > 0.85
    assert reached[None] < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["exclusive", "independent"])
def test_two_hundred_failures_end_any_belief(labels):
    vectors, right = clusters(1_200)
    head = new_head(
        labels=labels, told={name: vectors[[i for i, r in enumerate(right) if r == name][:20]] for name in NAMES}
    )
    head.add(labelled(vectors, right))
    later = [v for v, label in zip(*clusters(2_000, seed=2), strict=True) if label == "billing"][:200]
    before = head.predict(np.array(later), NAMES).probabilities
    assert (before.argmax(1) == 0).mean() > 0.9
    head.add(rewarded(later, ["billing"] * 200, [0.0] * 200, first=5_000))
    after = head.predict(np.array(later), NAMES).probabilities
    assert (after.argmax(1) == 0).mean() < 0.02
    assert (after[:, 0] < after[:, 1:].max(1)).all()


def test_what_an_agent_knew_is_kept_where_it_still_holds():
    vectors, right = clusters(1_000)
    later = [v for v, label in zip(*clusters(2_000, seed=2), strict=True) if label == "billing"][:60]
    head = new_head()
    head.add(labelled(vectors, right))
    head.add(rewarded(later, ["billing"] * 60, [0.0] * 60, first=5_000))
    asked, wanted = clusters(300, seed=3)
    others = [i for i, label in enumerate(wanted) if label != "billing"]
    assert accuracy(head, asked[others], [wanted[i] for i in others]) > 0.9


def test_classes_that_come_later_are_nobodys_fault():
    vectors, right = clusters(1_200)
    head = new_head()
    for names in (NAMES[:2], NAMES[2:]):
        chosen = [i for i, label in enumerate(right) if label in names]
        head.add(labelled(vectors[chosen], [right[i] for i in chosen], first=10_000 * (names == NAMES[2:])))
    assert not head.report()["changes"]
    assert accuracy(head, *clusters(200, seed=3)) > 0.93


def test_an_agent_whose_tasks_stop_coming_has_not_changed():
    # The later agents' tasks are close to those of the earlier ones, which fail at some and are asked for no more.
    head = new_head()
    head.add(labelled(*neighbours(400, (NAMES[0], NAMES[2]), seed=1)))
    head.add(labelled(*neighbours(600, (NAMES[1], NAMES[3]), seed=2), first=10_000))
    assert not head.report()["changes"]
    assert accuracy(head, *neighbours(400, NAMES, seed=3)) > 0.9


def test_an_agent_whose_tasks_all_go_to_another_has_changed():
    vectors, right = clusters(1_500)
    later, then = clusters(300, seed=2)
    head = new_head()
    head.add(labelled(vectors, right))
    head.add(labelled(later, ["coder" if label == "billing" else label for label in then], first=5_000))
    assert "billing" in head.report()["changes"]
    asked, wanted = clusters(300, seed=3)
    own = [i for i, label in enumerate(wanted) if label == "billing"]
    assert accuracy(head, asked[own], ["coder"] * len(own)) > 0.85


def test_arrivals_are_compared_with_what_the_model_saw():
    arrivals, columns, known = LabelShift(), np.array([1, 2, 3]), {1: 100, 2: 100}
    assert arrivals.ratios(columns, known) == pytest.approx([1.0, 1.0, 1.0])
    for _ in range(200):
        arrivals.note(2, 3)
    gone, come, unseen = arrivals.ratios(columns, known)
    assert gone < 0.15
    assert come == pytest.approx(2.0, rel=0.1)
    assert unseen == 1.0
    arrivals.note(3, 3)
    assert arrivals.ratios(columns, known)[2] == pytest.approx(2.0)
    arrivals.forget(2)
    assert arrivals.counts[2] == 0.0
