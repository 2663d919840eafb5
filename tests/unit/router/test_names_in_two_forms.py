"""A name is one name in every Unicode form, wherever it comes in."""

import unicodedata

import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import InvalidAgentError, InvalidInputError, InvalidOutcomeError, InvalidTaskError
from router_sdk.plugin import hookimpl

from ..doubles import Counting

COMPOSED = ["café", "crédit"]
APART = [unicodedata.normalize("NFD", name) for name in COMPOSED]


@pytest.fixture
def router(make_router):
    return make_router([Counting], agents=COMPOSED, learn_now=True)


def test_agents_are_known_by_either_form(router):
    assert [agent.name for agent in router.agents] == COMPOSED
    assert router.route("x", exclude=[APART[0]]).agent == "crédit"
    assert router.route("x", exclude=APART[0]).agent == "crédit"
    router.set_health(APART[0], healthy=False)
    assert router.route("x").agent == "crédit"
    router.set_health(APART[0], healthy=True)
    router.record(router.route("x"), Outcome(correct_agent=APART[1], agent=APART[0]))
    assert router.observe("y", APART[0], Outcome(success=True)).agent == "café"
    router.fit(["z"], [APART[1]])
    assert router.evaluate(["z"], [{APART[1]: 1.0, APART[0]: 1.0}]).accuracy == 1.0
    assert {report.agent: report.executions for report in router.agent_performance()} == {"café": 2, "crédit": 1}
    router.add_agent(Agent(APART[0], description="new"))
    assert [agent.description for agent in router.agents if agent.name == "café"] == ["new"]
    router.remove_agent(APART[0])
    assert [agent.name for agent in router.agents] == ["crédit"]


def test_a_plugin_and_a_rule_may_name_an_agent_in_either_form(make_router):
    plugin = type("Plugin", (), {"filter_agents": staticmethod(hookimpl(lambda task, agents: {APART[0]}))})()
    assert make_router([Counting], agents=COMPOSED, plugins=[plugin]).route("x").agent == "café"
    rules = [{"agent": APART[1], "keywords": APART[1], "hard": True}]
    hard = make_router([("heuristic", {"rules": rules})], agents=COMPOSED, store=":memory:")
    decision = hard.route("ÜBER CRÉDIT")
    assert (decision.agent, decision.propensity) == ("crédit", 1.0)


def test_two_forms_of_one_agent_are_refused_side_by_side(store_path):
    with pytest.raises(InvalidAgentError, match="unique"):
        Router([COMPOSED[0], APART[0]], [Counting], store_path)


def test_a_mapping_that_names_one_thing_twice_is_refused(router):
    with pytest.raises(InvalidTaskError, match="two Unicode forms"):
        Task(features={"é": 1, "e\u0301": 2})
    with pytest.raises(InvalidOutcomeError, match="two Unicode forms"):
        Outcome(metrics={"é": 1.0, "e\u0301": 2.0})
    with pytest.raises(InvalidInputError, match="two Unicode forms"):
        router.fit(["x"], [{COMPOSED[0]: 1.0, APART[0]: 0.0}])


@pytest.mark.parametrize("privacy", ["full", "redacted", "hmac", "none"])
def test_sessions_and_keys_are_one_in_either_form(make_router, privacy):
    router = make_router([Counting], privacy=privacy)
    router.record(router.route(Task("x", session_id=APART[0])), Outcome(success=True), outcome_id=APART[0])
    assert router.record_session(COMPOSED[0], Outcome(quality=1.0)) == 1
    assert router.record_session(APART[0], Outcome(quality=1.0)) == 1
    first = router.route("x", idempotency_key=COMPOSED[1])
    assert router.route("x", idempotency_key=APART[1]).decision_id == first.decision_id
    assert router.forget(COMPOSED[0]) == 1


def test_forget_reaches_a_dead_letter_that_spells_the_session_otherwise(router):
    router.dead_letter("outcome", "a line", body=f'{{"session_id": "{APART[0]}"}}')
    router.route(Task("x", session_id=COMPOSED[0]))
    router.forget(COMPOSED[0])
    assert router.dead_letters()[0]["body"] is None


def test_a_text_is_logged_as_it_came_and_compared_in_one_form(router):
    for text in (APART[0], COMPOSED[0]):
        router.record(router.route(text), Outcome(correct_agent="crédit"))
    examples = router.examples[-2:]
    assert [example.task.text for example in examples] == [APART[0], COMPOSED[0]]
    assert len({example.context_hash for example in examples}) == 1
    assert len({example.dedupe_hash for example in examples}) == 1


def test_people_are_asked_about_a_text_once(make_router):
    router = make_router([Counting])
    for text in (APART[0], COMPOSED[0], COMPOSED[0].upper(), "another"):
        router.route(text)
    assert len(router.examples.ask_about()) == 2
