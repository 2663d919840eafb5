"""Does a confidence of .8 come to .8? What strategies say, and what is made of it, on CLINC150 with bandit feedback.

Every decision of a stream counts, from the first: the confidence of the favourite against what the favourite would have
earned, whoever was drawn. "said" is the strategy's own confidence, "calibrated" is ``decision.confidence``. Ten bins of
equal mass; the Brier score is the mean squared distance from the reward.
CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0.

    python benchmarks/calibration.py [--seeds 3] [--first-seed 0] [--who bert] [--only ten] [--rounds 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from embedded import encoded_before
from feedback_players import ROUND_S, Chain, opened, outcome_of
from feedback_streams import KINDS, FeedbackStream, examples_first, of_kind, vectors_of
from few_shot import separation
from routing import DATA

from router_sdk import Agent
from router_sdk.evaluation.classification import expected_calibration_error
from router_sdk.routing.sampling import UNIFORM

BINS = 10
WHO: Mapping[str, Chain] = {"bert": ["bert"], "thompson": ["thompson"], "heuristic": ["heuristic"], "as shipped": None}
STREAMS: Mapping[str, Callable[[int], FeedbackStream]] = {
    "ten agents": examples_first,
    **{f"six agents, {name}": lambda seed, kind=kind: of_kind(kind, seed) for name, kind in KINDS.items()},  # type: ignore[misc]
}


def played(stream: FeedbackStream, chain: Chain, seed: int) -> Any:
    """What was said, what was made of it, and what the favourite earned, by decision, shape ``(n, 3)``."""
    agents = [Agent(name, examples=stream.examples.get(name, [])) for name in stream.agents]
    place_of = {name: place for place, name in enumerate(stream.agents)}
    told = []
    with opened(agents, chain, seed) as (router, clock):
        for turn, text in enumerate(stream.texts):
            clock.now += ROUND_S
            decision = router.route(text)
            drawn = decision.distribution
            if drawn.favourite >= 0 and drawn.confidence is not None and decision.strategy != UNIFORM:
                earned = stream.rewards[turn, place_of[drawn.agents.names[drawn.favourite]]]
                raw = drawn.confidence if drawn.raw_confidence is None else drawn.raw_confidence
                told.append((raw, drawn.confidence, earned))
            if decision.agent is not None:
                router.record(decision, outcome_of(stream.rewards[turn, place_of[decision.agent]], stream.graded))
    return np.array(told)


def figures(said: Any, came: Any) -> tuple[float, float, float]:
    """ECE, Brier score, and the area under the ROC curve of rewards above their middle."""
    good = came > (came.min() + came.max()) / 2.0
    area = separation(said[~good], said[good]) if good.any() and not good.all() else float("nan")
    error = expected_calibration_error(said.tolist(), came.tolist(), bins=BINS, adaptive=True)
    return float(error or 0.0), float(np.mean((said - came) ** 2)), area


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each stream and strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--who", default="", help="comma-separated parts of strategies' names")
    parser.add_argument("--only", default="ten", help="comma-separated parts of streams' names (default: ten agents)")
    parser.add_argument("--rounds", type=int, default=0, help="most rounds of a stream")
    given = parser.parse_args(argv)
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    print(f"seeds {seeds.start} to {seeds.stop - 1}")
    print(f"{'stream':28} {'strategy':12} {'decisions':>9}   ECE said > calibrated   Brier            AUROC")
    with encoded_before(vectors_of("clinc150")):
        for name, make in STREAMS.items():
            if not any(part in name for part in given.only.split(",")):
                continue
            for who, chain in WHO.items():
                if not any(part in who for part in given.who.split(",")):
                    continue
                runs = [make(seed) for seed in seeds]
                runs = [stream.cut(given.rounds) for stream in runs] if given.rounds else runs
                found = np.concatenate([played(stream, chain, seed) for stream, seed in zip(runs, seeds, strict=True)])
                before, after = figures(found[:, 0], found[:, 2]), figures(found[:, 1], found[:, 2])
                pairs = "   ".join(f"{a:.4f} > {b:.4f}" for a, b in zip(before, after, strict=True))
                print(f"{name:28} {who:12} {len(found):9,}   {pairs}", flush=True)


if __name__ == "__main__":
    main()
