import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.numerics.normal_gamma import NormalGamma


def posterior(width=4):
    return NormalGamma(width, ridge=0.3, offset=1.0, kappa=5.0, noise=0.25)


def exact(x, rewards, weights):
    precision = 0.3 * np.eye(x.shape[1]) + (x.T * weights) @ x
    mean = np.linalg.solve(precision, x.T @ (weights * (rewards - 1.0)))
    residual = (weights * (rewards - 1.0) ** 2).sum() - mean @ precision @ mean
    return mean, np.linalg.inv(precision), residual


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_steps_and_corrections_reach_the_exact_posterior(seed):
    rng = np.random.default_rng(seed)
    x, old, new = rng.normal(size=(30, 4)), rng.random(30), rng.random(30)
    weights = rng.uniform(0.2, 1.0, 30)
    found = posterior()
    row = found.row("a")
    for each in range(30):
        found.observe(row, x[each], old[each], weights[each])
    for each in rng.permutation(30):
        found.correct(row, x[each], old[each], new[each], weights[each])
    mean, sigma, residual = exact(x, new, weights)
    assert found.mean[row] == pytest.approx(mean, abs=1e-8)
    assert found.sigma[row] == pytest.approx(sigma, abs=1e-8)
    assert found.residual[row] == pytest.approx(residual, abs=1e-8)


def test_taking_an_observation_back_leaves_the_others():
    rng = np.random.default_rng(1)
    x, rewards = rng.normal(size=(20, 4)), rng.random(20)
    found, never = posterior(), posterior()
    for each in range(20):
        found.observe(found.row("a"), x[each], rewards[each], 1.0)
    found.observe(found.row("a"), x[7], rewards[7], -1.0)
    for each in [*range(7), *range(8, 20)]:
        never.observe(never.row("a"), x[each], rewards[each], 1.0)
    assert found.mean[0] == pytest.approx(never.mean[0], abs=1e-9)
    assert found.sigma[0] == pytest.approx(never.sigma[0], abs=1e-9)
    assert found.residual[0] == pytest.approx(never.residual[0], abs=1e-9)
    assert found.count[0] == 19


def test_it_stays_positive_definite_through_updates_corrections_and_turnover():
    rng = np.random.default_rng(2)
    found = posterior(6)
    x = rng.normal(size=(500, 6))
    x[:, 5] = x[:, 4]  # Two features that always come together.
    for turn in range(60_000):
        row = found.row(f"agent-{turn % 5}")
        found.observe(row, x[turn % 500], float(turn % 3 == 0), 1.0)
        if turn % 60 == 0:
            found.correct(row, x[turn % 500], float(turn % 3 == 0), 0.5, 1.0)
        if turn % 600 == 0:
            newcomer = f"passing-{turn}"
            found.observe(found.row(newcomer), x[0], 1.0, 1.0)
            found.forget([newcomer])
    for row in found.rows.values():
        sigma = found.sigma[row]
        assert np.isfinite(sigma).all()
        assert (sigma == sigma.T).all()
        assert np.linalg.eigvalsh(sigma).min() > 0.0
    assert len(found.mean) <= 8


def test_fading_goes_back_to_the_prior():
    rng = np.random.default_rng(3)
    found = posterior()
    x, rewards = rng.normal(size=(50, 4)), rng.random(50)
    for each in range(50):
        found.observe(found.row("a"), x[each], rewards[each], 1.0)
    found.fade(["a"], 0.5)
    mean, sigma, _ = exact(x, rewards, np.full(50, 0.5))
    assert found.mean[0] == pytest.approx(mean, abs=1e-9)
    assert found.sigma[0] == pytest.approx(sigma, abs=1e-9)
    found.fade(["a"], 1e-12)
    assert found.sigma[0] == pytest.approx(np.eye(4) / 0.3, abs=1e-6)


def test_more_features_leave_what_is_known_of_the_old_ones():
    found = posterior()
    x = np.array([1.0, 0.5, 0.0, -1.0])
    found.observe(found.row("a"), x, 0.2, 1.0)
    before = found.scores(["a", "b"], x, 1.0)
    found.widen(9)
    after = found.scores(["a", "b"], np.append(x, np.zeros(5)), 1.0)
    assert np.array(after) == pytest.approx(np.array(before))


def test_the_short_list_of_very_many_agents_holds_the_best():
    rng = np.random.default_rng(4)
    found = posterior(8)
    names = [f"agent-{i}" for i in range(200)]
    skill = rng.normal(size=(200, 8)) * 0.1
    for _ in range(20):
        for place, name in enumerate(names):
            x = rng.normal(size=8)
            found.observe(found.row(name), x, 0.5 + float(skill[place] @ x), 1.0)
    x = rng.normal(size=8)
    means, widths = found.scores(names, x, 1.0)
    hopes = [m + 2 * float(np.sqrt(found.noise[i] * (x @ found.sigma[i] @ x))) for i, m in enumerate(means)]
    assert widths[int(np.argmax(hopes))] > 0.0
    assert sum(width > 0.0 for width in widths) == 16


def test_a_crowd_that_grows_past_the_short_list_keeps_its_diagonals():
    rng = np.random.default_rng(5)
    found = posterior(6)
    for turn in range(150):
        row = found.row(f"agent-{turn}")
        for _ in range(3):
            found.observe(row, rng.normal(size=6), float(rng.random()), 1.0)
    used = len(found.rows)
    assert found.spread[:used] == pytest.approx(np.diagonal(found.sigma[:used], axis1=1, axis2=2), abs=1e-12)


def test_rows_are_looked_up_anew_after_agents_came_and_went():
    found, x = posterior(), np.array([1.0, 0.5, 0.0, -1.0])
    names = ("a", "b", "c")
    found.observe(found.row("a"), x, 0.2, 1.0)
    before = found.scores(names, x, 1.0)
    found.observe(found.row("b"), x, 0.9, 1.0)
    after = found.scores(names, x, 1.0)
    assert after[0][0] == before[0][0]
    assert after[0][1] != before[0][1] == before[0][2]
    found.forget(["a"])
    assert found.scores(names, x, 1.0)[0][0] == before[0][2]


def test_expected_rewards_are_the_means_of_the_scores():
    found, x = posterior(), np.array([0.3, 0.5, 0.1, -1.0])
    for place, name in enumerate("abc"):
        found.observe(found.row(name), x, place / 2, 1.0)
    assert found.expected(x) == pytest.approx(found.scores(("a", "b", "c"), x, 1.0)[0])
