import sys
import threading

import numpy as np
import pytest
from router_sdk_thompson import Objectives, ThompsonConfig, ThompsonStrategy

from router_sdk.plugin import Agent, AgentSet, Signals, Task
from router_sdk.testing import FixedContext, make_example, make_services

AGENTS = AgentSet([Agent("good"), Agent("cheap")])
COST = {"good": 0.05, "cheap": 0.001}
RATE = {"good": 0.9, "cheap": 0.75}
TASK = Task(task_type="sums")


def strategy(objectives):
    made = ThompsonStrategy(ThompsonConfig(objectives=objectives, min_evidence=0), make_services())
    made.prepare(AGENTS)
    return made


def lesson(agent, reward, number):
    signals = Signals(success=reward > 0, cost_usd=COST[agent], latency_ms=2_000.0 if agent == "good" else 100.0)
    return make_example(agent, reward, number=number, task=TASK, eligible=AGENTS.names, signals=signals)


def taught():
    made, rng = strategy(Objectives()), np.random.default_rng(0)
    names = [AGENTS.names[number % 2] for number in range(400)]
    made.learn([lesson(name, float(rng.random() < RATE[name]), n) for n, name in enumerate(names, 1)])
    return made


def favourite(made, task=TASK):
    chances = made.propose(task, AGENTS, FixedContext()).probabilities
    return max(chances, key=chances.get)


def test_the_dial_turns_without_relearning():
    made = taught()
    assert favourite(made) == "good"
    made.pursue(Objectives(cost_quality_tradeoff=0.5))
    assert favourite(made) == "cheap"
    made.pursue(Objectives(latency=2.0))
    assert favourite(made) == "cheap"
    made.pursue(Objectives())
    assert favourite(made) == "good"


def test_predicted_latency_and_cost_are_part_of_the_explanation():
    told = taught().propose(TASK, AGENTS, FixedContext()).evidence()["agents"]["good"]
    assert told["cost_usd"] == pytest.approx(0.05)
    assert told["latency_ms"] == pytest.approx(2_000.0, rel=1e-6)


def test_a_budget_is_kept_on_average_and_used():
    made, rng, spent = strategy(Objectives(max_cost_usd=0.02)), np.random.default_rng(1), []
    for number in range(1, 4_001):
        chances = made.propose(TASK, AGENTS, FixedContext()).probabilities
        agent = "good" if rng.random() < chances["good"] else "cheap"
        spent.append(COST[agent])
        made.learn([lesson(agent, float(rng.random() < RATE[agent]), number)])
    assert np.mean(spent) <= 0.02 * 1.01
    assert np.mean(spent[1_000:]) >= 0.02 * 0.9


TEXT = Task("add these numbers", task_type="sums")


@pytest.mark.parametrize("contextual", [True, False])
def test_objectives_change_from_any_thread_while_others_learn_and_ask(contextual):
    made = ThompsonStrategy(
        ThompsonConfig(min_evidence=0, min_context_evidence=0, contextual=contextual), make_services()
    )
    made.prepare(AGENTS)
    rng = np.random.default_rng(5)
    names = [AGENTS.names[number % 2] for number in range(600)]
    made.learn([lesson(name, float(rng.random() < RATE[name]), n) for n, name in enumerate(names, 1)])
    more = [lesson(name, float(rng.random() < RATE[name]), n) for n, name in enumerate(names, 601)]
    wanted, stop, wrong = Objectives(cost=3.0), threading.Event(), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def learn():
        while not stop.is_set():
            made.learn([more[0]])
            made.prepare(AGENTS)

    def ask():
        while not stop.is_set():
            for task in (TASK, TEXT):
                total = sum(made.propose(task, AGENTS, FixedContext(text=task.text)).probabilities.values())
                if abs(total - 1.0) > 1e-9:
                    wrong.append(total)

    threads = [threading.Thread(target=each) for each in (learn, ask, ask)]
    for each in threads:
        each.start()
    try:
        for turn in range(60):
            made.pursue(Objectives() if turn % 2 else wanted)
            assert favourite(made) == ("good" if turn % 2 else "cheap")
    finally:
        stop.set()
        for each in threads:
            each.join()
        sys.setswitchinterval(interval)
    assert not wrong
    made.pursue(wanted)
    assert favourite(made) == "cheap"
    assert made._evidence.by_agent["good"].mass > 0


def test_what_is_expected_of_an_average_task():
    told = taught().expected()
    assert told["good"]["quality"] == pytest.approx(0.9, abs=0.05)
    assert told["cheap"]["cost_usd"] == pytest.approx(0.001)
    assert told["cheap"]["latency_ms"] == pytest.approx(100.0, rel=1e-6)
    assert set(strategy(Objectives()).expected()["good"]) == {"quality"}


@pytest.mark.parametrize(
    "task", [TASK, Task("add these"), Task("add these", features={"size": 3}), Task(features={"size": 3})]
)
def test_every_mode_predicts_latency_and_cost(task):
    agents = AgentSet([Agent("good", cost_usd=0.04, latency_ms=900.0), Agent("cheap")])
    made = ThompsonStrategy(ThompsonConfig(min_evidence=0, min_context_evidence=0), make_services())
    made.prepare(agents)
    signals = Signals(success=True, cost_usd=0.002, latency_ms=50.0)
    made.learn(
        [make_example("cheap", 1.0, number=n, task=task, eligible=agents.names, signals=signals) for n in range(1, 9)]
    )
    told = made.propose(task, agents, FixedContext(text=task.text)).evidence()["agents"]
    assert told["good"]["cost_usd"] == pytest.approx(0.04)
    assert told["good"]["latency_ms"] == pytest.approx(900.0)
    assert told["cheap"]["cost_usd"] == pytest.approx(0.002)
    assert told["cheap"]["latency_ms"] == pytest.approx(50.0)


def test_one_dial_stands_for_two_weights():
    dialled = ThompsonConfig(objectives={"cost_quality_tradeoff": 0.25}).objectives
    assert (dialled.quality, dialled.cost) == (0.75, 0.25)
    assert not dialled.quality_alone
    assert Objectives(cost_quality_tradeoff=0.0).quality_alone
    assert Objectives(**dialled.model_dump(exclude_unset=True)) == dialled


@pytest.mark.parametrize(
    "wrong",
    [{"cost_quality_tradeoff": 1.0}, {"cost_quality_tradeoff": "dear"}, {"cost_quality_tradeoff": 0.1, "cost": 1}],
)
def test_a_dial_that_says_nothing_clear_is_refused(wrong):
    with pytest.raises(ValueError, match="cost_quality_tradeoff"):
        ThompsonConfig(objectives=wrong)
