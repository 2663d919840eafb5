import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from router_sdk.numerics.distribution_shift import (
    AXES,
    Moments,
    chi_square_limit,
    distance_limit,
    g_statistic,
    point_of_vector,
    point_of_words,
    relative_entropy,
    spent,
    squared_distance,
    trend,
)

counts = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 500), min_size=1)


@given(counts, counts)
def test_relative_entropy_is_that_of_the_smoothed_counts(newest, reference):
    names = sorted(newest.keys() | reference.keys())
    p, q = (np.array([row.get(name, 0) + 0.5 for name in names]) for row in (newest, reference))
    assert relative_entropy(newest, reference) == pytest.approx(stats.entropy(p, q), abs=1e-9)
    assert relative_entropy(newest, newest) == pytest.approx(0.0, abs=1e-12)


def test_g_is_the_likelihood_ratio_of_a_table():
    newest, reference = {"a": 90, "b": 60, "c": 50}, {"a": 70, "b": 90, "c": 40}
    table = [list(newest.values()), list(reference.values())]
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert g_statistic(newest, reference) == (pytest.approx(expected.statistic), expected.dof)


def test_rare_categories_count_as_one():
    newest = {"a": 100, "b": 92, **{f"rare {number}": 1 for number in range(8)}}
    _, freedom = g_statistic(newest, {"a": 110, "b": 90})
    assert freedom == 2
    assert g_statistic({"a": 200}, {"a": 200}) == (0.0, 0)


@given(st.integers(1, 60), st.floats(1e-9, 0.5))
def test_the_limit_is_above_the_quantile_and_not_far(freedom, chance):
    limit = chi_square_limit(freedom, chance)
    assert stats.chi2.sf(limit, freedom) <= chance
    assert limit <= 2.0 * stats.chi2.isf(chance, freedom) + 4.0


def test_all_that_is_ever_spent_is_alpha():
    assert sum(spent(0.01, number) for number in range(1, 100_000)) == pytest.approx(0.01, rel=1e-4)


def window(rng, count, shift=0.0):
    found = Moments()
    mixing = np.random.default_rng(3).normal(size=(AXES, AXES))
    for point in rng.normal(size=(count, AXES)) @ mixing + shift:
        found.add(point)
    return found


def test_windows_of_one_mean_are_within_the_limit_as_often_as_was_said():
    rng = np.random.default_rng(11)
    beyond = sum(
        squared_distance(window(rng, 100), window(rng, 100)) > distance_limit(100, 100, 0.05) for _ in range(400)
    )
    assert beyond <= 20 + 2 * math.sqrt(20)


def test_a_mean_that_moved_is_beyond_it():
    rng = np.random.default_rng(12)
    assert squared_distance(window(rng, 200), window(rng, 200, shift=5.0)) > distance_limit(200, 200, 1e-5)


def test_what_never_varies_is_no_division_by_zero():
    same, other = Moments(), Moments()
    for _ in range(50):
        same.add(np.ones(AXES))
        other.add(np.full(AXES, 2.0))
    assert squared_distance(same, same) == 0.0
    assert squared_distance(same, other) > distance_limit(50, 50, 1e-6)


def test_texts_and_vectors_lie_where_they_lay_before():
    assert point_of_words(["refund", "please"]).tolist() == point_of_words(["please", "refund"]).tolist()
    assert point_of_words([]).tolist() == [0.0] * AXES
    assert abs(point_of_words(["refund"])).tolist() == [1.0] * AXES
    vector = np.arange(384, dtype=np.float16)
    assert point_of_vector(vector).tolist() == point_of_vector(vector.astype(np.float64)).tolist()
    assert point_of_vector(vector).tolist() == pytest.approx(
        point_of_vector(1e300 * vector.astype(np.float64)).tolist()
    )
    assert point_of_vector(np.zeros(7, dtype=np.int8)).tolist() == [0.0] * AXES


def test_one_word_in_all_texts_moves_every_axis():
    """The axes are directions of their own: words do not move them together."""
    points = np.array([point_of_words([f"word {number}"]) for number in range(2_000)])
    assert abs(np.corrcoef(points.T) - np.eye(AXES)).max() < 0.1


def test_a_trend_is_no_chance():
    assert trend([1, 2, 3, 4, 5, 6, 7, 8]) == "up"
    assert trend([8, 7, 6, 5, 4, 3, 2, 1]) == "down"
    assert trend([1, 2, 3]) == trend([]) == trend([5.0] * 8) == "flat"
    rng = np.random.default_rng(13)
    told = Counter(trend(rng.random(8).tolist()) for _ in range(1_000))
    assert told["up"] + told["down"] <= 75
