import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from router_sdk_thompson import Objectives, TextFeatures, ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.policy.proposal import proposal_of
from router_sdk_thompson.posteriors.logistic import Logistic, moderated, sigmoid
from router_sdk_thompson.posteriors.logistic import _added as added

from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Signals, Task
from router_sdk.testing import FixedContext, HashedWordsEncoder, check_strategy, make_example, make_services, revise

AGENTS = AgentSet([Agent("small"), Agent("large")])
NEVER = {"change_threshold": None, "half_life_s": None}


def strategy(**fields):
    config = ThompsonConfig(likelihood="logistic", min_context_evidence=0, **fields)
    made = ThompsonStrategy(config, make_services(seed=4))
    made.prepare(AGENTS)
    return made


def ask(made, features):
    return made.propose(Task(features=features), AGENTS, FixedContext())


def lesson(agent, reward, number, **features):
    return make_example(agent, reward, number=number, task=Task(features=features), eligible=AGENTS.names)


def stream(count, seed=0):
    rng, examples = np.random.default_rng(seed), []
    for number in range(1, count + 1):
        length, agent = float(rng.normal(500, 200)), AGENTS.names[number % 2]
        chance = sigmoid((500.0 - length) / 60.0) if agent == "small" else 0.6
        examples.append(lesson(agent, float(rng.random() < chance), number, length=length))
    return examples


def laplace(xs, ys, ridge, offset):
    """Mode and covariance of Bayesian logistic regression, by Newton's method on all the data."""
    weights = np.zeros(xs.shape[1])
    for _ in range(100):
        chance = 1.0 / (1.0 + np.exp(-(offset + xs @ weights)))
        hessian = ridge * np.eye(len(weights)) + xs.T @ (xs * (chance * (1.0 - chance))[:, None])
        weights = weights + np.linalg.solve(hessian, xs.T @ (ys - chance) - ridge * weights)
    return weights, np.linalg.inv(hessian)


def test_online_comes_close_to_the_whole_posterior():
    rng = np.random.default_rng(1)
    xs = np.column_stack([np.ones(1_500), rng.normal(size=(1_500, 3)) / 2.0])
    ys = (rng.random(1_500) < 1.0 / (1.0 + np.exp(-(xs @ [0.3, 1.5, -1.0, 0.0])))).astype(float)
    online = Logistic(4, 3.0, 0.5)
    row = online.row("a")
    for x, y in zip(xs, ys, strict=True):
        online.observe(row, x, y, 1.0)
    mode, covariance = laplace(xs, ys, online.ridge, online.offset)
    assert online.mean[row] == pytest.approx(mode, abs=0.1)
    assert online.sigma[row] == pytest.approx(covariance, abs=0.25 * covariance.diagonal().max())


def test_one_outcome_is_laplace_exactly():
    x, online = np.array([1.0, 0.5]), Logistic(2, 0.6, 0.5)
    row = online.row("a")
    online.observe(row, x, 1.0, 1.0)
    mode, covariance = laplace(x[None], np.array([1.0]), online.ridge, online.offset)
    assert online.mean[row] == pytest.approx(mode, abs=1e-9)
    assert online.sigma[row] == pytest.approx(covariance, abs=1e-9)


def share_taken(model, x, weight):
    """Share of the precision along ``x`` that taking an outcome of that weight back removes; beyond .95 it is cut."""
    _, logit, variance = model._along(0, x)
    return weight * sigmoid(logit) * (1.0 - sigmoid(logit)) * variance


@given(st.floats(-40, 40), st.floats(1e-6, 500), st.floats(0, 1), st.floats(0.01, 20))
def test_an_outcome_moves_the_logit_to_the_mode_however_flat_the_sigmoid_is(logit, variance, reward, weight):
    found, narrowed = added(logit, variance, reward, weight)
    gap = found - logit - variance * weight * (reward - sigmoid(found))
    assert abs(gap) <= 1e-8 * (1.0 + abs(logit) + variance * weight)
    assert 0.0 < narrowed <= variance


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_the_newest_outcome_is_corrected_and_taken_back_exactly(old, new, values):
    x = np.array([1.0, *values])
    made, right = Logistic(4, 0.3, 0.9), Logistic(4, 0.3, 0.9)
    for each, reward in ((made, old), (right, new)):
        each.observe(each.row("a"), np.array([1.0, 0.3, -0.2, 0.5]), 1.0, 1.0)
        each.observe(each.row("a"), x, reward, 0.7)
    assume(max(share_taken(made, x, 0.7), share_taken(right, x, 0.7)) < 0.94)
    made.correct(0, x, old, new, 0.7)
    assert made.mean[0] == pytest.approx(right.mean[0], abs=1e-6)
    assert made.sigma[0] == pytest.approx(right.sigma[0], abs=1e-6)
    before = Logistic(4, 0.3, 0.9)
    before.observe(before.row("a"), np.array([1.0, 0.3, -0.2, 0.5]), 1.0, 1.0)
    made.observe(0, x, new, -0.7)
    assert made.mean[0] == pytest.approx(before.mean[0], abs=1e-6)
    assert made.count[0] == pytest.approx(1.0)


@given(st.floats(-5, 5), st.floats(0, 5))
def test_the_moderated_chance_is_the_expected_one(logit, deviation):
    z = np.random.default_rng(0).normal(size=40_000)
    expected = float(np.mean(1.0 / (1.0 + np.exp(-(logit + deviation * z)))))
    assert moderated(logit, deviation**2) == pytest.approx(expected, abs=0.025)
    assert 0.0 < sigmoid(-1e9) < 1e-300 or math.isclose(sigmoid(-1e9), 0.0)


@pytest.mark.parametrize("sampling", ["shared", "independent", "ucb", "greedy"])
def test_it_learns_where_each_agent_is_good(sampling):
    made = strategy(sampling=sampling, fourier_features=0)
    made.learn(stream(1_500))
    short, long = ask(made, {"length": 200.0}), ask(made, {"length": 800.0})
    assert max(short.probabilities, key=short.probabilities.get) == "small"
    assert max(long.probabilities, key=long.probabilities.get) == "large"
    assert short.scores["small"] == pytest.approx(0.9, abs=0.1)
    assert long.scores["small"] == pytest.approx(0.1, abs=0.1)
    assert short.scores["large"] == pytest.approx(0.6, abs=0.15)
    told = short.evidence()["agents"]["large"]
    low, high = told["interval"]
    assert 0.0 <= low < told["mean"] < high <= 1.0


def test_independent_probabilities_are_those_of_a_hundred_thousand_draws():
    made = strategy(sampling="independent", fourier_features=0)
    made.learn(stream(60))
    question = {"length": 520.0}
    view = made._published.contexts.dense.curved
    voices = made._published.contexts.voices(Task(features=question), AGENTS, FixedContext())
    (belief,) = [belief for _, _, belief in voices if belief is not None]
    found = proposal_of(belief, AGENTS, "independent", made._published.estimates)
    x = view.design.encode(None, question)
    means, widths = view.posterior.scores(AGENTS.names, x, made._settings.exploration)
    draws = np.random.default_rng(0).normal(means, widths, size=(100_000, 2))
    shares = np.bincount((1.0 / (1.0 + np.exp(-draws))).argmax(1), minlength=2) / len(draws)
    # The strategy counts over 1,024 draws.
    assert list(found.probabilities.values()) == pytest.approx(shares, abs=0.06)


def test_batches_disk_and_objectives(tmp_path):
    lessons = stream(150)
    whole, parts = strategy(), strategy()
    whole.learn(lessons)
    for each in lessons:
        parts.learn([each])
    question = {"length": 450.0}
    assert ask(whole, question).scores == ask(parts, question).scores
    whole.save(tmp_path)
    again = strategy()
    again.load(tmp_path)
    fix = [revise(each, 1.0 - each.reward) for each in lessons[-20:]]
    whole.learn(fix)
    again.learn(fix)
    assert ask(again, question).scores == ask(whole, question).scores
    costly = make_example("small", 1.0, number=900, task=Task(features=question), signals=Signals(cost_usd=1.0))
    whole.learn([costly])
    whole.pursue(Objectives(cost=5.0, cost_scale_usd=0.1, max_cost_usd=0.5))
    assert ask(whole, question).probabilities["small"] == 0.0
    sigma = np.load(tmp_path / "dense_sigma.npy")
    np.save(tmp_path / "dense_sigma.npy", -sigma)
    with pytest.raises(CorruptArtifactError):
        strategy().load(tmp_path)


def test_a_thousand_corrections_leave_little_of_what_was_wrong():
    lessons = stream(500)
    made, right = strategy(fourier_features=0, **NEVER), strategy(fourier_features=0, **NEVER)
    right.learn(lessons)
    wrong = [revise(each, 1.0 - each.reward) for each in lessons]
    made.learn(lessons)
    made.learn(wrong)
    made.learn([revise(each, 1.0 - each.reward) for each in wrong])
    for length in (300.0, 500.0, 700.0):
        question = {"length": length}
        assert ask(made, question).scores == pytest.approx(ask(right, question).scores, abs=0.15)


@pytest.mark.reliability
@pytest.mark.parametrize("sampling", ["shared", "independent"])
def test_it_keeps_the_contract(sampling):
    config = ThompsonConfig(likelihood="logistic", sampling=sampling, min_context_evidence=1)
    check_strategy(
        lambda services: ThompsonStrategy(config, services),
        encoders={TextFeatures.name: TextFeatures(TextFeatures.Config())},
    )


@pytest.mark.slow
def test_it_keeps_the_contract_with_vectors():
    config = ThompsonConfig(likelihood="logistic", encoder=HashedWordsEncoder.name, min_context_evidence=1)
    encoders = {HashedWordsEncoder.name: HashedWordsEncoder(HashedWordsEncoder.Config())}
    check_strategy(lambda services: ThompsonStrategy(config, services), encoders=encoders)
