import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent
from router_sdk.errors import InvalidAgentError
from router_sdk.records import AgentSet


@pytest.mark.parametrize(
    "name",
    [
        "",
        " a",
        "a ",
        "../etc/passwd",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "a/.b",
        "a\\b",
        ".hidden",
        "a\nb",
        "a\x00b",
        "x" * 201,
    ],
)
def test_a_name_that_cannot_serve_everywhere_is_refused(name):
    with pytest.raises(InvalidAgentError, match="name"):
        Agent(name)


@pytest.mark.parametrize(
    "name", ["openai/gpt-5", "ft:gpt-4o:org::id", "@cf/meta/llama-3.1", "models/a.b", "客服", "x y"]
)
def test_names_as_models_have_them_can_serve(name):
    assert Agent(name).name == name


def test_a_name_has_one_unicode_form_and_is_measured_in_it():
    assert Agent("cafe\u0301") == Agent("café")
    assert Agent("e\u0301" * 200, capabilities=["re\u0301gler", "régler"]).capabilities == {"régler"}
    with pytest.raises(InvalidAgentError, match="unique"):
        AgentSet([Agent("café"), Agent("cafe\u0301")])


@pytest.mark.parametrize(
    "fields",
    [
        {"cost_usd": -1.0},
        {"cost_usd": float("nan")},
        {"latency_ms": float("inf")},
        {"latency_ms": "soon"},
        {"success_rate": 1.5},
        {"capabilities": "sql"},
        {"enabled": "perhaps"},
        {"examples": ["x" * 1_000_001]},
        {"metadata": {"x": float("nan")}},
        {"metadata": {"x": "\ud800"}},
        {"metadata": {"x": object()}},
        {"metadata": {"x": "y" * 1_000_001}},
        {"colour": "red"},
    ],
)
def test_a_malformed_field_is_named(fields):
    with pytest.raises(InvalidAgentError, match=next(iter(fields))):
        Agent("a", **fields)


@pytest.mark.parametrize("value", [{}, {"description": "nameless"}, {1: 2}, {"name": 5}, 5, None, ["a"]])
def test_what_is_no_agent_is_refused_with_the_named_error(value):
    with pytest.raises(InvalidAgentError):
        Agent.of(value)


def test_a_long_value_is_not_echoed():
    with pytest.raises(InvalidAgentError) as caught:
        Agent("a", description="secret" * 200_000)
    assert len(str(caught.value)) < 500


def test_names_mappings_and_records_are_agents():
    agent = Agent("a", examples=["x"])
    assert Agent.of("a") == Agent("a")
    assert Agent.of({"name": "a", "utterances": ["x"]}) == agent
    assert Agent.of(agent) is agent


def test_a_record_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Agent("a").description = "other"


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, max_size=8))
def test_a_set_keeps_its_order_and_is_known_by_its_names_alone(names):
    agents = AgentSet([Agent(name) for name in names])
    assert [agent.name for agent in agents] == names == list(agents.names)
    assert all(
        agents.get(name).name == name and name in agents and agents[i].name == name for i, name in enumerate(names)
    )
    assert agents.get("none") is None
    assert AgentSet([Agent(name, description="other") for name in names]).set_id == agents.set_id
    assert 0 <= agents.set_id < 2**63
    if len(names) > 1:
        assert AgentSet(list(agents)[::-1]).set_id != agents.set_id
    assert pickle.loads(pickle.dumps(agents)).names == agents.names


def test_a_set_refuses_two_agents_of_one_name():
    with pytest.raises(InvalidAgentError, match="'a'"):
        AgentSet([Agent("a"), Agent("b"), Agent("a")])
