"""Compare a new chain with what serves, on real tasks, until it is shown to be better or not; then let it serve."""

import random
import tempfile
import time
from pathlib import Path

from router_sdk import Agent, Outcome, Router, Task

AGENTS = [
    Agent("billing", description="invoices, refunds and charges", examples=["I was charged twice"]),
    Agent("account", description="passwords and access", examples=["I cannot sign in"]),
    Agent("support", description="everything else"),
]
# What customers write, and how often each agent solves it: what descriptions say is not all there is to know.
WRITTEN = {
    "charge": ("I was charged twice for invoice {}", {"billing": 0.9, "account": 0.2, "support": 0.5}),
    "access": ("I cannot sign in, error {}", {"billing": 0.1, "account": 0.3, "support": 0.9}),
    "cancel": ("please cancel order {}", {"billing": 0.3, "account": 0.1, "support": 0.7}),
}
SHORT_H = 0.5 / 3600  # outcomes come at once here; a day is usual


def main() -> None:
    """Play it."""
    rng = random.Random(5)
    with (
        tempfile.TemporaryDirectory() as folder,
        # Outcomes are learnt at once, because 900 of them come within a second; leave learn_now out where you serve.
        Router(AGENTS, ["heuristic"], store=Path(folder) / "router.db", seed=1, learn_now=True) as router,
    ):
        challenger = {"name": "learning", "strategies": ["thompson", "heuristic"]}
        router.experiments.start(
            "learning-pays", [challenger], challenger_share=0.5, outcome_window_hours=SHORT_H, min_duration_hours=0
        )
        for number in range(900):
            kind = rng.choice(list(WRITTEN))
            text, solves = WRITTEN[kind]
            decision = router.route(Task(text.format(number), task_type=kind, session_id=f"thread-{number}"))
            solved = rng.random() < solves[decision.agent]
            router.record(decision, Outcome(success=solved, quality=float(solved)))
            if number == 0:
                print(f"{decision.arm} decided; a session comes to it with probability {decision.arm_probability:.2f}")

        time.sleep(2 * SHORT_H * 3600)  # until what came of the last sessions counts
        router.experiments.look()  # which otherwise happens by itself
        shown = router.experiments.show("learning-pays")
        print(f"verdict: {shown['status']}, because {shown['reason'].partition(' by ')[0]}")
        decision = router.route(Task("I cannot sign in", task_type="access"))
        print(f"from now on {decision.strategy} answers, here with {decision.ranking[0]}")


if __name__ == "__main__":
    main()
