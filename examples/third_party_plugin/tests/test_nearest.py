"""Run them with ``pytest`` beside an installed ``router-sdk`` and this plugin."""

import pytest
from router_sdk_nearest import NearestConfig, NearestStrategy

from router_sdk.plugin import Agent, AgentSet, StrategyConfig, Task
from router_sdk.testing import FixedContext, check_strategy, make_example, make_services, revise

AGENTS = AgentSet([Agent("billing"), Agent("technical")])


def build(**settings):
    return NearestStrategy(NearestConfig(**settings), make_services())


def ask(strategy, text, agents=AGENTS):
    return strategy.propose(Task(text), agents, FixedContext(text=text))


def test_contract():
    check_strategy(NearestStrategy)


def test_contract_when_memory_is_short():
    check_strategy(lambda services: NearestStrategy(NearestConfig(capacity=20, neighbours=3), services))


def test_it_prefers_who_did_best_on_similar_texts():
    strategy = build()
    strategy.learn(
        [
            make_example("billing", 1.0, number=1, task="charged twice for one order"),
            make_example("technical", 0.0, number=2, task="charged twice for nothing"),
            make_example("technical", 1.0, number=3, task="the app crashes"),
        ]
    )
    assert ask(strategy, "I was charged twice").probabilities["billing"] > 0.9
    assert ask(strategy, "it crashes, the app").probabilities["technical"] > 0.9
    assert ask(strategy, "something unheard of") is None


def test_a_correction_replaces_what_was_remembered():
    strategy, example = build(), make_example("billing", 1.0, task="charged twice")
    strategy.learn([example])
    before = ask(strategy, "charged twice").scores["billing"]
    strategy.learn([revise(example, 0.0)])
    assert ask(strategy, "charged twice").scores["billing"] < 0.5 < before
    assert strategy.report()["remembered"] == 1
    strategy.learn([revise(revise(example, 0.0), None)])
    assert strategy.report()["remembered"] == 0


def test_what_was_erased_is_forgotten():
    strategy = build()
    examples = [make_example("billing", 1.0, number=number, task=f"text {number}") for number in (1, 2)]
    strategy.learn(examples)
    strategy.forget_examples([examples[0].decision_id])
    assert strategy.report()["remembered"] == 1
    strategy.forget_agents(["billing"])
    assert ask(strategy, "text") is None


def test_the_oldest_decisions_go_first():
    strategy = build(capacity=2)
    late = make_example("billing", 0.0, number=1, task="red")
    others = [make_example("technical", 1.0, number=n, task=word) for n, word in ((2, "green"), (3, "blue"))]
    strategy.learn([*others, late])
    assert ask(strategy, "red") is None
    assert ask(strategy, "green") is not None


def test_it_wants_its_own_config():
    with pytest.raises(ValueError, match="NearestConfig"):
        NearestStrategy(StrategyConfig(), make_services())
