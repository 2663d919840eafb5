"""Feedback that comes late, in parts, twice, corrected, and from another process: counted once."""

import tempfile
from pathlib import Path

from router_sdk import Agent, Outcome, Router

AGENTS = [
    Agent("fraud", description="stolen cards, unknown payments"),
    Agent("billing", description="invoices, refunds"),
]


def main() -> None:
    """Play it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "router.db"
        with Router(agents=AGENTS, store=store, seed=1) as router:
            decision = router.route("a payment that I do not know", exclude={"fraud"})
            router.record(decision, Outcome(latency_ms=900, cost_usd=0.004))  # what is known at once
            router.record(decision, Outcome(success=True))  # a first verdict …
            router.record(decision, Outcome(success=True))  # … delivered twice
            noted = decision.decision_id
            print(f"{decision.agent} answered; the first verdict was a success")

        # Tomorrow, in another process, only the id is left.
        with Router(agents=AGENTS, store=store, seed=2) as router:
            router.record(noted, Outcome(success=False, feedback=-1.0, correct_agent="fraud"))
            router.flush()
            example = router.examples[-1]
            print(f"joined: reward {example.reward}, label {example.label}, revision {example.revision}")
            print("executions of billing:", {p.agent: p.executions for p in router.agent_performance()}["billing"])


if __name__ == "__main__":
    main()
