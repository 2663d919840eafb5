"""How the benchmarks measure: contestants in turn, ratios within one run, medians with their spread."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark's table.

    Attributes:
        what: What was measured.
        values: One per repeat.
        unit: Of the values: ``"×"`` for ratios.
        goal: What the median is held against; None for a line that only informs.
        better: Whether the median may be at most, or must be at least, the goal.
        detail: The absolute figures behind a ratio.
    """

    what: str
    values: Sequence[float]
    unit: str = "×"  # noqa: RUF001
    goal: float | None = None
    better: Literal["at most", "at least"] = "at most"
    detail: str = ""

    @property
    def median(self) -> float:
        """The figure itself."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.better == "at most" else self.median >= self.goal


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Each repeat's ratio; both sides of one ratio come from the same round."""
    return [a / b for a, b in zip(ours, baseline, strict=True)]


def in_turn(contestants: Sequence[Callable[[], T]], repeats: int) -> list[list[T]]:
    """Run the contestants in turn, every second round backwards, so that a drifting machine favours none.

    Returns:
        Each contestant's results, one per round.
    """
    results: list[list[T]] = [[] for _ in contestants]
    for round_number in range(repeats):
        order = range(len(contestants))
        for i in order if round_number % 2 == 0 else reversed(order):
            results[i].append(contestants[i]())
    return results


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, ``share`` in [0, 1]."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def separation(known: Any, strange: Any) -> float:
    """Area under the ROC curve: how often one of ``strange`` is higher than one of ``known``; ties count half."""
    ordered = np.sort(known)
    below, upto = np.searchsorted(ordered, strange, "left"), np.searchsorted(ordered, strange, "right")
    return float((below + upto).mean() / (2 * len(known)))


def show(title: str, figures: Sequence[Figure], conditions: str = "") -> None:
    """Print the figures as a table: median, spread, goal, and whether it was met."""
    table = Table(title=title, caption=conditions, caption_justify="left", title_justify="left")
    for column, justify in (("figure", "left"), ("median", "right"), ("spread", "right"), ("goal", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    table.add_column("in absolute numbers")
    for figure in figures:
        goal = "" if figure.goal is None else f"{'≤' if figure.better == 'at most' else '≥'} {_shown(figure.goal)}"
        verdict = {None: "", True: "[green]met[/green]", False: "[red]missed[/red]"}[figure.met]
        spread = f"{_shown(min(figure.values))} .. {_shown(max(figure.values))}"
        table.add_row(figure.what, f"{_shown(figure.median)} {figure.unit}", spread, goal, verdict, figure.detail)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def options(description: str | None, argv: Sequence[str] | None, parts: Sequence[str]) -> argparse.Namespace:
    """Parse the options that the benchmarks share: ``quick``, ``repeats``, ``only`` and ``folder``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--only", choices=parts, action="append", help="one part; may be given again")
    parser.add_argument("--folder", type=Path, help="where the store's files go (default: the temporary folder)")
    parsed = parser.parse_args(argv)
    if parsed.quick:
        parsed.repeats = min(parsed.repeats, 1)
    return parsed


@contextmanager
def scratch(folder: Path | None) -> Iterator[Path]:
    """A folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="router-bench-", dir=folder, ignore_cleanup_errors=True) as name:
        yield Path(name)


def conditions(folder: Path) -> str:
    """The machine as far as it matters here: cores, load, interpreter, and what it costs to reach the disk."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"{os.cpu_count()} cores{load}, Python {version}, reaching the disk takes {_sync_us(folder):,.0f} µs"


def _sync_us(folder: Path, rounds: int = 50) -> float:
    """Median time of writing 8 KiB over themselves and syncing them, in µs: what one commit costs at least."""
    waits = []
    with (folder / "sync-probe").open("w+b", buffering=0) as file:
        for _ in range(rounds + 1):
            file.seek(0)
            started = time.perf_counter()
            file.write(bytes(8_192))
            os.fsync(file.fileno())
            waits.append(time.perf_counter() - started)
    return median(waits[1:]) * 1e6
