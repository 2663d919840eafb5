"""Two answers as one: a distribution again, in which a tenant's own counts the more the more it was taught."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Task
from router_sdk.plugin import Proposal
from router_sdk.records import AgentSet
from router_sdk.routing.pooling import TAKEOVER, Tenants, pooled
from router_sdk.routing.sampling import finish

from ..doubles import Fixed

AGENTS = AgentSet([Agent("a"), Agent("b"), Agent("c")])


@st.composite
def proposals(draw):
    parts = draw(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any))
    probabilities = {name: part / sum(parts) for name, part in zip(AGENTS.names, parts, strict=True)}
    scores = draw(st.none() | st.just({name: 3.0 * share for name, share in probabilities.items()}))
    return Proposal(probabilities, scores, draw(st.none() | st.floats(0, 1)), draw(st.none() | st.just({"n": 1})))


@given(mine=proposals(), theirs=proposals(), weight=st.floats(0, 1))
def test_two_distributions_are_one(mine, theirs, weight):
    both = pooled(mine, weight, theirs)
    drawn = finish(both, AGENTS, 0.0, "both")  # it sums to 1, and its confidence lies in [0, 1]
    for name in AGENTS.names:
        share = weight * mine.probabilities[name] + (1 - weight) * theirs.probabilities[name]
        assert drawn.probabilities[name] == pytest.approx(share, abs=1e-9)
    assert (both.scores is None) == (mine.scores is None or theirs.scores is None)
    assert both.evidence()["own"] == dict(mine.evidence or {})


def test_confidence_is_what_each_says_of_the_favourite_of_both():
    mine = Proposal({"a": 0.9, "b": 0.1, "c": 0.0}, confidence=0.6)
    theirs = Proposal({"a": 0.2, "b": 0.8, "c": 0.0}, confidence=0.7)
    assert pooled(mine, 0.75, theirs).confidence == pytest.approx(0.75 * 0.6 + 0.25 * 0.2)
    assert pooled(mine, 0.25, theirs).confidence == pytest.approx(0.25 * 0.1 + 0.75 * 0.7)
    assert pooled(Proposal(mine.probabilities), 0.5, Proposal(theirs.probabilities)).confidence is None


def test_who_abstains_leaves_it_to_the_other():
    one = Proposal({"a": 1.0, "b": 0.0, "c": 0.0})
    assert pooled(None, 0.9, one) is pooled(one, 0.1, None) is one
    assert pooled(None, 0.5, None) is None


def test_whether_anybody_fits_is_the_heavier_ones_word():
    nobody, one = Proposal({}, no_agent_fits=True), Proposal({"a": 1.0, "b": 0.0, "c": 0.0})
    assert pooled(nobody, 0.5, one) is nobody
    assert pooled(nobody, 0.4, one) is one
    assert pooled(one, 0.6, nobody) is one


class Known:
    """States of some tenants: answers and how many outcomes each was taught."""

    def __init__(self, **states):
        self.states = states

    def of(self, tenant):
        return self.states.get(tenant)


def state(answer, outcomes):
    return SimpleNamespace(strategy=Fixed(answer), outcomes=outcomes)


@pytest.mark.parametrize(("takeover", "weights"), [(TAKEOVER["prior"], [0.5, 0.25, 0.75]), (0.0, [1.0, 1.0, 1.0])])
def test_own_outcomes_take_over(takeover, weights):
    known = Known(acme=state({"a": 1.0}, 30), globex=state({"b": 1.0}, 10), initech=state({"c": 1.0}, 90))
    tenants = Tenants(known, Fixed({"a": 0.25, "b": 0.5, "c": 0.25}), takeover)
    tasks = [Task("x", tenant=tenant) for tenant in ("acme", None, "globex", "initech", "new", "acme")]
    single = [tenants.propose(task, AGENTS, None) for task in tasks]
    shared = tenants.propose(Task("x"), AGENTS, None).probabilities
    assert single[1].probabilities == single[4].probabilities == shared
    for place, name, weight in ((0, "a", weights[0]), (2, "b", weights[1]), (3, "c", weights[2])):
        expected = {one: (1 - weight) * shared[one] + weight * (one == name) for one in AGENTS.names}
        assert single[place].probabilities == pytest.approx(expected)
    together = tenants.propose_batch(tasks, AGENTS, [None] * 6)
    assert [one.probabilities for one in together] == [one.probabilities for one in single]


def test_with_no_takeover_what_all_have_taught_is_not_asked():
    def fails(task, agents, context):
        raise AssertionError("asked")

    tenants = Tenants(Known(acme=state({"a": 1.0}, 0)), Fixed(fails), TAKEOVER["separate"])
    assert tenants.propose(Task("x", tenant="acme"), AGENTS, None).probabilities["a"] == 1.0
    assert len(tenants.propose_batch([Task("x", tenant="acme")] * 2, AGENTS, [None] * 2)) == 2


def test_a_batch_that_is_not_answered_whole_is_an_error():
    own = state({"a": 1.0}, 1)
    own.strategy.propose_batch = lambda tasks, agents, contexts: []
    tenants = Tenants(Known(acme=own), Fixed({"a": 1.0}), 1.0)
    with pytest.raises(ValueError, match="0 answers for 1 tasks"):
        tenants.propose_batch([Task("x", tenant="acme")], AGENTS, [None])
