import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.numerics.shared_draw import shared_draw

lines = st.lists(st.tuples(st.floats(0.0, 1.0, width=32), st.floats(0.0, 0.5, width=32)), min_size=1, max_size=12)


def counted(means, widths, draws):
    z = np.abs(np.random.default_rng(5).normal(size=draws))[:, None]
    heights = np.array(means) + z * np.array(widths)
    best = heights == heights.max(1, keepdims=True)
    return (best / best.sum(1, keepdims=True)).mean(0)


@pytest.mark.parametrize("seed", range(6))
def test_the_closed_form_agrees_with_a_million_draws(seed):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, 0, 7)
    means, widths = (rng.random(7) * 0.3).tolist(), (scale * rng.random(7)).tolist()
    assert shared_draw(means, widths) == pytest.approx(counted(means, widths, 1_000_000), abs=3e-3)


@given(lines)
@settings(max_examples=200, deadline=None)
def test_chances_sum_to_one_and_follow_a_permutation(given_lines):
    means, widths = [m for m, _ in given_lines], [s for _, s in given_lines]
    found = shared_draw(means, widths)
    assert min(found) >= 0.0
    assert sum(found) == pytest.approx(1.0, abs=1e-12)
    assert shared_draw(means[::-1], widths[::-1]) == found[::-1]


@given(lines)
@settings(max_examples=40, deadline=None)
def test_chances_agree_with_draws(given_lines):
    means, widths = [m for m, _ in given_lines], [s for _, s in given_lines]
    assert shared_draw(means, widths) == pytest.approx(counted(means, widths, 40_000), abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_of_many_lines_those_are_left_out_that_are_never_the_highest(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    seen = rng.integers(1, 30, (2, 400)).astype(float)
    means = np.round(seen[0] / seen.sum(0), 2)  # some coincide
    widths = np.round(np.sqrt(seen.prod(0) / (seen.sum(0) + 1.0)) / seen.sum(0), 3)
    found = shared_draw(means.tolist(), widths.tolist())
    monkeypatch.setattr("router_sdk.numerics.shared_draw.FEW", 1_000)
    assert found == shared_draw(means.tolist(), widths.tolist())
    assert sum(found) == pytest.approx(1.0, abs=1e-12)


def test_equal_agents_share_equally_and_one_gets_all():
    assert shared_draw([0.3] * 1_000, [0.1] * 1_000) == [0.001] * 1_000
    assert shared_draw([0.2], [0.0]) == [1.0]


def test_a_certain_agent_keeps_what_doubt_cannot_reach():
    better, worse = shared_draw([0.5, 0.4], [0.0, 0.1])
    assert better == pytest.approx(0.6827, abs=1e-4)
    assert worse == pytest.approx(0.3173, abs=1e-4)
