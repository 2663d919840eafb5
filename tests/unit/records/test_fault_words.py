"""What is wrong with what was given, in words of ours: which key, where, and what was probably meant."""

import pytest
from pydantic import ValidationError

from router_sdk import Agent, Outcome, Router, RouterError, Task
from router_sdk.config import RouterConfig
from router_sdk.records import Decision, fault_words, models_called

PYDANTIC = ("Extra inputs", "Field required", "Input should", "should be", "should have", "Value error", "pydantic")


def settings(**given):
    return lambda: RouterConfig.of(given)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Outcome(succes=True), "Outcome: succes: there is no such key; did you mean 'success'?"),
        (lambda: Task("x", taskType="y"), "taskType: there is no such key; did you mean 'task_type'?"),
        (lambda: Agent("x", cost=1), "cost: there is no such key; did you mean 'cost_usd'?"),
        (
            lambda: Agent("x", zzz=1),
            "zzz: there is no such key; there are capabilities, cost_usd, description, enabled",
        ),
        (
            settings(gate={"no_regresion": True}),
            "gate.no_regresion: there is no such key; did you mean 'no_regression'?",
        ),
        (settings(stratgies=["thompson"]), "stratgies: there is no such key; did you mean 'strategies'?"),
        (lambda: Decision.model_validate({"agent": "a"}), "must be given"),
        (lambda: Outcome(quality=2), "quality: must be less than or equal to 1 (got 2.0)"),
        (lambda: Agent("x", examples=3), "examples: must be a list (got 3)"),
    ],
)
def test_a_fault_is_said_in_words_of_ours(call, words):
    with pytest.raises(RouterError) as caught:
        call()
    assert words in str(caught.value)
    assert not any(theirs in str(caught.value) for theirs in PYDANTIC)


@pytest.mark.parametrize("strategy", ["thompson", "heuristic"])
def test_a_strategys_setting_is_found_by_its_own_names(strategy, store_path):
    with pytest.raises(RouterError, match=f"strategy '{strategy}': .*there is no such key"):
        Router(["a"], [strategy], store_path, strategy={strategy: {"nosuchkeyatall": 1}})


def test_models_that_are_no_models_of_ours_are_said_without_a_hint():
    with pytest.raises(ValidationError) as caught:
        RouterConfig(colour=1)
    (fault,) = caught.value.errors()
    assert fault_words(fault, models_called("nothing is called so")) == "there is no such key"
