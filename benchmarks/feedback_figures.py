"""A run of `feedback.py` and its figures: one per contestant and seed, held against the best of a row seed by seed."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from bandit_peers import MissingError
from feedback_players import Contestant, Played
from feedback_streams import FeedbackStream, StreamOf
from measuring import separation

from router_sdk.evaluation.classification import expected_calibration_error

LAST = 1_000
KNOWN = 100
"""Tasks of a rare agent before its recall counts."""
BINS = 10
ANSWERED = "answered by "
T = TypeVar("T")
BySeed = dict[int, float]
Measures = dict[str, BySeed]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: What stands above it.
        row: Of the part.
        measure: What is shown.
        compared: Whether figures stand beside their distance to the best; more must be better.
    """

    heading: str
    row: str
    measure: str
    compared: bool = True


class Difference(NamedTuple):
    """How far one contestant is from another.

    Attributes:
        mean: Of the differences, seed by seed.
        half: Half the width of its 95 % interval (Student's t); infinite for one seed.
    """

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f}" + ("" if math.isinf(self.half) else f" ± {self.half:.3f}")


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
    """Ours less theirs, over the seeds that both have; there must be one."""
    from scipy.stats import t as student

    gaps = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    if len(gaps) < 2:
        return Difference(float(gaps.mean()), math.inf)
    width = float(student.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps)))
    return Difference(float(gaps.mean()), width)


def _cell(mine: BySeed, theirs: BySeed, *, spread: bool) -> str:
    if not mine:
        return ""
    values = list(mine.values())
    told = f"{np.mean(values):.3f}" + (f", sd {np.std(values, ddof=1):.3f}" if spread and len(values) > 1 else "")
    return f"{told} ({paired(mine, theirs)})" if mine.keys() & theirs.keys() else told


class Results:
    """Figures by part, row of a part, contestant, measure and seed; written to a file as they come.

    Args:
        out: A JSON file, or None.
        conditions: What is written beside them.
    """

    def __init__(self, out: Path | None = None, conditions: Mapping[str, Any] | None = None) -> None:
        self.out, self.conditions = out, dict(conditions or {})
        self.figures: dict[str, dict[str, dict[str, Measures]]] = {}
        self._said: dict[tuple[str, str, str], list[tuple[Any, Any]]] = {}
        self._noted: set[str] = set()
        self._started = time.perf_counter()

    def add(self, part: str, row: str, contestant: str, seed: int, **measures: float) -> None:
        """Note what one contestant came to with one seed, and say so on the way."""
        self._take(part, row, contestant, {measure: {seed: float(value)} for measure, value in measures.items()})
        self._write()
        told = "  ".join(f"{measure} {value:.3f}" for measure, value in measures.items())
        passed = time.perf_counter() - self._started
        print(f"[{passed:6.0f} s] {part}, {row}, seed {seed}, {contestant}: {told}", file=sys.stderr, flush=True)

    def read(self, file: Path) -> None:
        """Take in the figures that another run wrote."""
        for part, rows in json.loads(file.read_text(encoding="utf-8"))["figures"].items():
            for row, contestants in rows.items():
                for contestant, measures in contestants.items():
                    read = {name: {int(seed): value for seed, value in of.items()} for name, of in measures.items()}
                    self._take(part, row, contestant, read)

    def of(self, part: str, row: str, contestant: str) -> Measures:
        """What is known of a contestant, by measure and seed."""
        return self.figures.get(part, {}).get(row, {}).get(contestant, {})

    def _take(self, part: str, row: str, contestant: str, measures: Measures) -> None:
        known = self.figures.setdefault(part, {}).setdefault(row, {}).setdefault(contestant, {})
        for measure, values in measures.items():
            known.setdefault(measure, {}).update(values)

    def note(self, words: str) -> None:
        """Say something once."""
        if words not in self._noted:
            self._noted.add(words)
            print(words, file=sys.stderr, flush=True)

    def said(self, part: str, row: str, contestant: str, seed: int, confidence: Any, came: Any) -> None:
        """Note what was said of each choice and what came of it, both of shape ``(n,)`` and in [0, 1].

        Calibration is a figure of many decisions, so it is taken over all seeds together, under the last one.
        """
        pool = self._said.setdefault((part, row, contestant), [])
        pool.append((confidence, came))
        said, was = (np.concatenate(each) for each in zip(*pool, strict=True))
        error = expected_calibration_error(said, was, bins=BINS, adaptive=True)
        brier = float(np.mean((said - was) ** 2))
        figures = {"ece": error, "brier": brier, "decisions": len(said)}
        known = self.figures[part][row][contestant]
        known.update({measure: {seed: float(value or 0.0)} for measure, value in figures.items()})
        good = was > 0.5
        if good.any() and not good.all():
            known["auroc"] = {seed: separation(said[~good], said[good])}
        self._write()

    def mean(self, part: str, row: str, contestant: str, measure: str) -> float | None:
        """Over the seeds; None where there is no such figure."""
        found = self.of(part, row, contestant).get(measure)
        return float(np.mean(list(found.values()))) if found else None

    def best(self, part: str, row: str, measure: str, among: Iterable[str]) -> str | None:
        """Who has the highest mean of a row."""
        means = {one: self.mean(part, row, one, measure) for one in among}
        known = {one: value for one, value in means.items() if value is not None}
        return max(known, key=lambda one: known[one]) if known else None

    def table(
        self,
        part: str,
        title: str,
        columns: Sequence[Column],
        *,
        bounds: Collection[str] = (),
        against: str | None = None,
        only: Collection[str] = (),
        spread: bool = False,
    ) -> str:
        """A Markdown table with a line for each contestant; each figure beside its distance to the best of its column.

        Args:
            part: Which.
            title: What stands above it.
            columns: What is shown, from left to right.
            bounds: Who does not count among the best.
            against: Whom to hold all others against, instead of the best.
            only: Who is shown; empty for all.
            spread: Whether the standard deviation over the seeds is shown as well.
        """
        names = list(
            dict.fromkeys(name for column in columns for name in self.figures.get(part, {}).get(column.row, {}))
        )
        names = [name for name in names if not only or name in only]
        contestants = [name for name in names if name not in bounds]
        lines = [
            f"\n**{title}**\n",
            "| | " + " | ".join(column.heading for column in columns) + " |",
            "|---|" + "---:|" * len(columns),
        ]
        best = [self._rival(part, column, against, contestants) for column in columns]
        for name in names:
            cells = []
            for column, whom in zip(columns, best, strict=True):
                mine = self.of(part, column.row, name).get(column.measure, {})
                theirs = self.of(part, column.row, whom or "").get(column.measure, {})
                cells.append(_cell(mine, {} if name in bounds or name == whom else theirs, spread=spread))
                if mine and name == whom and whom != against:
                    cells[-1] = f"**{cells[-1]}**"
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def answers(self, part: str, rows: Iterable[str], contestant: str) -> str:
        """Who answered in a chain, a line for each row."""
        lines = []
        for row in rows:
            measures = self.of(part, row, contestant).items()
            shares = {name: np.mean(list(known.values())) for name, known in measures if name.startswith(ANSWERED)}
            told = ", ".join(f"{name.removeprefix(ANSWERED)} {share:.3f}" for name, share in shares.items())
            lines += [f"- {row}: {told}"] if told else []
        return "\n".join([f"\nWho answered in the chain {contestant}:\n", *lines])

    def _rival(self, part: str, column: Column, against: str | None, among: Iterable[str]) -> str | None:
        """Whom a column is held against; None for nobody."""
        return (against or self.best(part, column.row, column.measure, among)) if column.compared else None

    def _write(self) -> None:
        if self.out is None:
            return
        draft = self.out.with_name(f"{self.out.name}.draft")
        draft.write_text(json.dumps({**self.conditions, "figures": self.figures}, indent=1) + "\n", encoding="utf-8")
        draft.replace(self.out)


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

    def wanted(self, contestants: Mapping[str, T]) -> dict[str, T]:
        """Those that were asked for."""
        return {
            name: one for name, one in contestants.items() if not self.who or any(part in name for part in self.who)
        }

    def those(self, rows: Iterable[str]) -> list[str]:
        """The rows that were asked for."""
        return [row for row in rows if not self.rows or row in self.rows]

    def show(self, part: str, title: str, columns: Sequence[Column], **how: Any) -> None:
        """Print a table, see ``Results.table``."""
        print(self.results.table(part, title, columns, **how), flush=True)

    def play(
        self,
        part: str,
        streams: Mapping[str, StreamOf],
        contestants: Mapping[str, Contestant],
        measure: Callable[[FeedbackStream, Played], dict[str, float]],
    ) -> None:
        """Every contestant on every stream with every seed."""
        for row in self.those(streams):
            for seed in self.seeds:
                stream = streams[row](seed)
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
                    answered = {f"{ANSWERED}{who}": share for who, share in (played.answered or {}).items()}
                    self.results.add(part, row, name, seed, **measure(stream, played), ms=spent, **answered)
                    self._calibration(part, row, name, seed, stream, played)

    def _calibration(self, part: str, row: str, name: str, seed: int, stream: FeedbackStream, played: Played) -> None:
        """What was said of the favourite, and what it would have earned."""
        if played.confidence is None:
            return
        told = np.flatnonzero(played.favourite >= 0)
        if not len(told):
            return
        came = stream.rewards[told, played.favourite[told]]
        self.results.said(part, row, name, seed, played.confidence[told], came)


def earned(stream: FeedbackStream, played: Played) -> np.ndarray:
    """The reward of every round, shape ``(n,)``; 0 where nobody got the text."""
    turns = np.arange(len(stream.texts))
    return np.where(played.chosen >= 0, stream.rewards[turns, played.chosen], 0.0)


def right_choices(stream: FeedbackStream, played: Played) -> dict[str, float]:
    """Share of the texts that got the agent that they belong to."""
    right = played.chosen == stream.right
    upto = {"last": LAST, "last 2,000": 2_000, "last 3,000": 3_000}
    parts = {measure: right[-count:].mean() for measure, count in upto.items()}
    return {**parts, "all": right.mean(), "reward": earned(stream, played).mean()}


def of_long(stream: FeedbackStream, played: Played) -> dict[str, float]:
    """Share of the texts of the last half that got the agent that they belong to: of long ones, and of the others."""
    right, late = played.chosen == stream.right, np.arange(len(stream.texts)) >= len(stream.texts) // 2
    groups = {"long": late & stream.long, "short": late & ~stream.long}
    return {name: right[chosen].mean() for name, chosen in groups.items() if chosen.any()}


def rewards(stream: FeedbackStream, played: Played) -> dict[str, float]:
    """Mean reward up to some rounds, and of the last."""
    found = earned(stream, played)
    upto = {f"first {count:,}": found[:count].mean() for count in (300, 1_000, 2_000)}
    return {**upto, "all": found.mean(), "last": found[-LAST:].mean()}


def recalls(stream: FeedbackStream, played: Played) -> dict[str, float]:
    """Of every agent but the most frequent, the share of its own tasks that it got, from its 101st on."""
    right, most = played.chosen == stream.right, np.bincount(stream.right).argmax()
    tasks = [np.flatnonzero(stream.right == place)[KNOWN:] for place in range(len(stream.agents)) if place != most]
    found = [right[each].mean() for each in tasks if len(each)]
    if not found:
        return {"all": right.mean()}
    return {"mean recall": float(np.mean(found)), "least recall": min(found), "all": right.mean()}
