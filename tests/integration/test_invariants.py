"""What is not negotiable: probabilities are sampled as logged, learning follows outcomes, nothing is lost silently."""

import math
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import NoEligibleAgentError, StoreUnavailableError
from router_sdk.plugin import Proposal, Strategy, StrategyConfig
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")
INVOICE = Task(task_type="invoice")
CHI_SQUARE_2_DOF = 13.8  # exceeded with a chance of 0.001


class Scripted(Strategy):
    """Answers what the test tells it to."""

    name = "scripted"

    def __init__(self, answer, tmp_path) -> None:
        super().__init__(StrategyConfig(), make_services(tmp_path))
        self.answer = answer

    def propose(self, task, agents, context):
        return self.answer(task, agents)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "router.db"


def count_rows(path, table: str, decision_id: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        query = f"SELECT count(*) FROM {table} WHERE decision_id = ?"
        return connection.execute(query, (decision_id,)).fetchone()[0]


# -- strategies return probabilities; the router samples


def test_agents_are_drawn_as_often_as_the_logged_propensities_say(tmp_path) -> None:
    strategy = Scripted(lambda task, agents: Proposal({"billing": 0.7, "fraud": 0.3, "sales": 0.0}), tmp_path)
    expected = {"billing": 0.656, "fraud": 0.304, "sales": 0.04}  # 0.12 / 3 each, and 0.88 of what was proposed
    with Router(AGENTS, [strategy], ":memory:", epsilon=0.12, seed=3) as router:
        decisions = [router.route("who?") for _ in range(6_000)]
    for decision in decisions:
        assert decision.probabilities == pytest.approx(expected)
        assert decision.propensity == decision.probabilities[decision.agent]
        assert decision.explored == (decision.agent != "billing")
    drawn = Counter(decision.agent for decision in decisions)
    chi_square = sum((drawn[name] - 6_000 * share) ** 2 / (6_000 * share) for name, share in expected.items())
    assert chi_square < CHI_SQUARE_2_DOF


def test_propensities_that_change_with_every_task_are_right_too(tmp_path) -> None:
    def by_length(task, agents):
        share = len(task.text) % 10 / 10
        return Proposal({"billing": share, "fraud": (1 - share) / 2, "sales": (1 - share) / 2})

    with Router(AGENTS, [Scripted(by_length, tmp_path)], ":memory:", seed=4) as router:
        decisions = router.route_batch(["x" * (length % 37 + 1) for length in range(6_000)])
    for name in AGENTS:  # counted by inverse propensity, every agent was drawn at every decision
        weights = [1 / decision.propensity if decision.agent == name else 0.0 for decision in decisions]
        mean = math.fsum(weights) / len(weights)
        deviation = math.sqrt(math.fsum((weight - mean) ** 2 for weight in weights)) / len(weights)
        assert abs(mean - 1) < 4 * deviation


@pytest.mark.parametrize(("epsilon", "least"), [(0.02, 0.02 / 3), (0.3, 0.1), (1.0, 1 / 3), (0.0, 0.0)])
def test_nobody_falls_below_the_floor(tmp_path, epsilon, least) -> None:
    certain = Scripted(lambda task, agents: Proposal({name: float(name == "fraud") for name in agents.names}), tmp_path)
    with Router(AGENTS, [certain], ":memory:", epsilon=epsilon, seed=0) as router:
        decision = router.route("who?")
        assert min(decision.probabilities.values()) == pytest.approx(least)
        assert math.fsum(decision.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
        alone = router.route("who?", exclude={"billing", "sales"})
        assert (alone.agent, alone.propensity, alone.explored) == ("fraud", 1.0, False)
        with pytest.raises(NoEligibleAgentError):
            router.route("who?", exclude=set(AGENTS))


def test_what_is_on_disk_is_what_was_drawn_from(path) -> None:
    with Router(AGENTS, ["thompson"], path, seed=0) as router:
        drawn = [router.route(f"task {number}") for number in range(20)]
        for decision in drawn:
            logged = router.decision(decision.decision_id)
            assert (logged.agent, logged.propensity) == (decision.agent, decision.propensity)
            assert logged.probabilities == pytest.approx(decision.probabilities, abs=1e-6)


# -- learning follows outcomes, not choices


def test_a_favourite_that_fails_again_and_again_loses_the_traffic(path) -> None:
    with Router(AGENTS, ["thompson"], path, seed=5) as router:
        for _ in range(40):
            router.observe(INVOICE, "billing", Outcome(success=True))
            router.observe(INVOICE, "fraud", Outcome(quality=0.6))
        router.flush()
        before = router.route(INVOICE).probabilities["billing"]
        for _ in range(120):
            decision = router.route(INVOICE)
            router.record(decision, Outcome(success=decision.agent != "billing"))
        router.flush()
        for _ in range(60):
            router.observe(INVOICE, "billing", Outcome(success=False))
        router.flush()
        after = router.route(INVOICE).probabilities["billing"]
    assert before > 0.9
    assert after < 0.1


def test_a_choice_without_an_outcome_teaches_nothing(path) -> None:
    with Router(AGENTS, ["thompson"], path, seed=6, batch_events=1) as router:
        for name, quality in zip(AGENTS, (0.9, 0.5, 0.4), strict=True):
            for _ in range(5):
                router.observe(INVOICE, name, Outcome(quality=quality))
        router.flush()
        before, learnt = router.route(INVOICE).probabilities, router.status()["strategies"][0]["agents"]
        for _ in range(500):
            router.route(INVOICE)
        router.flush()
        assert router.route(INVOICE).probabilities == before
        assert router.status()["strategies"][0]["agents"] == learnt
        assert router.statistics()["total_examples"] == 15


# -- record() returns only when the outcome is on disk


def test_an_acknowledged_outcome_can_be_read_by_anybody_at_once(path) -> None:
    with Router(AGENTS, ["thompson"], path) as router:
        for _ in range(20):
            decision = router.route("a task")
            router.record(decision, Outcome(success=True))
            assert count_rows(path, "decisions", decision.decision_id) == 1
            assert count_rows(path, "outcomes", decision.decision_id) == 1


@contextmanager
def no_file_may_grow_beyond(size: int):
    """A full disk, as far as this process can tell."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_outcome_that_cannot_be_written_is_refused_and_routing_goes_on(path) -> None:
    with Router(AGENTS, ["thompson"], path) as router:
        before = router.route("a task")
        router.record(before, Outcome(success=True))
        with no_file_may_grow_beyond(path.with_name("router.db-wal").stat().st_size):
            refused = router.route("a task")
            with pytest.raises(StoreUnavailableError, match="again"):
                router.record(refused, Outcome(success=True, response="x" * 100_000))
        assert count_rows(path, "outcomes", refused.decision_id) == 0
        router.record(refused, Outcome(success=False))
        router.flush()
        assert count_rows(path, "outcomes", refused.decision_id) == 1
        assert count_rows(path, "decisions", refused.decision_id) == 1
        assert router.statistics()["total_examples"] == 2


def test_decisions_beyond_a_full_queue_say_so_are_counted_and_can_still_be_recorded(path) -> None:
    with Router(AGENTS, ["thompson"], path, queue_size=1) as router, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody can commit; one decision may be under way, one may wait
        decisions = [router.route("a task") for _ in range(10)]
        unlogged = [decision for decision in decisions if not decision.logged]
        assert 8 <= len(unlogged) <= 9
        assert router.status()["queue"]["unlogged"] == len(unlogged)
        other.execute("ROLLBACK")
        router.record(unlogged[0], Outcome(success=True))
        router.flush()
        assert count_rows(path, "decisions", unlogged[0].decision_id) == 1
        assert count_rows(path, "decisions", unlogged[1].decision_id) == 0
