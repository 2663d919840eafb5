"""Is the right one among the five that are offered? Thirty agents with CLINC150's 150 skills spread over them.

The router sees 1,500 texts, ten of each skill, and is asked about 1,500 others by ``rank(top_k=5)``, which is what
``router_sdk_openai_agents.narrowed`` offers a model. Once every text's right agent is said (``fit``), and once the
router decides itself and hears only whether its choice was right.

CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from router_sdk import Agent, Outcome, Router

DATA = Path(os.environ.get("ROUTER_BENCH_DATA", Path(__file__).parents[2] / "shared" / "data")) / "clinc150.jsonl.gz"
AGENTS, OFFERED, TAUGHT, ASKED = 30, 5, 1_500, 1_500


def texts(seed: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[Agent]]:
    """What is taught and what is asked, each a text and its agent; and the agents, described by their skills' names."""
    rng = np.random.default_rng(seed)
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["intent"] != "oos"]
    skills = sorted({row["intent"] for row in rows})
    whose = {skill: f"agent {i % AGENTS}" for i, skill in enumerate(rng.permutation(skills))}
    parts = []
    for split, count in (("train", TAUGHT), ("test", ASKED)):
        by_skill = {
            skill: [row["text"] for row in rows if row["split"] == split and row["intent"] == skill] for skill in skills
        }
        each = count // len(skills)
        part = [(text, whose[skill]) for skill in skills for text in rng.permutation(by_skill[skill])[:each]]
        parts.append([part[i] for i in rng.permutation(len(part))])
    known = {name: [skill.replace("_", " ") for skill in skills if whose[skill] == name] for name in whose.values()}
    return parts[0], parts[1], [Agent(name, description=", ".join(found)) for name, found in sorted(known.items())]


def offered(router: Router, asked: Sequence[tuple[str, str]]) -> float:
    """How often the right agent is among those offered."""
    return float(np.mean([right in [one.agent for one in router.rank(text, top_k=OFFERED)] for text, right in asked]))


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each kind of feedback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategies", default="bert,thompson,heuristic")
    given = parser.parse_args(argv)
    if not DATA.is_file():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    taught, asked, agents = texts(given.seed)
    for how in ("nothing learnt", "labelled", "the chosen agent alone"):
        with (
            tempfile.TemporaryDirectory() as folder,
            Router(
                agents, given.strategies.split(","), Path(folder) / "r.db", seed=given.seed, retrain=False
            ) as router,
        ):
            router.warm_up()
            if how == "labelled":
                router.fit([text for text, _ in taught], [right for _, right in taught])
            elif how == "the chosen agent alone":
                for text, right in taught:
                    decision = router.route(text)
                    router.record(decision, Outcome(success=decision.agent == right))
            router.flush()
            print(f"{how:24} {offered(router, asked):.3f} among {OFFERED} of {len(agents)}", flush=True)


if __name__ == "__main__":
    main()
