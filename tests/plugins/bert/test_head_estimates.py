"""The parts of an estimate, each against what it should be."""

import numpy as np
import pytest
from head_cases import NAMES, clusters, labelled, new_head
from router_sdk_bert.head.logistic_regression import OwnSuccess, SharedSuccess
from router_sdk_bert.head.neighbours import (
    FEW,
    WIDTHS,
    VectorBlock,
    VectorMemory,
    coarse_of,
    count_votes,
    evidence,
    nearest,
)
from router_sdk_bert.head.refit import DEFAULT, fit_blend
from router_sdk_bert.head.rows import Facts


def facts_of(right, credit, wrong, blame, rivalry=1.0, weight=None):
    count = len(right)
    return Facts(
        np.array(right, dtype=np.int32),
        np.array(credit, dtype=np.float32),
        np.array(wrong, dtype=np.int32),
        np.array(blame, dtype=np.float32),
        np.full(count, rivalry, dtype=np.float32),
        np.ones(count, dtype=np.float32) if weight is None else np.array(weight, dtype=np.float32),
    )


MIXED = facts_of([1, 2, 3, 1, -1], [1.0, 1.0, 0.0, 0.7, 0.0], [-1, -1, 3, 1, 2], [0.0, 0.0, 1.0, 0.3, 1.0])
COLUMNS = np.array([-1, 0, 1, 2])


def test_a_label_costs_minus_log_p_and_a_failure_minus_log_of_the_rest():
    odds = np.log(np.array([[0.5, 0.3, 0.2]] * 5, dtype=np.float32))
    cost, _ = SharedSuccess(MIXED, COLUMNS, np.ones(5, dtype=np.float32))(odds)
    hand = -np.log(0.5) - np.log(0.3) - np.log(0.8) - 0.7 * np.log(0.5) - 0.3 * np.log(0.5) - np.log(0.7)
    assert cost == pytest.approx(hand, rel=1e-6)


@pytest.mark.parametrize("kind", [SharedSuccess, OwnSuccess])
@pytest.mark.parametrize("rivalry", [1.0, 0.3, 0.0])
def test_slopes_are_the_derivatives(kind, rivalry):
    rng = np.random.default_rng(0)
    facts = MIXED._replace(rivalry=np.full(5, rivalry, dtype=np.float32))
    loss = kind(facts, COLUMNS, rng.gamma(2.0, size=5).astype(np.float32))
    odds = rng.normal(size=(5, 3))
    _, slope = loss(odds.astype(np.float32))
    for place in np.ndindex(5, 3):
        up, down = odds.copy(), odds.copy()
        up[place] += 1e-2
        down[place] -= 1e-2
        measured = (loss(up.astype(np.float32))[0] - loss(down.astype(np.float32))[0]) / 2e-2
        assert slope[place] == pytest.approx(measured, abs=2e-3)


def test_a_failure_that_seemed_impossible_has_a_finite_slope():
    facts = facts_of([-1], [0.0], [1], [1.0])
    _, slope = SharedSuccess(facts, COLUMNS, np.ones(1, dtype=np.float32))(np.array([[80.0, 0.0, 0.0]], np.float32))
    assert np.isfinite(slope).all()
    assert slope[0, 0] == pytest.approx(1.0)


def test_votes_by_hand():
    cosines = np.array([0.9, 0.9, 0.9, 0.9], dtype=np.float32)
    told = facts_of([1, 1, 2, -1], [1.0, 1.0, 1.0, 0.0], [-1, -1, -1, 3], [0.0, 0.0, 0.0, 1.0])
    votes = count_votes(cosines, told, np.array([0, 1, 2, 3, -1]))
    np.testing.assert_allclose(votes.good, [[0.0, 0.5, 0.25, 0.0, 0.0]] * 2, atol=1e-6)
    np.testing.assert_allclose(votes.bad, [[0.75, 0.25, 0.5, 1.0, 0.0]] * 2, atol=1e-6)
    np.testing.assert_allclose(votes.mass, 4.0 * np.exp(-0.1 / WIDTHS), rtol=1e-5)
    said = evidence(votes, exclusive=True)[0]
    assert said[1] > said[2] > said[4] > said[3]


def test_nearer_neighbours_count_more_and_dropped_ones_not_at_all():
    cosines = np.array([0.9, 0.8, 0.7], dtype=np.float32)
    told = facts_of([1, 2, 3], [1.0] * 3, [-1] * 3, [0.0] * 3, weight=[1.0, 1.0, 0.0])
    votes = count_votes(cosines, told, np.arange(4))
    np.testing.assert_allclose(np.log(votes.good[:, 1] / votes.good[:, 2]), 0.1 / WIDTHS[:, 0], rtol=1e-4)
    assert not votes.good[:, 3].any()


def test_neighbours_that_count_for_nothing_say_nothing():
    votes = count_votes(
        np.array([0.9], dtype=np.float32), facts_of([1], [1.0], [-1], [0.0], weight=[0.0]), np.arange(3)
    )
    assert not np.any(np.concatenate(votes, axis=1))


def block_of(vectors, weight=None, projection=None):
    count = len(vectors)
    told = facts_of(np.arange(count) % 5, np.ones(count), np.full(count, -1), np.zeros(count), weight=weight)
    coarse = None if projection is None else coarse_of(vectors, projection)
    return VectorBlock(vectors, coarse, np.zeros(count, dtype=np.float32), told)


def test_search_is_exact_where_there_are_few():
    vectors, _ = clusters(300)
    weight = np.ones(300)
    weight[::3] = 0.0
    asked = clusters(1, seed=5)[0][0]
    memory = VectorMemory((block_of(vectors[:100], weight[:100]), block_of(vectors[100:], weight[100:])))
    found = nearest(memory, asked, memory.scan(None), 10)
    cosines = vectors @ asked
    cosines[::3] = -1.0
    order = np.argsort(-cosines)[:10]
    np.testing.assert_array_equal(found.places, order)
    np.testing.assert_array_equal(found.facts.right, order % 5)


def test_coarse_search_finds_nearly_all_of_the_nearest():
    vectors, _ = clusters(FEW + 2_000, dimension=256, spread=1.0)
    projection = np.linalg.eigh(vectors.T @ vectors)[1][:, -64:].astype(np.float32)
    exact, coarse = block_of(vectors), block_of(vectors, projection=projection)
    hits = []
    for asked in clusters(40, dimension=256, spread=1.0, seed=5)[0]:
        one = nearest(VectorMemory((exact,)), asked, [None], 32).places
        scanned = VectorMemory((coarse,)).scan(coarse_of(asked, projection))
        other = nearest(VectorMemory((coarse,)), asked, scanned, 32).places
        hits.append(len(set(one) & set(other)) / 32)
    assert np.mean(hits) > 0.6
    assert nearest(VectorMemory((block_of(vectors[:0]),)), vectors[0], [None], 5) is None


def test_the_blend_follows_the_source_that_is_right():
    rng = np.random.default_rng(0)
    right = rng.integers(3, size=400)
    truth = 3.0 * (np.arange(3) == right[:, None])
    sources = np.stack([truth, rng.normal(size=(400, 3)), rng.normal(size=(400, 3))])
    told = facts_of(right + 1, np.ones(400), np.full(400, -1), np.zeros(400))
    found = fit_blend(sources, SharedSuccess(told, COLUMNS, np.ones(400, dtype=np.float32)))
    assert found[0] > 1.5
    assert (found[1:] < 0.7 * DEFAULT[1:]).all()
    np.testing.assert_array_equal(fit_blend(sources[:, :0], None), DEFAULT)


def test_chances_are_calibrated_where_labels_are_noisy():
    vectors, right = clusters(3_000, spread=0.9)
    rng = np.random.default_rng(3)
    noisy = [str(rng.choice(NAMES)) if rng.random() < 0.3 else label for label in right]
    head = new_head()
    head.add(labelled(vectors[:2_000], noisy[:2_000]))
    found = head.predict(vectors[2_000:], NAMES)
    good = np.array(NAMES)[found.probabilities.argmax(1)] == np.array(noisy[2_000:])
    assert abs(found.confidence.mean() - good.mean()) < 0.04
    high = found.confidence > np.median(found.confidence)
    assert good[high].mean() > good[~high].mean()


def test_strangers_are_novel():
    vectors, right = clusters(800)
    head = new_head()
    head.add(labelled(vectors, right))
    known = head.predict(clusters(200, seed=3)[0], NAMES).novelty
    strange = np.random.default_rng(4).normal(size=(200, 32)).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    new = head.predict(strange, NAMES).novelty
    assert np.mean(new[:, None] > known[None]) > 0.97


def test_doubt_falls_with_what_was_seen_nearby():
    vectors, right = clusters(400)
    head = new_head(exploration=1.0)
    head.add(labelled(vectors, right))
    near, far = head.predict(np.stack([vectors[0], -vectors[0]]), NAMES).uncertainty
    assert near.max() < 0.6 < 0.8 < far.min()
