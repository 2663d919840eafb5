"""One experiment from its start to its verdict, on real outcomes: which of nine models should get which question.

What serves goes by the models' descriptions; the challenger learns from what came of its answers. Each question's
score is known for every model (ulab-uiuc/LLMRouter, MIT), so that whoever is chosen has an outcome. docs/experiments.md
shows what this prints. Outcomes come at once here, so that a question closes after a second.

    python benchmarks/worked_experiment.py [--seed 0]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from measuring import scratch
from routing import nine_models

from router_sdk import Agent, Outcome, Router
from router_sdk.cli.app import app

WINDOW_S, PIECE = 1.0, 200


def main(argv: list[str] | None = None) -> None:
    """Play it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="order of the questions (default 0)")
    seed = parser.parse_args(argv).seed
    stream = nine_models(seed)
    agents = [Agent(name, description=stream.descriptions.get(name, "")) for name in stream.agents]
    with scratch(None) as folder:
        routed = play(folder / "router.db", agents, stream, seed)
        print(f"concluded after {routed:,} of {len(stream.texts):,} questions")
        app(["experiments", "show", "learning-pays", "--store", str(folder / "router.db")])


def play(path: Path, agents: list[Agent], stream: object, seed: int) -> int:
    """Route questions until the experiment is concluded; how many."""
    settings = {"outcome_window_hours": WINDOW_S / 3_600, "min_duration_hours": 0.0, "weights": {"quality": 1.0}}
    with Router(agents, ["heuristic"], path, seed=seed, retrain=False) as router:
        router.experiments.start(
            "learning-pays",
            [
                {"name": "learning", "strategies": ["thompson", "heuristic"]},
                {"name": "chance", "strategies": ["thompson"], "learning": False, "shadow": True},
            ],
            challenger_share=0.2,
            **settings,
        )
        for number, (text, rewards) in enumerate(zip(stream.texts, stream.rewards, strict=True)):  # type: ignore[attr-defined]
            decision = router.route(text)
            place = stream.agents.index(decision.agent)  # type: ignore[attr-defined]
            router.record(decision, Outcome(quality=float(rewards[place])))
            if number % PIECE == PIECE - 1:
                time.sleep(WINDOW_S)
                (record,) = router.experiments.look()
                if not record.open:
                    return number + 1
    return len(stream.texts)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
