"""The distribution that doubt makes, against the draws that it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_bert.head import estimates


def choice_probabilities(odds, doubt):
    return np.array(estimates.choice_probabilities(odds, doubt))


numbers = st.floats(-5.0, 5.0)
widths = st.floats(0.0, 3.0)


@given(st.lists(st.tuples(numbers, widths), min_size=1, max_size=7))
def test_it_is_a_distribution_whatever_the_order(agents):
    estimate, doubt = (np.array(column) for column in zip(*agents, strict=True))
    given_shares = choice_probabilities(estimate, doubt)
    assert given_shares.min() >= 0.0
    assert given_shares.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(choice_probabilities(estimate[::-1], doubt[::-1])[::-1], given_shares, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_how_often_each_is_the_best(seed):
    rng = np.random.default_rng(seed)
    estimate, doubt = rng.normal(size=6), rng.gamma(1.0, size=6)
    draws = np.abs(rng.normal(size=200_000))[:, None]
    counted = np.bincount((estimate + draws * doubt).argmax(1), minlength=6) / len(draws)
    np.testing.assert_allclose(choice_probabilities(estimate, doubt), counted, atol=0.005)


def test_equal_doubt_explores_nothing_and_equal_agents_share():
    np.testing.assert_array_equal(choice_probabilities(np.array([1.0, 2.0, 0.0]), np.full(3, 0.7)), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(choice_probabilities(np.array([1.0, 1.0, 0.0]), np.full(3, 0.7)), [0.5, 0.5, 0.0])


def test_who_is_less_known_is_tried():
    tried = choice_probabilities(np.array([1.0, 0.5]), np.array([0.1, 0.6]))
    assert tried[1] == pytest.approx(0.3173, abs=1e-3), "beyond one standard deviation"
