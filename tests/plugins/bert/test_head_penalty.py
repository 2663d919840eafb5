"""The penalty that is chosen from the rows: where the texts tell, where they do not, and what of it is kept."""

import numpy as np
import pytest
from head_cases import NAMES, clusters, labelled, new_head, rewarded
from router_sdk_bert.head.logistic_regression import regression_features
from router_sdk_bert.head.penalty import PENALTIES, choose_penalty

LEAST = 0.05


def scored(count, chances, seed=1):
    """Vectors, and a draw of each agent's success at each, shape ``(n, k)``."""
    vectors, right = clusters(count, seed=seed)
    means = np.array([chances(NAMES.index(name)) for name in right])
    return vectors, (np.random.default_rng(seed).random(means.shape) < means).astype(np.float32)


def faint(place):
    """Success chances that the text hardly moves."""
    return 0.5 + 0.1 * (np.arange(len(NAMES)) == place)


def clear(place):
    """Success of one agent alone."""
    return 0.02 + 0.96 * (np.arange(len(NAMES)) == place)


def chosen(vectors, good):
    weight = np.ones(len(vectors), dtype=np.float32)
    features = regression_features(vectors, weight, LEAST, good.shape[1])
    return choose_penalty(features, good, 1.0 - good, float(len(vectors)), LEAST)


def told(vectors, good):
    """Every agent's success at every text, one after the other."""
    return rewarded(np.repeat(vectors, len(NAMES), axis=0), NAMES * len(vectors), good.ravel())


def test_where_texts_tell_it_is_the_least_and_where_they_do_not_it_is_large():
    assert chosen(*scored(400, clear)) == LEAST
    assert chosen(*scored(400, faint)) > 10 * LEAST
    assert chosen(*scored(400, lambda place: np.full(len(NAMES), 0.5))) > 100 * LEAST


def test_it_is_about_the_one_that_generalised_cross_validation_chooses():
    vectors, good = scored(600, faint)
    centred, wanted = vectors - vectors.mean(0), good - good.mean(0)
    left, sizes, _ = np.linalg.svd(centred.astype(float), full_matrices=False)
    along = left.T @ wanted
    scores = []
    for penalty in PENALTIES:
        kept = sizes**2 / (sizes**2 + penalty)
        rest = (wanted**2).sum() - ((2.0 - kept) * kept) @ (along**2).sum(1)
        scores.append(rest / (1.0 - (kept.sum() + 1.0) / len(vectors)) ** 2)
    found = chosen(vectors, good) / 0.25  # a loss of log odds near none curves by that
    assert abs(np.log10(found / PENALTIES[int(np.argmin(scores))])) < 0.3


def test_features_that_are_held_more_are_those_that_were_made_so():
    vectors = clusters(200, dimension=40)[0]
    weight = np.ones(len(vectors), dtype=np.float32)
    features = regression_features(vectors, weight, LEAST, 3)
    held, made = features.held(LEAST, 2.0), regression_features(vectors, weight, 2.0, 3)
    plain = held.whitening.turn.shape[1]
    assert held.points[:, :plain] == pytest.approx(made.points[:, :plain], abs=1e-4)
    assert held.penalty[:plain] == pytest.approx(made.penalty[:plain], rel=1e-3)
    weights = np.random.default_rng(5).normal(size=(held.points.shape[1], 3)).astype(np.float32)
    logistic = held.back(weights)
    assert np.array([logistic.odds(vector) for vector in vectors]) == pytest.approx(held.points @ weights, abs=2e-3)


def test_what_a_head_chose_is_told_and_kept(tmp_path):
    head, again = (new_head(labels="independent", refit_interval=10_000) for _ in range(2))
    head.add(told(*scored(100, faint)))
    head.refit()
    assert head.report()["penalty"] > 10 * head.config.ridge
    head.save(tmp_path)
    again.load(tmp_path)
    assert again.report()["penalty"] == head.report()["penalty"]


def test_where_one_agent_is_right_the_penalty_stays():
    head = new_head()
    head.add(labelled(*clusters(60)))
    assert head.report()["penalty"] == head.config.ridge
