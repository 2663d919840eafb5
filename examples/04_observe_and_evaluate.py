"""Learn from what somebody else decided, from labelled data, and measure the result on other data."""

import tempfile
from pathlib import Path

from router_sdk import Agent, Outcome, Router, Task

AGENTS = [Agent("python", description="code in Python"), Agent("sql", description="queries, tables and joins")]
LABELLED = [("sort a list of tuples", "python"), ("left join two tables", "sql"), ("group rows by month", "sql")] * 4


def main() -> None:
    """Play it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Router(agents=AGENTS, store=Path(folder) / "router.db", seed=1) as router,
    ):
        # A person routed these; there is no propensity, and the outcomes teach all the same.
        for number in range(20):
            task = Task(f"slow report {number}", task_type="performance")
            decision = router.observe(task, agent="sql", outcome=Outcome(success=number % 5 != 0))
        print(f"observed: source {decision.source}, propensity {decision.propensity}")
        router.flush()  # waits for the learner; a service need not
        before = router.route(Task("another slow report", task_type="performance"))
        print(f"now {before.strategy} answers for this type, and its favourite is {before.ranking[0]}")

        # Labelled data in and out; None would stand for "no agent fits".
        texts, labels = zip(*LABELLED, strict=True)
        router.fit(texts, labels)
        result = router.evaluate(["join on two keys", "sort by length"], ["sql", "python"])
        print(f"evaluate: accuracy {result.accuracy:.2f} over {result.size} tasks")


if __name__ == "__main__":
    main()
