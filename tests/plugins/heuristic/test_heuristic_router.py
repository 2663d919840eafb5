"""The strategy at work in a router."""

import pytest

from router_sdk import Agent, Router
from router_sdk.errors import InvalidConfigError, NoEligibleAgentError
from router_sdk.plugin import Task
from router_sdk.testing import sample_agents


def route_with(**settings):
    return Router(
        agents=sample_agents(), strategies=[("heuristic", settings)], store=":memory:", seed=3, learning=False
    )


def test_a_hard_rule_leaves_one_agent_with_propensity_1():
    rule = {"name": "private", "agent": "technical", "keywords": "password", "hard": True}
    with route_with(rules=[rule]) as router:
        for _ in range(50):
            decision = router.route("send the invoice and my password")
            assert (decision.agent, decision.propensity, decision.explored) == ("technical", 1.0, False)
        assert decision.strategy == "heuristic"
        assert "private (keyword 'password')" in str(decision.explain())


def test_a_hard_rule_without_an_eligible_agent_is_an_error_and_never_falls_open():
    rule = {"agent": "technical", "keywords": "password", "hard": True}
    with route_with(rules=[rule]) as router, pytest.raises(NoEligibleAgentError, match="hard rule"):
        router.route("my password", exclude={"technical"})


def test_without_a_hard_rule_the_floor_explores():
    with route_with() as router:
        agents = [router.route("send the invoice again").agent for _ in range(600)]
    # Three other agents at epsilon / k = 0.005 each: 9 of 600 expected, 0 or above 25 in fewer than 1 of 5,000 runs.
    assert 0 < sum(agent != "billing" for agent in agents) <= 25


def test_the_sessions_agents_reach_the_rules():
    rules = [{"agent": "sales", "after": "billing", "weight": 1.0}]
    with route_with(rules=rules) as router:
        first = router.route(Task("the app crashes", session_id="s", history=("billing",)))
        assert first.ranking[0] == "sales"
        assert router.route(Task("the app crashes", session_id="t")).ranking[0] == "technical"


def test_agents_that_come_and_go_are_found_by_their_texts():
    with route_with() as router:
        router.add_agent(Agent("travel", description="flights and hotels", examples=["book a flight to Rome"]))
        assert router.rank("book me a flight")[0].agent == "travel"
        router.remove_agent("travel")
        assert "travel" not in [ranked.agent for ranked in router.rank("book me a flight")]


def test_nothing_to_go_on_is_left_to_chance():
    with route_with() as router:
        decision = router.route("zzzz")
    assert decision.strategy == "uniform"
    assert [step.reason for step in decision.skipped] == ["abstained"]


@pytest.mark.parametrize(
    "settings", [{"rules": [{"agent": "a", "regex": "("}]}, {"temperatur": 1}, {"temperature": 0.0}]
)
def test_a_bad_setting_fails_at_construction(settings):
    with pytest.raises(InvalidConfigError, match="heuristic"):
        route_with(**settings)
