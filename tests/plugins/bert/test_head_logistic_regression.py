"""The logistic estimate's curved part: what it can tell apart, what it costs, and that it means what was fitted."""

import numpy as np
import pytest
from head_cases import NAMES, clusters, labelled, new_head
from router_sdk_bert.head.logistic_regression import FEWEST_AXES, MOST_AXES, regression_features


def test_weights_mean_the_same_to_a_vector_as_to_the_row_they_were_fitted_on():
    rng = np.random.default_rng(5)
    vectors = clusters(200, dimension=40)[0]
    weight = rng.uniform(0.5, 1.0, len(vectors)).astype(np.float32)
    columns = regression_features(vectors, weight, 0.1, 3)
    weights = rng.normal(size=(columns.points.shape[1], 3)).astype(np.float32)
    logistic = columns.back(weights)
    assert len(logistic.axes.shift) == 40
    found = np.array([logistic.odds(vector) for vector in vectors])
    assert found == pytest.approx(columns.points @ weights, abs=2e-3)


def test_the_rows_to_come_decide_how_many_products_are_paid_for():
    vectors = clusters(1_000, dimension=64)[0]
    weight = np.ones(len(vectors), dtype=np.float32)
    counts = [len(regression_features(vectors, weight, 0.1, agents).axes.shift) for agents in (2, 100, 1_000)]
    assert counts[0] == MOST_AXES > counts[1] >= FEWEST_AXES > counts[2] == 0


@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-5])
@pytest.mark.parametrize("seed", range(2))
def test_rows_that_are_all_but_alike_have_features_that_are_numbers(seed, apart):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(clusters(1, dimension=384)[0][:1], 6, axis=0)
    vectors += np.float32(apart) * rng.normal(size=vectors.shape).astype(np.float32)
    for ridge in (0.01, 1.0, 30.0):
        columns = regression_features(vectors, np.ones(6, dtype=np.float32), ridge, 3)
        for numbers in (columns.points, columns.penalty, columns.scale, columns.axes.turn):
            assert np.isfinite(numbers).all()


def test_an_agent_may_be_on_both_sides_of_another():
    # Two clusters each, crosswise: no plane has more than half of it right.
    rng = np.random.default_rng(5)
    corners = np.zeros((4, 32))
    corners[:, :2] = [(1, 1), (-1, -1), (1, -1), (-1, 1)]
    which = rng.integers(4, size=600)
    vectors = corners[which] + 0.5 * rng.normal(size=(600, 32)) / np.sqrt(32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    right = [NAMES[place // 2] for place in which]
    head = new_head(NAMES[:2])
    head.add(labelled(vectors[:400], right[:400]))
    logistic, columns = head.model.logistic, head.model.columns.tolist()
    wanted = [columns.index(head.names.code(label)) for label in right[400:]]
    curved = [logistic.odds(vector).argmax() for vector in vectors[400:]]
    plane = [(logistic.weights @ vector + logistic.intercepts).argmax() for vector in vectors[400:]]
    assert np.mean(np.equal(curved, wanted)) > 0.95
    assert np.mean(np.equal(plane, wanted)) < 0.75


@pytest.mark.parametrize("each", [1, 2])
def test_of_two_agents_with_a_text_or_two_each_the_nearer_one_is_chosen(each):
    # The products of two rows' one coordinate are equal: nothing says how they vary.
    rng = np.random.default_rng(3)
    for _ in range(20):
        vectors = rng.normal(size=(4, 384)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        known = np.repeat(vectors[:2], each, axis=0) + 1e-3 * rng.normal(size=(2 * each, 384)).astype(np.float32)
        head = new_head(NAMES[:2])
        head.add(labelled(known, np.repeat(NAMES[:2], each).tolist()))
        head.refit()
        logistic, columns = head.model.logistic, head.model.columns.tolist()
        for place in (0, 1):
            asked = vectors[place] + 1.5 * vectors[2 + place]
            odds = logistic.odds((asked / np.linalg.norm(asked)).astype(np.float32))
            assert columns[int(odds.argmax())] == head.names.code(NAMES[place])
            assert abs(odds).max() < 10.0
