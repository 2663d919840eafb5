import asyncio
import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import InvalidInputError, NoEligibleAgentError, UnknownAgentError
from router_sdk.plugin import Proposal
from router_sdk.store.rows import MOST_EXCLUDED

from ..doubles import Counting, Fixed

EPSILON = 0.3
POOL = ("a", "b", "c", "d", "e")
PRICED = [Agent("cheap", cost_usd=0.001, latency_ms=10.0), Agent("dear", cost_usd=5.0, latency_ms=900.0), "unpriced"]

figures = st.none() | st.sampled_from([0.0, 1.0, 2.0, 3.0])
records = st.fixed_dictionaries(
    {"cost_usd": figures, "latency_ms": figures, "enabled": st.booleans(), "sql": st.booleans()},
)


@pytest.fixture(scope="module")
def router():
    """Whoever comes first in the order of names is the favourite, with certainty."""

    def first(task, agents, context):
        return Proposal(dict.fromkeys(agents.names, 0.0) | {min(agents.names): 1.0})

    with Router(POOL, [Fixed(first)], ":memory:", epsilon=EPSILON, seed=1, learning=False) as router:
        yield router


def oracle(agents, task, exclude):
    """Who may be chosen, said as plainly as can be."""
    left = [agent for agent in agents if agent.enabled and task.requires <= agent.capabilities]
    left = [agent for agent in left if agent.name not in exclude]
    for most, figure in ((task.max_cost_usd, "cost_usd"), (task.max_latency_ms, "latency_ms")):
        if most is not None:
            known = [agent for agent in left if getattr(agent, figure) is not None]
            keeping = [agent for agent in known if getattr(agent, figure) <= most]
            left = keeping or [agent for agent in left if agent not in known]
    return {agent.name for agent in left}


@given(
    st.lists(records, min_size=len(POOL), max_size=len(POOL)),
    st.fixed_dictionaries({"max_cost_usd": figures, "max_latency_ms": figures}),
    st.sets(st.sampled_from(POOL)),
    st.booleans(),
)
def test_probabilities_are_of_those_who_may_and_the_floor_is_theirs(router, told, limits, exclude, needs_sql):
    agents = [
        Agent(name, capabilities={"sql"} if sql else (), **record)
        for name, record in zip(POOL, told, strict=True)
        for sql in [record.pop("sql")]
    ]
    router._parts.members.publish(agents)
    task = Task("x", requires={"sql"} if needs_sql else (), **limits)
    expected = oracle(agents, task, exclude)
    if not expected:
        for ask in (router.route, router.rank, lambda *a, **k: router.route_batch([task], **k)):
            with pytest.raises(NoEligibleAgentError):
                ask(task, exclude=exclude)
        return
    floor = EPSILON / len(expected) if len(expected) > 1 else 0.0
    favourite = min(expected)
    wanted = {name: floor + (name == favourite) * (1.0 - floor * len(expected)) for name in expected}
    for decision in (
        router.route(task, exclude=exclude),
        *router.route_batch([task, "y", task], exclude=exclude)[::2],
        asyncio.run(router.aroute(task, exclude=exclude)),
    ):
        assert decision.probabilities == pytest.approx(wanted)
        assert decision.propensity == decision.probabilities[decision.agent]
        assert set(decision.excluded) == set(POOL) - expected
    assert {one.agent: one.probability for one in router.rank(task, exclude=exclude)} == pytest.approx(wanted)


@pytest.mark.parametrize("batch", [False, True])
def test_the_dear_one_never_gets_it_however_much_the_strategy_wants_it(make_router, batch):
    router = make_router([Fixed({"dear": 1.0, "cheap": 0.0})], agents=PRICED, epsilon=0.5)
    task = Task("review this contract", max_cost_usd=0.01)
    decisions = router.route_batch([task] * 50) if batch else [router.route(task) for _ in range(50)]
    assert {decision.agent for decision in decisions} == {"cheap"}
    assert {decision.propensity for decision in decisions} == {1.0}
    with router.handle(task) as call:
        assert call.agent == "cheap"


def test_what_outcomes_report_is_a_price_where_none_is_stated(make_router):
    def who(router):
        router.flush()
        return set(router.route(Task("x", max_cost_usd=1.0)).probabilities)

    router = make_router([Counting], agents=["one", "two", "three"])
    assert who(router) == {"one", "two", "three"}
    first = router.observe("x", "one", Outcome(success=True, cost_usd=0.5))
    router.observe("y", "two", Outcome(success=True, cost_usd=4.0))
    assert who(router) == {"one"}
    router.observe("x", "one", Outcome(cost_usd=2.5))  # 1.5 on average
    assert who(router) == {"three"}
    router.record(first, Outcome(cost_usd=-0.0))  # corrected: 1.25
    router.observe("z", "one", Outcome(cost_usd=0.0))
    assert who(router) == {"one"}
    router.close()
    router = make_router([Counting], agents=["one", "two", "three"])
    assert who(router) == {"one"}
    said = router.route(Task("x", max_cost_usd=1.0)).excluded
    assert said["two"] == "beyond max_cost_usd, as measured"
    router.add_agent("two", fresh=True)
    router.observe("y", "two", Outcome(cost_usd=0.1))
    assert who(router) == {"one", "two"}
    router.record(first, Outcome(agent="three", cost_usd=9.0))  # it was not "one" after all: 1.25 again
    assert who(router) == {"two"}
    router.add_agent(Agent("two", cost_usd=7.0))  # what is stated counts
    with pytest.raises(NoEligibleAgentError, match=r"max_cost_usd=1 leaves nobody: the least is 1\.25, of 'one'"):
        who(router)


def test_the_log_says_who_was_left_out_and_why(make_router, store_path):
    router = make_router([Fixed(None, "silent"), Counting], agents=[*PRICED, Agent("off", enabled=False)])
    plain = router.route("x")
    assert plain.excluded == {"off": "disabled"}
    decision = router.route(Task("x", max_cost_usd=0.01), exclude="off")
    wanted = {
        "off": "disabled",
        "dear": "beyond max_cost_usd",
        "unpriced": "cost_usd is not known, and others keep max_cost_usd",
    }
    assert decision.excluded == decision.explain()["excluded"] == decision.to_dict()["excluded"] == wanted
    read = router.decision(decision.decision_id)
    assert (read.excluded, read.skipped) == (wanted, decision.skipped)
    assert router.decision(plain.decision_id).excluded == {"off": "disabled"}
    assert {step["strategy"] for step in router.status()["passed"]} == {"silent"}
    router.set_health("cheap", healthy=False)
    assert router.route("x").excluded == {"off": "disabled", "cheap": "unhealthy"}
    router.close()
    with sqlite3.connect(store_path) as connection:
        (notes,) = connection.execute("SELECT skipped FROM decisions ORDER BY seq LIMIT 1").fetchone()
    connection.close()
    assert json.loads(notes) == [["silent", "abstained"], {"excluded": {"disabled": ["off"]}}]


def test_where_everybody_is_eligible_nothing_is_written_of_it(make_router, store_path):
    router = make_router([Counting])
    assert router.route("x").excluded == {}
    router.close()
    with sqlite3.connect(store_path) as connection:
        assert connection.execute("SELECT skipped FROM decisions").fetchall() == [(None,)]
    connection.close()


def test_a_row_names_so_many_of_those_left_out_and_no_more(make_router):
    many = [Agent(f"a{number}", cost_usd=float(number)) for number in range(MOST_EXCLUDED + 50)]
    router = make_router([Counting], agents=many)
    decision = router.route(Task("x", max_cost_usd=0.5))
    assert len(decision.excluded) == len(many) - 1
    assert len(router.decision(decision.decision_id).excluded) == MOST_EXCLUDED


def test_a_name_to_exclude_that_is_nobodys_is_an_error(make_router):
    router = make_router([Counting])
    for ask in (
        lambda: router.route("x", exclude=["coder", "codr"]),
        lambda: router.route("x", exclude="codr"),
        lambda: router.route_batch(["x"], exclude={"codr"}),
        lambda: router.rank("x", exclude={"codr"}),
        lambda: asyncio.run(router.aroute("x", exclude={"codr"})),
        lambda: router.route("x", exclude={"codr"}, idempotency_key="k"),
        lambda: router.handle("x", exclude={"codr"}).__enter__(),
    ):
        with pytest.raises(UnknownAgentError, match="exclude: no agent is called 'codr'"):
            ask()
    with pytest.raises(UnknownAgentError, match="exclude"):
        router.route("x", exclude=[5])
    for wrong in (5, [["coder"]]):
        with pytest.raises(InvalidInputError, match="exclude: expected agents' names"):
            router.route("x", exclude=wrong)


def test_who_was_there_once_or_is_elsewhere_may_be_excluded(make_router):
    router = make_router([Counting])
    router.remove_agent("coder")
    assert set(router.route("x", exclude=["coder", "billing"]).probabilities) == {"analyst"}
    make_router([Counting], agents=["theirs"])
    assert "theirs" not in router.route("x", exclude=["theirs"]).probabilities
