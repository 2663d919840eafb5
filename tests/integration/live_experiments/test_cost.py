"""What an experiment costs a decision: little, against the same without one, in turn."""

import time
from statistics import median

from router_sdk import Task

ROUNDS, CALLS, MOST = 60, 200, 1.5
TASKS = [Task(task_type=f"type-{number}") for number in range(8)]


def test_an_experiment_costs_a_decision_little(make_router, tmp_path):
    """The benchmark (``latency.py --only experiment``) measures how little; here twice as much is noticed."""
    plain, arms = (make_router(["thompson"], tmp_path / f"{name}.db") for name in ("plain", "arms"))
    arms.experiments.start("pair", [{"name": "other", "strategies": ["thompson"]}])

    def took(router):
        decide, started = router._parts.decider.decide, time.perf_counter()
        for number in range(CALLS):
            decide(TASKS[number % 8])
        return time.perf_counter() - started

    for router in (plain, arms):
        took(router)
    ratios = [took(arms) / took(plain) for _ in range(ROUNDS)]
    assert median(ratios) < MOST
