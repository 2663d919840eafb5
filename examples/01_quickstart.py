"""Route a few requests, say how they went, and see what the router made of it."""

import tempfile
from pathlib import Path

from router_sdk import Agent, Outcome, Router, Task

AGENTS = [
    Agent("billing", description="invoices, charges and refunds", examples=["I was charged twice"]),
    Agent("support", description="logins, errors and how-to questions", examples=["I cannot sign in"]),
    Agent("sales", description="prices, plans and upgrades", examples=["What does the team plan cost?"]),
]


def main() -> None:
    """Play it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Router(agents=AGENTS, store=Path(folder) / "router.db", seed=1) as router,
    ):
        decision = router.route("I want my money back, you charged me twice")
        print(f"{decision.agent} with probability {decision.propensity:.2f}, decided by {decision.strategy}")
        print("ranking:", ", ".join(decision.ranking))
        router.record(decision, Outcome(success=True, quality=0.9, latency_ms=850, cost_usd=0.002))

        # A task can carry a type, features and a session beside its text.
        task = Task("I cannot sign in, error 500", task_type="incident", features={"status": 500}, session_id="s-1")
        decision = router.route(task)
        router.record(decision, Outcome(success=decision.agent == "support"))
        print(f"{task.text!r} went to {decision.agent}")

        # Only scores: nothing is logged, nothing explored.
        for ranked in router.rank("what is the price of a plan?", top_k=2):
            print(f"{ranked.rank}. {ranked.agent}, score {ranked.score:.2f}")
        router.flush()  # until all is learnt; a service need not wait
        print("outcomes in the log:", router.statistics()["total_examples"])


if __name__ == "__main__":
    main()
