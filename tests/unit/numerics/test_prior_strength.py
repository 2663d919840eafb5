import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_t

from router_sdk.numerics import prior_strength
from router_sdk.numerics.normal_gamma import NormalGamma
from router_sdk.numerics.prior_strength import due, fitted_strength, log_evidence, spectrum

RIDGE, KAPPA, NOISE = 0.3, 5.0, 0.5


def taught(x, rewards, agents=1):
    """A posterior that learnt one row after the other, of which each agent in turn got one."""
    posterior = NormalGamma(x.shape[1], RIDGE, 1.0, KAPPA, NOISE)
    for place, reward in enumerate(rewards):
        posterior.observe(posterior.row(f"agent-{place % agents}"), x[place], float(reward), 1.0)
    return posterior


def rows(count, width, seed=0):
    return np.column_stack([np.ones(count), np.random.default_rng(seed).normal(size=(count, width)) / np.sqrt(width)])


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_evidence_is_the_density_of_all_rewards_together(seed):
    x, rewards = rows(12, 4, seed), np.random.default_rng(seed).random(12)
    posterior, strengths = taught(x, rewards), np.array([RIDGE, 0.02, 3.0])
    found = log_evidence(spectrum(posterior.moments(0), RIDGE), strengths, KAPPA, NOISE**2)
    exact = []
    for strength in strengths:
        prior = np.array([RIDGE, *[strength] * 4])
        shape = NOISE**2 * (np.eye(12) + (x / prior) @ x.T)
        exact.append(multivariate_t(np.ones(12), shape, df=KAPPA).logpdf(rewards))
    assert found - found[0] == pytest.approx(np.array(exact) - exact[0], abs=1e-6)


@given(st.integers(0, 10_000), st.floats(1e-3, 10.0))
@settings(max_examples=25, deadline=None)
def test_another_strength_is_as_if_it_had_been_so_from_the_start(seed, strength):
    x, rewards = rows(30, 4, seed), np.random.default_rng(seed).random(30)
    posterior = taught(x, rewards)
    posterior.forget(["agent-1"])
    posterior.row("agent-1")
    posterior.forget(["agent-1"])
    posterior.change_strength(strength)
    prior = np.diag([RIDGE, *[strength] * 4])
    precision = prior + x.T @ x
    mean = np.linalg.solve(precision, x.T @ (rewards - 1.0))
    residual = ((rewards - 1.0) ** 2).sum() - mean @ precision @ mean
    assert posterior.mean[0] == pytest.approx(mean, abs=1e-6)
    assert posterior.sigma[0] == pytest.approx(np.linalg.inv(precision), rel=1e-6, abs=1e-9)
    assert posterior.residual[0] == pytest.approx(residual, abs=1e-6)
    newcomer, stranger = posterior.row("agent-2"), posterior.prior_variance(x[0])
    assert x[0] @ posterior.sigma[newcomer] @ x[0] == pytest.approx(stranger)
    posterior.widen(7)
    assert posterior.sigma[newcomer].diagonal()[5:] == pytest.approx(1.0 / strength)


def test_weights_that_are_large_loosen_the_prior_and_noise_does_not():
    x, rng = rows(600, 20), np.random.default_rng(1)
    clear, noise = x[:, 1:] @ rng.normal(0.0, 3.0, 20), rng.random(600)
    assert fitted_strength(taught(x, clear, agents=3)) < RIDGE / 4.0
    assert fitted_strength(taught(x, noise, agents=3)) == RIDGE


def test_it_is_asked_when_observations_have_doubled_and_not_where_that_takes_long(monkeypatch):
    assert [count for count in range(1, 600) if due(count)] == [64, 128, 256, 512]
    x = rows(200, 8)
    posterior = taught(x, x[:, 1:].sum(axis=1) * 9.0, agents=2)
    assert fitted_strength(posterior) < RIDGE
    monkeypatch.setattr(prior_strength, "MOST_WORK", 2 * 9**3 - 1)
    assert fitted_strength(posterior) == RIDGE
    assert fitted_strength(NormalGamma(9, RIDGE, 1.0, KAPPA, NOISE)) == RIDGE
