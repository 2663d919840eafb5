"""How large a number may be; what lies beyond is refused by the field's name, with the bound."""

import pytest

from router_sdk import Agent, Outcome, Task
from router_sdk.errors import InvalidAgentError, InvalidOutcomeError, InvalidTaskError

HUGE = [1e31, -1e31, 1e155, 1e308, 2**63, 10**31, 10**400, 10**5_000, -(10**5_000)]


@pytest.mark.parametrize("value", HUGE, ids=[f"{i}" for i in range(len(HUGE))])
def test_a_feature_beyond_it_is_refused_by_name(value):
    with pytest.raises(InvalidTaskError, match=r"features\.size: .* between -1e\+30 and 1e\+30"):
        Task(features={"kind": "x", "size": value})


@pytest.mark.parametrize("value", [1e30, -1e30, 2**63 - 1, -(2**63), 5e-324, True])
def test_a_feature_within_it_is_taken_as_it_is(value):
    assert Task(features={"size": value}).features == {"size": value}


@pytest.mark.parametrize(
    ("field", "most"), [("cost_usd", 10**9), ("latency_ms", 10**12), ("tokens", 2**53), ("metrics", 10**30)]
)
def test_what_an_outcome_measures_is_bounded(field, most):
    def outcome(value):
        return Outcome(**{field: {"loss": value} if field == "metrics" else value})

    outcome(float(most) if field == "metrics" else most)
    for beyond in (most * 2, 10**5_000):
        with pytest.raises(InvalidOutcomeError, match=field):
            outcome(beyond)
    if field != "tokens":
        with pytest.raises(InvalidOutcomeError, match=f"{field}.*less than or equal to {most}"):
            outcome(most * 2.0)


@pytest.mark.parametrize(("field", "most"), [("cost_usd", 1e9), ("latency_ms", 1e12)])
def test_what_an_agent_says_of_itself_is_bounded(field, most):
    assert getattr(Agent("a", **{field: most}), field) == most
    with pytest.raises(InvalidAgentError, match=field):
        Agent("a", **{field: most * 2})


def test_a_number_that_python_will_not_write_is_described():
    with pytest.raises(InvalidTaskError, match=r"metadata: .*an integer of 16610 bits"):
        Task("x", metadata={"size": 10**5_000})
