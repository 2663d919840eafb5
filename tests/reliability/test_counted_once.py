"""Feedback ten times over, before its decision, in parts, corrected, after a restart: counted once."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk import Outcome, Router
from router_sdk.plugins import PluginRegistry
from router_sdk.records import Signals
from router_sdk.rewards import OutcomeReward
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "router.db"


@contextmanager
def open_router(path, agents=AGENTS, **settings: Any) -> Iterator[tuple[Router, Any]]:
    """A router and its Thompson strategy, which counts every observation as one, whatever happens later."""
    thompson = PluginRegistry.load().strategy("thompson")
    strategy = thompson(
        thompson.Config(half_life_s=None, change_threshold=None), make_services(Path(path).with_name("services"))
    )
    with Router(agents, [strategy], path, **settings) as router:
        yield router, strategy


def counts(router: Router, strategy: Any) -> tuple[int, int, float]:
    """Executions in the report, examples in the statistics, and observations in the posterior."""
    router.flush()
    executions = sum(report.executions for report in router.agent_performance())
    mass = sum(tally["mass"] for tally in strategy.report()["agents"].values())
    return executions, router.statistics()["total_examples"], mass


def id_of(router: Router, key: str) -> str:
    """Of the decision that a key will stand for."""
    return router._parts.store.keys.decision_id(key, None)


def test_feedback_ten_times_over_is_counted_once(path) -> None:
    with open_router(path, batch_events=1) as (router, strategy):
        decision = router.route("a task")
        for _ in range(10):
            router.record(decision, Outcome(success=True), outcome_id="the same delivery")
            router.record(decision.decision_id, Outcome(success=True))
        assert counts(router, strategy) == (1, 1, 1.0)
    with open_router(path) as (router, strategy):
        router.record(decision.decision_id, Outcome(success=True), outcome_id="the same delivery")
        router.record(decision.decision_id, Outcome(success=True))
        assert counts(router, strategy) == (1, 1, 1.0)


def test_feedback_before_its_decision_counts_once_the_decision_is_there(path) -> None:
    with open_router(path, batch_events=1) as (router, strategy):
        decision_id = id_of(router, "order-1")
        router.record(decision_id, Outcome(latency_ms=3.0))
        router.record(decision_id, Outcome(quality=0.2))
        router.record(decision_id, Outcome(quality=0.8))
        assert counts(router, strategy) == (0, 0, 0.0)
        assert router.status()["store"]["pending"] == 3
    with open_router(path, batch_events=1) as (router, strategy):
        decision = router.route("a task", idempotency_key="order-1")
        assert decision.decision_id == decision_id
        assert counts(router, strategy) == (1, 1, 1.0)
        router.record(decision, Outcome(success=True))
        assert counts(router, strategy) == (1, 1, 1.0)
        (report,) = [report for report in router.agent_performance() if report.executions]
        assert (report.agent, report.lifetime["reward"], report.lifetime["latency_ms"]) == (decision.agent, 0.8, 3.0)


def test_parts_on_both_sides_of_their_decision_in_one_batch_count_once(path) -> None:
    with open_router(path, batch_events=1_000) as (router, strategy):
        decision_id = id_of(router, "order-1")
        router.record(decision_id, Outcome(success=False))
        router.route("a task", idempotency_key="order-1")
        router.record(decision_id, Outcome(quality=0.25, success=True))
        assert counts(router, strategy) == (1, 1, 1.0)
        (tally,) = strategy.report()["agents"].values()
        assert tally["reward"] == 0.25


part = st.fixed_dictionaries(
    {},
    optional={
        "success": st.booleans(),
        "quality": st.sampled_from([0.0, 0.25, 1.0]),
        "feedback": st.sampled_from([-1.0, 0.5]),
        "latency_ms": st.sampled_from([1.0, 2.0]),
    },
).filter(bool)
event = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 2), part),
    st.tuples(st.just("route"), st.integers(0, 2)),
    st.tuples(st.sampled_from(["flush", "restart"])),
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)
@given(events=st.lists(event, min_size=3, max_size=16))
def test_whatever_the_order_the_newest_parts_count_once(tmp_path_factory, events) -> None:
    path = tmp_path_factory.mktemp("orders") / "router.db"
    chosen: dict[int, str] = {}
    joined: dict[int, Signals] = {}
    with ExitStack() as stack:
        router, strategy = stack.enter_context(open_router(path, batch_events=1))
        for kind, *details in [*events, ("route", 0), ("route", 1)]:
            match kind, details:
                case "record", (number, outcome):
                    router.record(id_of(router, f"decision-{number}"), Outcome(**outcome))
                    joined[number] = joined.get(number, Signals()).updated(Outcome(**outcome).signals())
                case "route", (number,):
                    chosen[number] = router.route("a task", idempotency_key=f"decision-{number}").agent
                case "flush", _:
                    router.flush()
                case "restart", _:
                    stack.close()
                    router, strategy = stack.enter_context(open_router(path, batch_events=3))
        executions, examples, mass = counts(router, strategy)
        learnt = {name: tally["reward"] for name, tally in strategy.report()["agents"].items()}
    told = {number: joined[number] for number in joined.keys() & chosen.keys()}
    rewards = {number: OutcomeReward()(signals, chosen[number]) for number, signals in told.items()}
    rewards = {number: reward for number, reward in rewards.items() if reward is not None}
    assert (executions, examples) == (len(told), len(told))
    assert mass == pytest.approx(len(rewards), abs=1e-9)
    for name in {chosen[number] for number in rewards}:
        expected = math.fsum(reward for number, reward in rewards.items() if chosen[number] == name)
        assert learnt[name] == pytest.approx(expected, abs=1e-9)
