"""What outcomes do to the head, whatever they are and however they come."""

import itertools
import math

import numpy as np
import pytest
from head_cases import NAMES, accuracy, clusters, files, labelled, new_head, rewarded
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_bert.head.rows import Row

HEADS = [{}, {"labels": "independent"}, {"memory_size": 60}, {"head": "analytic", "analytic_features": 48}]


def mixed(count, seed=0):
    """Labels, rewards, corrections and withdrawals, as a log might hold them."""
    vectors, right = clusters(count, seed=seed)
    rng = np.random.default_rng([50, seed])
    rows = []
    for i, (vector, label) in enumerate(zip(vectors, right, strict=True)):
        acted = NAMES[int(rng.integers(len(NAMES)))]
        row = Row(f"{i:032x}", 10 * i + 1, vector, agent=acted, reward=float(acted == label), at=float(i))
        match i % 5:
            case 0:
                row = Row(f"{i:032x}", 10 * i + 1, vector, label, True, acted, None, at=float(i))
            case 1:
                row = Row(f"{i:032x}", 10 * i + 1, vector, None if i % 10 == 1 else label, True, at=float(i))
        rows.append(row)
        if i % 7 == 6:
            old = rows[-3]
            rows.append(
                Row(old.decision_id, 10 * i + 5, old.vector, label, True, old.agent, 0.0, at=old.at, before=old)
            )
        if i % 11 == 10:
            old = rows[-1]
            rows.append(Row(old.decision_id, 10 * i + 6, old.vector, agent=old.agent, at=old.at, before=old))
    return rows


@pytest.mark.parametrize("kind", HEADS, ids=str)
@given(cuts=st.lists(st.integers(0, 90), max_size=5), seed=st.integers(0, 5))
@settings(max_examples=4, deadline=None)
def test_any_batches_leave_the_very_same_state(kind, cuts, seed, tmp_path_factory):
    rows = mixed(70, seed)
    whole, parts = new_head(**kind), new_head(**kind)
    whole.add(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, stop in itertools.pairwise(edges):
        parts.add(rows[start:stop])
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    whole.save(one)
    parts.save(other)
    assert files(one) == files(other)


@pytest.mark.parametrize("kind", HEADS, ids=str)
def test_saved_and_loaded_it_answers_and_goes_on_identically(kind, tmp_path):
    rows, (asked, _) = mixed(150), clusters(20, seed=7)
    head = new_head(told={"coder": asked[:2]}, **kind)
    head.add(rows[:100])
    head.save(tmp_path / "state")
    again = new_head(**kind)
    again.load(tmp_path / "state")
    for more in ([], rows[100:]):
        head.add(more)
        again.add(more)
        one, other = head.predict(asked, NAMES), again.predict(asked, NAMES)
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    head.save(tmp_path / "a")
    again.save(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("kind", [{}, {"head": "analytic", "analytic_features": 256}], ids=str)
def test_labels_are_learnt_whatever_the_order_of_agents(kind):
    vectors, right = clusters(400)
    forwards, backwards = new_head(**kind), new_head(NAMES[::-1], **kind)
    for head in (forwards, backwards):
        head.add(labelled(vectors, right))
    asked, wanted = clusters(200, seed=3)
    assert accuracy(forwards, asked, wanted) > 0.93
    one = forwards.predict(asked, NAMES).probabilities
    other = backwards.predict(asked, NAMES[::-1]).probabilities[:, ::-1]
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["exclusive", "independent"])
def test_rewards_of_whoever_acted_are_enough(labels):
    vectors, right = clusters(1_500)
    rng = np.random.default_rng(50)
    acted = [NAMES[place] for place in rng.integers(len(NAMES), size=len(vectors))]
    head = new_head(labels=labels)
    head.add(rewarded(vectors, acted, [a == r for a, r in zip(acted, right, strict=True)]))
    assert accuracy(head, *clusters(200, seed=3)) > 0.9


def test_failures_alone_tell_who_it_is_not():
    vectors, right = clusters(1_000)
    rng = np.random.default_rng(50)
    wrong = [str(rng.choice([name for name in NAMES if name != label])) for label in right]
    head = new_head()
    head.add(rewarded(vectors, wrong, [0.0] * len(wrong)))
    assert accuracy(head, *clusters(200, seed=3)) > 0.85


def test_several_agents_can_succeed_where_labels_are_independent():
    vectors, _right = clusters(800)
    rng = np.random.default_rng(51)
    acted = [NAMES[place] for place in rng.integers(2, size=len(vectors))]
    head = new_head(labels="independent")
    head.add(rewarded(vectors, acted, [1.0] * len(vectors)))
    found = head.predict(clusters(50, seed=3)[0], NAMES).probabilities
    assert (found[:, :2] > 0.8).all(), "both always succeed, and a softmax could not say so"


def test_an_unseen_agent_is_at_even_odds_where_labels_are_independent():
    vectors, _ = clusters(300)
    head = new_head(labels="independent")
    head.add(rewarded(vectors, ["coder"] * 300, [0.0] * 300))
    found = head.predict(clusters(50, seed=3)[0], NAMES).probabilities
    assert found[:, 1].max() < 0.1
    assert 0.3 < found[:, 0].mean() < 0.7


def test_a_revision_replaces_what_was_said_before():
    vectors, right = clusters(300)
    wrong = [NAMES[(NAMES.index(label) + 1) % len(NAMES)] for label in right]
    head, direct = new_head(), new_head()
    head.add(labelled(vectors, wrong))
    head.add(
        Row(row.decision_id, 10_000 + i, row.vector, label, True, at=row.at)
        for i, (row, label) in enumerate(zip(labelled(vectors, wrong), right, strict=True))
    )
    direct.add(labelled(vectors, right))
    assert len(head) == len(direct) == 300
    asked, wanted = clusters(200, seed=3)
    assert accuracy(head, asked, wanted) == pytest.approx(accuracy(direct, asked, wanted), abs=0.03)


def test_an_outcome_joins_the_neighbours_at_once():
    vectors, right = clusters(105)
    head = new_head(refit_interval=100)
    head.add(labelled(vectors[:100], right[:100]))
    odd = -vectors[right.index("writer")]  # Far from everything seen.
    before = head.predict(odd[None], NAMES).probabilities[0]
    head.add(labelled([odd] * 3, ["coder"] * 3, first=1_000))
    after = head.predict(odd[None], NAMES).probabilities[0]
    assert head.refits == 1, "not refitted yet"
    assert after[1] > before[1] + 0.1


def test_nobody_is_an_answer_once_it_was_seen():
    vectors, right = clusters(400)
    stray = [None if label == "writer" else label for label in right]
    head = new_head()
    head.add(labelled(vectors, stray))
    asked, wanted = clusters(200, seed=3)
    found = head.predict(asked, NAMES)
    is_stray = np.array([label == "writer" for label in wanted])
    assert found.nobody[is_stray].mean() > 0.8
    assert found.nobody[~is_stray].mean() < 0.1
    np.testing.assert_allclose(found.probabilities.sum(1) + found.nobody, 1.0, atol=1e-12)


def test_agents_route_by_what_they_state_before_any_outcome():
    vectors, right = clusters(80, spread=0.3)
    told = {name: [v for v, label in zip(vectors, right, strict=True) if label == name][:6] for name in NAMES}
    assert accuracy(new_head(told=told), *clusters(200, spread=0.3, seed=3)) > 0.9


def test_with_nothing_to_judge_by_it_says_nothing():
    assert new_head().snapshot.estimate(clusters(1)[0][0], NAMES) is None


def test_a_new_agent_is_there_at_once_and_a_removed_one_is_masked():
    vectors, right = clusters(400)
    three = NAMES[:3]
    head = new_head(three)
    kept = [i for i, label in enumerate(right) if label in three]
    head.add(labelled(vectors[kept], [right[i] for i in kept]))
    own = [vectors[i] for i, label in enumerate(right) if label == "writer"]
    newcomer = new_head(NAMES, told={"writer": own[:10]})
    newcomer.add(labelled(vectors[kept], [right[i] for i in kept]))
    found = newcomer.predict(np.array(own[10:60]), NAMES).probabilities
    assert (found.argmax(1) == 3).mean() > 0.6
    two = newcomer.predict(np.array(own[10:60]), three[:2]).probabilities
    np.testing.assert_allclose(two.sum(1), 1.0)


def test_preparing_for_others_and_back_changes_nothing():
    rows, (asked, _) = mixed(150), clusters(30, seed=7)
    head = new_head()
    head.add(rows)
    before = head.predict(asked, NAMES).probabilities
    head.set_agents([*NAMES, *(f"agent {i}" for i in range(50))], {}, {})
    head.set_agents(NAMES[:2], {}, {})
    head.set_agents(NAMES, {}, {})
    np.testing.assert_array_equal(head.predict(asked, NAMES).probabilities, before)


def test_old_outcomes_fade():
    vectors, right = clusters(300)
    turned = [NAMES[(NAMES.index(label) + 1) % len(NAMES)] for label in right]
    late = [
        Row(f"{1_000 + i:032x}", 1_000 + i, vector, label, True, at=1e6 + i)
        for i, (vector, label) in enumerate(zip(vectors[:150], turned[:150], strict=True))
    ]
    asked, _ = clusters(200, seed=3)
    wanted = [NAMES[(NAMES.index(label) + 1) % len(NAMES)] for label in clusters(200, seed=3)[1]]
    reached = {}
    for half_life in (None, 1e5):
        head = new_head(half_life_s=half_life, change_threshold=None)
        head.add(labelled(vectors, right))
        head.add(late)
        head.refit()
        head.add([])
        reached[half_life] = accuracy(head, asked, wanted)
    assert reached[1e5] > 0.9 > 0.6 > reached[None]


def test_inverse_propensity_weights_are_clipped():
    from router_sdk_bert.head.rows import row_of

    from router_sdk.testing.examples import make_example

    vector = clusters(1)[0][0]
    rare = make_example("coder", 1.0, propensity=0.01)
    assert row_of(rare, vector).weight == 1.0
    assert row_of(rare, vector, 5.0).weight == 5.0
    assert row_of(make_example("coder", 1.0, propensity=0.5), vector, 5.0).weight == 2.0
    assert math.isclose(row_of(make_example("coder", 1.0, propensity=None), vector, 5.0).weight, 1.0)


def test_an_agent_can_be_forgotten_and_so_can_a_decision():
    vectors, right = clusters(300)
    head = new_head()
    head.add(labelled(vectors, right))
    head.forget_agents(["writer"])
    assert "writer" not in head.report()["rows"]
    before = len(head)
    gone = labelled(vectors, right)[:50]
    head.forget_examples([row.decision_id for row in gone] * 2)
    kept = {row.decision_id for row in gone} & set(head.memory.ids)
    assert not kept
    assert len(head) < before


@pytest.mark.parametrize("kind", [{}, {"head": "analytic", "analytic_features": 48}], ids=str)
def test_a_refit_is_what_requests_read_next(kind):
    vectors, right = clusters(300)
    head = new_head(refit_interval=1_000, **kind)
    head.add(labelled(vectors, right))
    asked = clusters(40, seed=7)[0]
    before = head.predict(asked, NAMES).probabilities
    head.refit()
    published = head.predict(asked, NAMES).probabilities
    assert not np.allclose(published, before)
    head.add([])
    assert np.array_equal(head.predict(asked, NAMES).probabilities, published)
