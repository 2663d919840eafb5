"""Logs whose policies' true values are known."""

import numpy as np

from router_sdk.evaluation.moments import Rounds
from router_sdk.evaluation.reward_model import RewardModel


def planted(seed=7, count=200, agents=4):
    """Some rounds of a fixed policy, and the same as obp takes them."""
    rng = np.random.default_rng(seed)
    logged = rng.dirichlet(np.ones(agents), count) * 0.9 + 0.1 / agents
    target = rng.dirichlet(np.ones(agents), count)
    acted = np.array([int(rng.choice(agents, p=shares)) for shares in logged])
    reward = (rng.random(count) < 0.2 + 0.2 * acted).astype(float)
    model, place = rng.random((count, agents)), np.arange(count)
    rounds = Rounds(
        reward,
        logged[place, acted],
        target[place, acted],
        (target * model).sum(1),
        model[place, acted],
        (target**2 / logged).sum(1),
        np.zeros(count),
    )
    told = {
        "reward": reward,
        "action": acted,
        "pscore": logged[place, acted],
        "action_dist": target[:, :, None],
        "position": np.zeros(count, int),
        "model": model[:, :, None],
    }
    return rounds, told


def adaptive_log(seed, rounds=1_500, agents=5, types=2, epsilon=0.05):
    """A Beta-Bernoulli sampler that learns while it logs, and the value of who always takes the second best."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(0.3, 0.9, (types, agents))
    second = np.argsort(-means, axis=1)[:, 1]
    wins, losses = np.ones((types, agents)), np.ones((types, agents))
    model, rows = RewardModel(), []
    kinds, chances, draws = rng.integers(types, size=rounds), rng.random(rounds), rng.random(rounds)
    for kind, chance, draw in zip(kinds, chances, draws, strict=True):
        best = rng.beta(wins[kind], losses[kind], (16, agents)).argmax(1)
        shares = (1.0 - epsilon) * np.bincount(best, minlength=agents) / 16 + epsilon / agents
        acted, target = min(int(np.searchsorted(np.cumsum(shares), draw)), agents - 1), second[kind]
        reward = float(chance < means[kind, acted])
        expected, expected_acted = model.expect(str(kind), [str(target), str(acted)])
        model.learn(str(kind), str(acted), reward)
        wins[kind, acted] += reward
        losses[kind, acted] += 1.0 - reward
        rows.append(
            (reward, shares[acted], float(acted == target), expected, expected_acted, 1.0 / shares[target], 0.0)
        )
    return Rounds.of(rows), float(means[np.arange(types), second].mean())
