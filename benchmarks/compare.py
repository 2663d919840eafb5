"""What the router learns on a fixed suite, counted and held against a baseline: exit code 1 where it got worse.

Nothing here is a time. Tasks are made up from fixed seeds, outcomes are drawn before anybody chooses, the clock is a
counter, and each outcome is learnt as it is recorded; so a figure depends on the code, and on the machine only where a
sum rounds differently and tips a close draw. What that may change is the tolerance of each figure.

    router bench compare [--only CASE] [--baseline FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from router_sdk import Agent, Decision, Outcome, Router, Task
from router_sdk.plugin import hookimpl
from router_sdk.testing import HashedWordsEncoder

BASELINE = Path(__file__).with_name("compare.json")
SEEDS = range(1, 7)
ROUNDS = 600
START = 1_800_000_000.0
ALL = "all cases"
TOPICS = {
    "billing": "invoice refund charged money twice payment receipt account",
    "technical": "crash error login bug upload broken screen slow",
    "sales": "price plan upgrade discount offer team seats yearly",
    "orders": "parcel delivery address courier late lost return warehouse",
}
AGENTS = [Agent(name, description=words.partition(" account")[0].split()[0]) for name, words in TOPICS.items()]
NAMES = list(TOPICS)


@dataclass(frozen=True)
class Measure:
    """A figure, and how much worse it may be than its baseline.

    Attributes:
        better: 1 where more is better, -1 where less is.
        room: How far it may fall back in one case: a share of the baseline where less is better, else a difference.
        room_in_all: The same of the mean over all cases, in which chance evens out.
    """

    better: int
    room: float
    room_in_all: float

    def allowed(self, case: str, baseline: float) -> float:
        """How far it may fall back from a baseline."""
        room = self.room_in_all if case == ALL else self.room
        return room * baseline if self.better < 0 else room


# Where every close draw of a run tips, single cases differ by up to 6 % in regret and .07 in accuracy.
MEASURES = {
    "regret": Measure(-1, 0.15, 0.05),
    "accuracy": Measure(1, 0.08, 0.03),
    "answered by what learns": Measure(1, 0.02, 0.01),
}


@dataclass(frozen=True)
class Row:
    """A task, and the expected reward of each agent on it, in [0, 1]."""

    task: Task
    expected: Sequence[float]


@dataclass(frozen=True)
class Case:
    """One thing that a router has to learn.

    Attributes:
        rows: Makes the tasks of a seed.
        strategies: The chain.
        late: Rounds that an outcome takes, on average; 0 is at once.
        missing: Share of outcomes that never come.
    """

    rows: Callable[[np.random.Generator], Iterator[Row]]
    strategies: Sequence[Any] = ("thompson", "heuristic")
    late: float = 0.0
    missing: float = 0.0


def by_type(rng: np.random.Generator, *, change: bool = False) -> Iterator[Row]:
    """Tasks that say their type alone; with a change, everybody's strength moves on halfway."""
    best, kinds = rng.permutation(4), [f"kind-{i}" for i in range(4)]
    weaker = rng.uniform(0.2, 0.6, (4, 4))
    for number in range(ROUNDS):
        kind = int(rng.integers(4))
        right = int(best[(kind + (change and number >= ROUNDS // 2)) % 4])
        expected = weaker[kind].copy()
        expected[right] = 0.85
        yield Row(Task(task_type=kinds[kind]), expected.tolist())


def by_features(rng: np.random.Generator) -> Iterator[Row]:
    """Tasks in numbers: how good an agent is depends on a direction."""
    directions = rng.normal(size=(4, 4))
    for _ in range(ROUNDS):
        x = rng.normal(size=4)
        expected = 1.0 / (1.0 + np.exp(-1.5 * directions @ x))
        yield Row(Task(features={f"x{i}": float(value) for i, value in enumerate(x)}), expected.tolist())


def by_words(rng: np.random.Generator) -> Iterator[Row]:
    """Texts: four words of which most belong to one agent."""
    every = " ".join(TOPICS.values()).split()
    for _ in range(ROUNDS):
        right = int(rng.integers(4))
        words = [*rng.choice(TOPICS[NAMES[right]].split(), 3), *rng.choice(every, 2)]
        expected = [0.25] * 4
        expected[right] = 0.85
        yield Row(Task(" ".join(rng.permutation(words))), expected)


CASES = {
    "task types": Case(by_type),
    "task types, late outcomes": Case(by_type, late=20.0, missing=0.1),
    "task types, a change": Case(lambda rng: by_type(rng, change=True)),
    "features": Case(by_features),
    "texts, hashed words": Case(by_words),
    "texts, vectors": Case(by_words, (("thompson", {"encoder": HashedWordsEncoder.name}), "heuristic")),
    "texts, no outcome yet": Case(by_words, ("heuristic",), missing=1.0),
}


class _Encoders:
    """Brings an encoder that needs no model."""

    @hookimpl
    def register_encoders(self) -> Sequence[type[HashedWordsEncoder]]:
        return [HashedWordsEncoder]


@dataclass
class Tally:
    """What one run came to."""

    regret: float = 0.0
    right: list[bool] = field(default_factory=list)
    learnt: list[bool] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Regret and who answered over all rounds; what is right over those of the second half."""
        half = len(self.right) // 2
        return dict(zip(MEASURES, (self.regret, mean(self.right[half:]), mean(self.learnt)), strict=True))


def play(case: Case, seed: int) -> dict[str, float]:
    """Route the tasks of a seed, and record what comes of them."""
    rows = list(case.rows(np.random.default_rng(seed)))
    rng = np.random.default_rng([seed, 1])
    draws, lost = rng.random((len(rows), len(NAMES))), rng.random(len(rows)) < case.missing
    delays = rng.geometric(1.0 / case.late, len(rows)) if case.late else np.zeros(len(rows), int)
    clock, tally = mock.Mock(return_value=START), Tally()
    due: dict[int, list[tuple[Decision, Outcome]]] = {}
    options: dict[str, Any] = {"seed": seed, "learn_now": True, "plugins": [_Encoders()]}
    with mock.patch("time.time", clock), Router(AGENTS, case.strategies, ":memory:", **options) as router:
        for number, row in enumerate(rows):
            clock.return_value = START + 60.0 * number
            decision = router.route(row.task)
            best = int(np.argmax(row.expected))
            chosen = NAMES.index(decision.agent or NAMES[0])
            tally.regret += row.expected[best] - row.expected[chosen]
            tally.right.append(chosen == best)
            tally.learnt.append(decision.strategy == "thompson")
            if not lost[number]:
                outcome = Outcome(success=bool(draws[number, chosen] < row.expected[chosen]))
                due.setdefault(number + int(delays[number]), []).append((decision, outcome))
            for told, outcome in due.pop(number, ()):
                router.record(told, outcome)
    return tally.figures()


def run(names: Sequence[str], seeds: Iterable[int] = SEEDS) -> dict[str, dict[str, float]]:
    """The figures of each case, means over the seeds; and of all cases, where all are played."""
    found = {name: _means([play(CASES[name], seed) for seed in seeds]) for name in names}
    return {**found, ALL: _means(list(found.values()))} if found.keys() == CASES.keys() else found


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {measure: round(mean(one[measure] for one in figures), 4) for measure in MEASURES}


@dataclass(frozen=True)
class Line:
    """One figure beside its baseline.

    Attributes:
        case: Which case.
        measure: Which figure.
        baseline: What it was; None where the baseline does not have it.
        found: What it is.
    """

    case: str
    measure: str
    baseline: float | None
    found: float

    @property
    def verdict(self) -> str:
        """``"worse"`` and ``"better"`` are beyond the tolerance, ``"same"`` is within, ``"new"`` has no baseline."""
        if self.baseline is None:
            return "new"
        measure = MEASURES[self.measure]
        gained, room = measure.better * (self.found - self.baseline), measure.allowed(self.case, self.baseline)
        return "worse" if gained < -room else "better" if gained > room else "same"


def compare(found: Mapping[str, Mapping[str, float]], baseline: Mapping[str, Mapping[str, float]]) -> list[Line]:
    """Hold each figure against its baseline."""
    return [
        Line(case, measure, baseline.get(case, {}).get(measure), value)
        for case, figures in found.items()
        for measure, value in figures.items()
    ]


def show(lines: Sequence[Line]) -> None:
    """Print the figures with baseline, change and tolerance."""
    table = Table(title="What is learnt, against the baseline", title_justify="left", box=None, pad_edge=False)
    for heading in ("case", "figure", "baseline", "now", "change", "tolerance", ""):
        right = heading in ("baseline", "now", "change", "tolerance")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    style = {"worse": "bold red", "better": "green"}
    before = ""
    for line in lines:
        known, measure = line.baseline, MEASURES[line.measure]
        cells = ["-"] * 3
        if known is not None:
            cells = [
                _shown(known),
                f"{line.found - known:+.3f}",
                f"{-measure.better * measure.allowed(line.case, known):+.3f}",
            ]
        verdict = f"[{style[line.verdict]}]{line.verdict}[/]" if line.verdict in style else line.verdict
        name = "" if line.case == before else line.case
        table.add_row(name, line.measure, cells[0], _shown(line.found), *cells[1:], verdict)
        before = line.case
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _shown(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 2 else f"{value:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Play the suite; 1 where a figure is worse than the baseline allows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", choices=CASES, action="append", help="one case; may be given again")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="what to compare with")
    parser.add_argument("--write", action="store_true", help="make what is found the baseline")
    told = parser.parse_args(argv)
    if not (told.write or told.baseline.is_file()):
        parser.error(f"--baseline {told.baseline}: there is no such file; --write makes one")
    try:
        baseline = json.loads(told.baseline.read_text(encoding="utf-8")) if told.baseline.is_file() else {}
    except ValueError as error:
        parser.error(f"--baseline {told.baseline}: it is no baseline: {error}")
    found = run(told.only or list(CASES))
    lines = compare(found, baseline)
    show(lines)
    if told.write:
        told.baseline.write_text(json.dumps({**baseline, **found}, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {told.baseline}")
        return 0
    worse = [f"{line.case}: {line.measure}" for line in lines if line.verdict == "worse"]
    if worse:
        print(f"worse than the baseline allows: {'; '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
