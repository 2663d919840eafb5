"""A data set as a stream: shuffled, with a few labelled texts per agent given away for a warm start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from router_sdk.demo.datasets import Dataset, DatasetRow, is_train
from router_sdk.demo.sources import SOURCES
from router_sdk.demo.stream import Phase, Stream
from router_sdk.errors import InvalidInputError
from router_sdk.records import Agent

PHASES = 4
LISTED_SKILLS = 40


def dataset_stream(dataset: Dataset, *, warm_start: int = 20, max_tasks: int = 10_000, seed: int = 0) -> Stream:
    """Make a stream of a data set: training rows before the others, each part shuffled.

    Args:
        dataset: What was read.
        warm_start: Labelled texts per agent, drawn from the training rows, that become the agents' ``examples``
            and are left out of the stream; sets with scores have no labels and get none.
        max_tasks: Draw this many tasks at random where there are more.
        seed: The same seed gives the same stream.

    Raises:
        InvalidInputError: if too few rows are left to play.
    """
    rng = np.random.default_rng(seed)
    train = [row for row in dataset.rows if is_train(row.split)]
    held_out = [row for row in dataset.rows if not is_train(row.split)]
    # A split that was asked for by name may be a held-out one alone: then it is all there is to learn from.
    given = {} if dataset.columns.has_scores else _warm_start(train or held_out, warm_start, rng)
    taken = {id(row) for rows in given.values() for row in rows}
    parts = [_shuffled([row for row in part if id(row) not in taken], rng) for part in (train, held_out)]
    left = sum(len(part) for part in parts)
    if left < 2 * PHASES:
        raise InvalidInputError(f"{dataset.name}: only {left} tasks left to play; give more rows or less warm start")
    share = min(1.0, max_tasks / left)
    first, second = ([*part[: round(share * len(part))]] for part in parts)
    phases = _phases(first, second)
    return Stream(
        title=dataset.name,
        agents=tuple(_described(agent, given.get(agent.name, []), train) for agent in dataset.agents),
        phases=tuple(phases),
        notes=(*_notes(dataset, given, len(first) + len(second), left, seed), *_unfit(phases)),
    )


def _warm_start(rows: Sequence[DatasetRow], count: int, rng: np.random.Generator) -> dict[str, list[DatasetRow]]:
    by_agent: dict[str, list[DatasetRow]] = defaultdict(list)
    for row in rows:
        if row.item.best is not None:
            by_agent[row.item.best].append(row)
    # Never more than a third of what there is, so that a small file has something left to play.
    return {name: _shuffled(found, rng)[: min(count, len(found) // 3)] for name, found in by_agent.items()}


def _shuffled(rows: Sequence[DatasetRow], rng: np.random.Generator) -> list[DatasetRow]:
    return [rows[i] for i in rng.permutation(len(rows))]


def _described(agent: Agent, given: Sequence[DatasetRow], train: Sequence[DatasetRow]) -> Agent:
    """Give an agent its examples and, where nobody described it, its name and the names of its skills."""
    skills = dict.fromkeys(row.detail for row in train if row.detail and row.item.best == agent.name)
    words = ", ".join([agent.name, *list(skills)[:LISTED_SKILLS]]).replace("_", " ")
    examples = (*agent.examples, *(row.item.task.text for row in given))
    return agent.model_copy(update={"description": agent.description or words, "examples": examples})


def _phases(first: list[DatasetRow], second: list[DatasetRow]) -> list[Phase]:
    """Quarters of the stream; with a held-out part, thirds of the training rows and then that part."""
    stretches = PHASES - 1 if first and second else PHASES
    words = "third of train" if first and second else "quarter"
    learning, held_out = (first, second) if first else (second, [])
    edges = [round(i * len(learning) / stretches) for i in range(stretches + 1)]
    phases = [
        Phase(f"{ordinal} {words}", [row.item for row in learning[start:end]])
        for ordinal, start, end in zip(("1st", "2nd", "3rd", "4th"), edges, edges[1:], strict=False)
    ]
    if held_out:
        names = dict.fromkeys((row.split or "").removeprefix("oos_") for row in held_out)
        phases.append(Phase(" + ".join(sorted(names)), [row.item for row in held_out]))
    return phases


def _notes(dataset: Dataset, given: dict[str, list[DatasetRow]], played: int, left: int, seed: int) -> list[str]:
    drawn = f"{played:,} of {left:,} tasks, drawn" if played < left else f"{played:,} tasks,"
    what = "scores" if dataset.columns.has_scores else f"column “{dataset.columns.label}”"
    notes = [
        f"{dataset.name}: {drawn} in random order (seed {seed}); rewards from {what}. "
        "The router sees the reward of the agent it chose alone, and routes each task before it learns from it."
    ]
    if shown := sum(len(rows) for rows in given.values()):
        notes.append(
            f"Warm start: {shown:,} labelled texts, at most {max(len(rows) for rows in given.values())} per agent, "
            "were given as the agents' examples and are not in the stream."
        )
    if source := SOURCES.get(dataset.name):
        notes.append(f"Source: {source}.")
    if dataset.bad_lines:
        shown_lines = ", ".join(f"{bad.line} ({bad.reason:.80})" for bad in dataset.bad_lines[:3])
        notes.append(f"{len(dataset.bad_lines)} malformed lines were left out: {shown_lines}.")
    return notes


def _unfit(phases: Sequence[Phase]) -> list[str]:
    """Say where more tasks fit no agent than elsewhere, because the reward falls there for everybody but the oracle."""
    shares = [sum(item.best is None for item in phase.items) / len(phase.items) for phase in phases]
    if max(shares) - min(shares) < 0.02:
        return []
    listed = ", ".join(f"{share:.0%} in “{phase.name}”" for phase, share in zip(phases, shares, strict=True))
    return [f"Tasks that fit no agent, on which every choice of one earns nothing: {listed}."]
