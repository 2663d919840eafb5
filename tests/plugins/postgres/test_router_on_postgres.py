"""A whole router on PostgreSQL: it routes, records, learns, is restarted, and two processes are one."""

import subprocess
import sys

import pytest

from router_sdk import Agent, Outcome, Router, Task

pytestmark = pytest.mark.services

AGENTS = [Agent("billing", description="invoices and refunds"), Agent("technical", description="crashes")]
CHAIN = ["thompson", "heuristic"]


def taught(router, right, count=60):
    for number in range(count):
        decision = router.route(Task(f"text {number}", task_type="t", session_id=f"s{number % 7}"))
        router.record(decision, Outcome(success=decision.agent == right, latency_ms=12.5))
    router.flush()


def test_what_was_learnt_is_there_after_a_restart(store_url):
    with Router(AGENTS, CHAIN, store_url, seed=1) as router:
        taught(router, "technical")
        before = router.rank(Task("x", task_type="t"))
        assert router.status()["store"]["decisions"] == 60
    with Router(AGENTS, CHAIN, store_url, seed=1) as router:
        assert router.rank(Task("x", task_type="t")) == before
        assert before[0].agent == "technical"


def test_texts_come_back_as_they_were_given(store_url):
    odd = "a\x00b\ufdd0c \U0001f600 'quoted' \\ $1 ?"
    with Router(AGENTS, CHAIN, store_url, seed=1) as router:
        decision = router.route(Task(odd, features={"x": 0.1, "y": "é\x00"}, session_id="s\x00t"))
        router.record(decision, Outcome(response=odd, feedback_text=odd, metrics={"m": 0.30000000000000004}))
        router.flush()
        (example,) = router.examples
        assert (example.task.text, example.task.features["x"]) == (odd, 0.1)
        assert example.signals.metrics == {"m": 0.30000000000000004}
        assert router.forget("s\x00t") == 1
        assert router.examples[0].task.text == ""


def test_whatever_is_asked_of_the_log_is_answered(store_url):
    """Each statement is one that both engines understand."""
    with Router(AGENTS, CHAIN, store_url, seed=1) as router:
        taught(router, "technical", 5)
        router.streams.status()
        router.status()
        assert len(router.examples.decisions(3)) == len(router.examples.decisions(3, session_id="s1")) + 2
        assert router.examples.decisions(3, tenant="nobody") == []
        assert router.examples.timeline()
        assert [told["agent"] for told in router.examples.alone()]
        router.examples.ask_about(3)
        assert {router.savings(baseline).baseline for baseline in ("best_single", "previous_champion")}
        assert router.statistics()["total_examples"] == 5
        assert router.agent_performance()
        router.models.check_triggers()
        assert router.dead_letters() == []
        assert router.experiments.off_policy_value(strategies=["heuristic"])
        router.snapshot()


PROGRAM = """
import sys
from router_sdk import Agent, Outcome, Router, Task
agents = [Agent("billing", description="invoices and refunds"), Agent("technical", description="crashes")]
with Router(agents, ["thompson", "heuristic"], sys.argv[1], seed=2) as router:
    for number in range(40):
        decision = router.route(Task(f"text {number}", task_type="t"))
        router.record(decision, Outcome(success=decision.agent == "technical"))
"""


def test_two_processes_are_one_router(store_url):
    with Router(AGENTS, CHAIN, store_url, seed=1, batch_events=1) as router:
        subprocess.run([sys.executable, "-c", PROGRAM, store_url], check=True, timeout=120)
        taught(router, "technical", 5)
        assert router.status()["store"]["outcomes"] == 45
        assert router.rank(Task("x", task_type="t"))[0].agent == "technical"
