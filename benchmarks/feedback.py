"""What the router learns from every kind of feedback, as shipped, beside its strategies alone and its peers.

Every contestant of a part sees the same texts in the same order, rewards that were drawn before anybody chose, each
outcome before the next text, and the same exploration floor; peers see the vectors of the default encoder, in int8 as
it serves. A figure is the mean over the seeds; in brackets stands its distance to the best of the column, seed by seed,
with the 95 % interval. Progress is told on standard error.
CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0. Nine models: ulab-uiuc/LLMRouter, MIT.

    python benchmarks/feedback.py --only kinds --seeds 8 [--first-seed 0] [--rows 1/0,.10/.01] [--who shipped,VW]
                                  [--rounds 3000] [--out figures.json]

Parts: kinds (seven kinds of reward), models (nine models: bandit).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bandit_peers import MissingError, installed
from embedded import encoded_before
from feedback_players import BOUNDS, CELLS, EVERYBODY, Contestant, Played
from feedback_streams import KINDS, FeedbackStream, StreamOf, models, of_kind, vectors_of
from feedback_tables import Results
from routing import DATA

LAST = 1_000


@dataclass(frozen=True)
class Run:
    """What was asked for.

    Attributes:
        results: Where figures go.
        seeds: Of the streams and of all contestants.
        rows: Which rows of a part; empty for all.
        who: Which contestants, by a part of their names; empty for all.
        rounds: Most rounds; 0 for as many as the part has.
    """

    results: Results
    seeds: range
    rows: Sequence[str] = ()
    who: Sequence[str] = ()
    rounds: int = 0

    def wanted(self, contestants: Mapping[str, Contestant]) -> dict[str, Contestant]:
        """Those that were asked for."""
        return {
            name: play for name, play in contestants.items() if not self.who or any(part in name for part in self.who)
        }

    def play(
        self,
        part: str,
        streams: Mapping[str, StreamOf],
        contestants: Mapping[str, Contestant],
        measure: Callable[[FeedbackStream, Played], dict[str, float]],
    ) -> None:
        """Every contestant on every stream with every seed."""
        for row, stream_of in streams.items():
            if self.rows and row not in self.rows:
                continue
            for seed in self.seeds:
                stream = stream_of(seed)
                if self.rounds:
                    stream = stream.cut(self.rounds)
                for name, contestant in self.wanted(contestants).items():
                    started = time.perf_counter()
                    try:
                        played = contestant(stream, seed)
                    except MissingError as error:
                        self.results.note(f"{name}: {error}")
                        continue
                    spent = 1e3 * (time.perf_counter() - started) / len(stream.texts)
                    answered = {f"answered by {who}": share for who, share in (played.answered or {}).items()}
                    self.results.add(part, row, name, seed, **measure(stream, played), ms=spent, **answered)
                    self._calibration(part, row, name, seed, stream, played)

    def _calibration(self, part: str, row: str, name: str, seed: int, stream: FeedbackStream, played: Played) -> None:
        """What was said of the favourite, and what it would have earned."""
        if played.confidence is None:
            return
        told = np.flatnonzero(played.favourite >= 0)
        came = stream.rewards[told, played.favourite[told]]
        self.results.said(part, row, name, seed, played.confidence[told], came)


def earned(stream: FeedbackStream, played: Played) -> np.ndarray:
    """The reward of every round, shape ``(n,)``; 0 where nobody got the text."""
    turns = np.arange(len(stream.texts))
    return np.where(played.chosen >= 0, stream.rewards[turns, played.chosen], 0.0)


def right_choices(stream: FeedbackStream, played: Played) -> dict[str, float]:
    """Share of the texts that got the agent that they belong to."""
    right = played.chosen == stream.right
    return {"last": right[-LAST:].mean(), "all": right.mean(), "reward": earned(stream, played).mean()}


def rewards(stream: FeedbackStream, played: Played) -> dict[str, float]:
    """Mean reward up to some rounds, and of the last."""
    found = earned(stream, played)
    upto = {f"first {count:,}": found[:count].mean() for count in (300, 1_000, 2_000)}
    return {**upto, "all": found.mean(), "last": found[-LAST:].mean()}


def kinds(run: Run) -> None:
    """Seven kinds of reward: a text belongs to one of six agents, and success says so more or less clearly."""
    streams = {name: lambda seed, kind=kind: of_kind(kind, seed) for name, kind in KINDS.items()}
    with encoded_before(vectors_of("clinc150")):
        run.play("kinds", streams, EVERYBODY, right_choices)
    columns = [(name, name, "last") for name in KINDS]
    title = "Share of right choices in the last 1,000 rounds, by the mean reward of the right agent and of any other"
    print(run.results.table("kinds", title, columns, bounds=list(BOUNDS)))


def nine_models(run: Run) -> None:
    """Nine models with real scores, cold."""
    with encoded_before(vectors_of("nine_models")):
        run.play("models", {"bandit": models}, EVERYBODY, rewards)
    columns = [(measure, "bandit", measure) for measure in ("first 300", "first 1,000", "first 2,000", "all", "last")]
    title = "Nine models, bandit feedback: mean reward"
    (cells,) = CELLS
    print(run.results.table("models", f"{title}, against the best", columns, bounds=list(BOUNDS)))
    print(run.results.table("models", f"{title}, against the Beta cells", columns, against=cells))


PARTS: dict[str, Callable[[Run], None]] = {"kinds": kinds, "models": nine_models}


def main(argv: Sequence[str] | None = None) -> None:
    """Play the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", default="", help="comma-separated rows of the parts")
    parser.add_argument("--who", default="", help="comma-separated parts of contestants' names")
    parser.add_argument("--rounds", type=int, default=0, help="most rounds of a stream")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures, by seed")
    given = parser.parse_args(argv)
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    conditions = {"peers": installed(), "seeds": list(seeds), "cores": os.cpu_count()}
    rows, who = (tuple(filter(None, told.split(","))) for told in (given.rows, given.who))
    run = Run(Results(given.out, conditions), seeds, rows, who, given.rounds)
    print(f"seeds {seeds.start} to {seeds.stop - 1}; {installed()}")
    for name in given.only.split(","):
        PARTS[name](run)


if __name__ == "__main__":
    main()
