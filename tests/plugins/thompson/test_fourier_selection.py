import json

import numpy as np
import pytest
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy

from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Task
from router_sdk.testing import FixedContext, make_example, make_services

AGENTS = AgentSet([Agent(name) for name in ("north", "south", "east")])
WEIGHTS = np.random.default_rng(7).normal(size=(3, 12))


def linear(x):
    return 1.0 / (1.0 + np.exp(-WEIGHTS[:, : len(x)] @ x))


def by_quadrant(x):
    same = x[0] * x[1] > 0.0
    return np.array([0.9 if same else 0.1, 0.1 if same else 0.9, 0.3])


def strategy(**fields):
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=0, **fields), make_services())
    made.prepare(AGENTS)
    return made


def task_at(x, kind="default"):
    return Task(task_type=kind, features={f"f{place}": float(value) for place, value in enumerate(x)})


def live(made, chances, rounds, seed=0, kind="default", first=1, columns=3):
    """Let it choose and learn; returns the chance of success of each choice less that of the best."""
    rng, lost = np.random.default_rng(seed), []
    for number in range(first, first + rounds):
        x = rng.normal(size=columns)
        task, expected = task_at(x, kind), chances(x)
        found = made.propose(task, AGENTS, FixedContext())
        shares = list(found.probabilities.values()) if found is not None else [1 / 3] * 3
        arm = int(rng.choice(3, p=np.array(shares) / sum(shares)))
        lost.append(expected.max() - expected[arm])
        reward = float(rng.random() < expected[arm])
        agent, share = AGENTS.names[arm], float(shares[arm])
        made.learn([make_example(agent, reward, number=number, task=task, propensity=share, eligible=AGENTS.names)])
    return np.array(lost)


def leader(made, kind):
    """Which policy leads on a type of task."""
    weights = made.report()["policies"][kind]
    return max(weights, key=weights.get)


@pytest.mark.slow
def test_the_straight_one_answers_what_is_linear_and_the_curved_one_what_is_not():
    made = strategy()
    live(made, linear, 600, kind="linear", columns=12)
    assert leader(made, "linear") == "linear"
    made = strategy()
    lost = live(made, by_quadrant, 1_200, kind="quadrants")[-300:]
    assert leader(made, "quadrants") == "features"
    without = live(strategy(fourier_features=0), by_quadrant, 1_200, kind="quadrants")[-300:]
    assert without.mean() > 2.0 * lost.mean(), "a plane does not divide quadrants"


def test_without_fourier_features_there_is_only_one():
    made = strategy(fourier_features=0)
    live(made, linear, 60)
    pair = made._contexts.dense
    assert pair.straight.events == 0
    assert pair.publish().straight is None
    assert pair.curved.events == 60


def test_who_answers_survives_the_disk(tmp_path):
    made, again = strategy(), strategy()
    live(made, by_quadrant, 400)
    made.save(tmp_path)
    again.load(tmp_path)
    assert again.report()["policies"] == made.report()["policies"]
    for x in np.random.default_rng(1).normal(size=(20, 3)):
        task = task_at(x)
        one, other = (each.propose(task, AGENTS, FixedContext()) for each in (made, again))
        assert one.scores == other.scores
        assert one.probabilities == other.probabilities
    live(made, by_quadrant, 50, seed=2, first=401)
    live(again, by_quadrant, 50, seed=2, first=401)
    assert again._contexts.comparison.state() == made._contexts.comparison.state()


@pytest.mark.parametrize("file", ["straight_sigma.npy", "comparison.json"])
def test_a_damaged_twin_is_refused(tmp_path, file):
    made = strategy()
    live(made, linear, 60)
    made.save(tmp_path)
    if file.endswith(".json"):
        state = json.loads((tmp_path / file).read_text())
        state["selection"]["overall"][0] = -1.0
        (tmp_path / file).write_text(json.dumps(state))
    else:
        np.save(tmp_path / file, -np.load(tmp_path / file))
    with pytest.raises(CorruptArtifactError):
        strategy().load(tmp_path)


def test_both_forget_an_agent():
    made = strategy()
    live(made, linear, 120)
    made.forget_agents(["north"])
    pair = made._contexts.dense
    assert "north" not in pair.curved.posterior.rows
    assert "north" not in pair.straight.posterior.rows
    for each in (pair.curved, pair.straight):
        hoped = each.publish().belief(task_at([0.1, 0.2, 0.3]), AGENTS, None).means[0]
        assert hoped == pytest.approx(1.0)
