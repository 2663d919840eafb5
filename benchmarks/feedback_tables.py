"""The figures of `feedback.py`: one per contestant and seed, held against the best of a row seed by seed."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import separation

from router_sdk.evaluation.classification import expected_calibration_error

BINS = 10
BySeed = dict[int, float]


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
    """Ours less theirs, over the seeds that both have."""
    from scipy.stats import t as student

    gaps = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    if len(gaps) < 2:
        return Difference(float(gaps.mean()), math.inf)
    width = float(student.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps)))
    return Difference(float(gaps.mean()), width)


class Results:
    """Figures by part, row of a part, contestant, measure and seed; written to a file as they come.

    Args:
        out: A JSON file, or None.
        conditions: What is written beside them.
    """

    def __init__(self, out: Path | None = None, conditions: Mapping[str, Any] | None = None) -> None:
        self.out, self.conditions = out, dict(conditions or {})
        self.figures: dict[str, dict[str, dict[str, dict[str, BySeed]]]] = {}
        self._said: dict[tuple[str, str, str], list[tuple[Any, Any]]] = {}
        self._noted: set[str] = set()
        self._started = time.perf_counter()

    def add(self, part: str, row: str, contestant: str, seed: int, **measures: float) -> None:
        """Note what one contestant came to with one seed, and say so on the way."""
        known = self.figures.setdefault(part, {}).setdefault(row, {}).setdefault(contestant, {})
        for measure, value in measures.items():
            known.setdefault(measure, {})[seed] = float(value)
        self._write()
        told = "  ".join(f"{measure} {value:.3f}" for measure, value in measures.items())
        passed = time.perf_counter() - self._started
        print(f"[{passed:6.0f} s] {part}, {row}, seed {seed}, {contestant}: {told}", file=sys.stderr, flush=True)

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
        found = self.figures.get(part, {}).get(row, {}).get(contestant, {}).get(measure)
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
        columns: Sequence[tuple[str, str, str]],
        *,
        bounds: Sequence[str] = (),
        against: str | None = None,
    ) -> str:
        """A Markdown table with a line for each contestant; each figure beside its distance to the best of its column.

        Args:
            part: Which.
            title: What stands above it.
            columns: Heading, row of the part, and measure, of each.
            bounds: Who does not count among the best.
            against: Whom to hold all others against, instead of the best.
        """
        names = list(dict.fromkeys(name for _, row, _ in columns for name in self.figures.get(part, {}).get(row, {})))
        contestants = [name for name in names if name not in bounds]
        lines = [
            f"\n**{title}**\n",
            "| | " + " | ".join(heading for heading, _, _ in columns) + " |",
            "|---|" + "---:|" * len(columns),
        ]
        best = [against or self.best(part, row, measure, contestants) for _, row, measure in columns]
        for name in names:
            cells = [
                self._cell(part, row, measure, name, None if name in bounds else whom)
                for (_, row, measure), whom in zip(columns, best, strict=True)
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _cell(self, part: str, row: str, measure: str, name: str, best: str | None) -> str:
        of_row = self.figures.get(part, {}).get(row, {})
        mine = of_row.get(name, {}).get(measure)
        if not mine:
            return ""
        value = f"{np.mean(list(mine.values())):.3f}"
        theirs = None if best is None else of_row.get(best, {}).get(measure)
        if not theirs:
            return value
        return f"**{value}**" if name == best else f"{value} ({paired(mine, theirs)})"

    def _write(self) -> None:
        if self.out is None:
            return
        draft = self.out.with_name(f"{self.out.name}.draft")
        draft.write_text(json.dumps({**self.conditions, "figures": self.figures}, indent=1) + "\n", encoding="utf-8")
        draft.replace(self.out)
