import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Proposal
from router_sdk.errors import InvalidProposalError
from router_sdk.records import AgentSet
from router_sdk.routing.sampling import finish, uniform

AGENTS = AgentSet([Agent(name) for name in "abc"])
simplex = st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda shares: sum(shares) > 0.01)


@given(simplex, st.floats(0, 1))
def test_the_floor_is_mixed_in_and_everything_sums_to_one(shares, epsilon):
    agents = AgentSet([Agent(f"a{i}") for i in range(len(shares))])
    total = math.fsum(shares)
    given_ = {name: share / total for name, share in zip(agents.names, shares, strict=True)}
    found = finish(Proposal(given_), agents, epsilon, "s")
    kept = epsilon if len(shares) > 1 else 0.0
    assert found.epsilon == kept
    assert math.isclose(math.fsum(found.weights), 1.0, abs_tol=1e-12)
    for name, weight in found.probabilities.items():
        assert weight == pytest.approx(kept / len(shares) + (1 - kept) * given_[name], abs=1e-12)
        assert weight >= kept / len(shares) - 1e-15
    assert given_[agents.names[found.favourite]] == max(given_.values())
    assert found.confidence == pytest.approx(max(given_.values()))


@pytest.mark.parametrize(
    "probabilities",
    [
        {"a": float("nan"), "b": 0.5, "c": 0.5},
        {"a": float("inf"), "b": 0.0, "c": 0.0},
        {"a": -0.1, "b": 0.6, "c": 0.5},
        {"a": 0.5, "b": 0.5},
        {"a": 0.3, "b": 0.3, "c": 0.3},
        {"a": 0.5, "b": 0.3, "c": 0.2, "stranger": 0.0},
        {"a": 0.5, "b": 0.5, "stranger": 0.0},
        {"a": None, "b": 0.5, "c": 0.5},
        {"a": "many", "b": 0.5, "c": 0.5},
        {},
        None,
        7,
    ],
)
def test_what_is_no_distribution_over_the_agents_is_refused(probabilities):
    with pytest.raises(InvalidProposalError):
        finish(Proposal(probabilities), AGENTS, 0.02, "s")


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_outside_0_and_1_is_refused(confidence):
    with pytest.raises(InvalidProposalError, match="confidence"):
        finish(Proposal(dict.fromkeys("abc", 1 / 3), confidence=confidence), AGENTS, 0.0, "s")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused(score):
    with pytest.raises(InvalidProposalError, match="score"):
        finish(Proposal(dict.fromkeys("abc", 1 / 3), scores={"a": score, "b": 1.0, "c": 0.0}), AGENTS, 0.0, "s")


def test_numbers_of_a_model_become_numbers_of_the_log():
    shares = np.array([0.2, 0.3, 0.5], dtype=np.float32)
    proposal = Proposal(dict(zip("abc", shares, strict=True)), confidence=np.float32(0.5))
    found = finish(proposal, AGENTS, 0.02, "s")
    assert type(found.confidence) is float
    assert {type(weight) for weight in found.weights} == {float}


def test_a_finished_proposal_is_not_finished_again_for_the_same_agents_only():
    proposal = Proposal(dict.fromkeys("abc", 1 / 3))
    first = finish(proposal, AGENTS, 0.02, "s")
    assert finish(proposal, AGENTS, 0.02, "s") is first
    with pytest.raises(InvalidProposalError):
        finish(proposal, AgentSet([Agent("a"), Agent("b")]), 0.02, "s")


def test_nobody_fits_is_an_answer_without_weights():
    found = finish(Proposal({}, no_agent_fits=True), AGENTS, 0.5, "s")
    assert (found.weights, found.favourite, found.epsilon, found.confidence) == ((), -1, 0.0, None)


def test_where_nobody_answers_everybody_is_alike():
    assert Counter(uniform(AGENTS).weights) == {1 / 3: 3}
