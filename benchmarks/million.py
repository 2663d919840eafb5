"""A million outcomes in the log: how fast they are replayed, and how long a restart takes.

An *event* is one outcome, read from the log in commit order, joined to its decision, with its reward: in columns, or
as an ``Example`` where a strategy asks for objects. Each outcome belongs to a decision of its own, so that the log has
twice as many positions as events.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import Figure, in_turn
from numpy.typing import NDArray

from router_sdk import Agent, OutcomeReward, Router, Task
from router_sdk.learning.pace import REPLAY_BATCH
from router_sdk.plugins import PluginRegistry
from router_sdk.records import AgentSet, ExampleColumns
from router_sdk.store import Store
from router_sdk.store.rows import DECISION_COLUMNS, OUTCOME_COLUMNS, VECTOR_COLUMNS
from router_sdk.store.tail import LogTail
from router_sdk.strategy import Encoder, EncoderConfig, Strategy
from router_sdk.testing.examples import make_services

GROUP = 64
WIDTH = 64
"""Dimensions of a stored vector."""
WORDS = 20
"""In a stored text."""
AGENTS = [Agent(f"agent-{i}") for i in range(5)]
TASK_TYPES = [f"type-{i}" for i in range(20)]


Carried = Callable[[np.random.Generator], tuple[str, str, NDArray[Any]]]
"""Makes a task's text, and what was logged of it: an encoder's tag and its vector."""


def build_log(path: Path, outcomes: int, *, labelled: float = 0.0, carried: Carried | None = None) -> None:
    """Fill the store's own tables with ``executemany``, in the order in which a busy router would have.

    Groups of 64 decisions are followed by their 64 outcomes, which tell success, quality, latency and cost. Tasks have
    a type alone, so that there are no payloads, unless they carry a text and a vector.

    Args:
        path: A file that does not exist.
        outcomes: How many.
        labelled: Share of them that tell the right agent besides.
        carried: Makes what tasks carry.
    """
    Store(path).close()
    everyone = AgentSet(AGENTS)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("INSERT INTO agent_sets VALUES (?, ?)", (everyone.set_id, "\x00".join(everyone.names)))
        connection.execute("BEGIN IMMEDIATE")
        rng, made = random.Random(0), np.random.default_rng(0)
        for start in range(0, outcomes, GROUP):
            size = min(GROUP, outcomes - start)
            decisions = list(_decisions(rng, start, size, everyone.set_id))
            told = list(_outcomes(rng, [row[1] for row in decisions], 2 * start + size, labelled))
            _insert(connection, "decisions", DECISION_COLUMNS, decisions)
            if carried is not None:
                texts = [(row[0], *carried(made)) for row in decisions]
                _insert(connection, "payloads", "seq, text", [(seq, text) for seq, text, _, _ in texts])
                vectors = [(seq, tag, vector.dtype.str, vector.tobytes()) for seq, _, tag, vector in texts]
                _insert(connection, "vectors", VECTOR_COLUMNS, vectors)
            _insert(connection, "outcomes", f"{OUTCOME_COLUMNS}, logged_at", told)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(connection: sqlite3.Connection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(rows[0]))
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


_EPOCH = 1_700_000_000.0
_BLOB = b"\xcd\xcc\x4c\x3e" * 5  # 0.2 as float32, for each of five agents


def _decisions(rng: random.Random, start: int, size: int, set_id: int) -> Iterator[tuple[Any, ...]]:
    for i in range(size):
        at = _EPOCH + start + i
        decision_id = f"{int(at * 1000):012x}{rng.getrandbits(80):020x}"
        agent, task_type = AGENTS[rng.randrange(5)].name, TASK_TYPES[rng.randrange(20)]
        yield (
            *(2 * start + i + 1, decision_id, at, agent, task_type, None, "routed", 0.2, 0),
            *("thompson", None, 0.6, 0.02, 0, set_id, _BLOB, None),
            *(None, None, None, None, None),
        )


def _outcomes(rng: random.Random, decision_ids: list[str], after: int, labelled: float) -> Iterator[tuple[Any, ...]]:
    for i, decision_id in enumerate(decision_ids, start=1):
        at = _EPOCH + after + i
        label = AGENTS[rng.randrange(5)].name if rng.random() < labelled else None
        success = int(rng.random() < 0.6)
        yield (
            *(after + i, None, decision_id, at, None, success, rng.random(), None, label),
            *(None, 850.0, 0.002, None, None),
            *(None, None, None, at),
        )


class Stored(Encoder):
    """Stands for an encoder whose vectors are in the log; it is never asked for another."""

    name = "stored"

    def encode(self, texts: Sequence[str]) -> Sequence[NDArray[Any]]:
        """Refuse."""
        raise RuntimeError("a replay embeds nothing")


def _vector(rng: np.random.Generator) -> tuple[str, str, NDArray[Any]]:
    vector = rng.standard_normal(WIDTH).astype(np.float32)
    return "a text", Stored(EncoderConfig()).tag, vector / np.linalg.norm(vector)


def _text(rng: np.random.Generator) -> tuple[str, str, NDArray[Any]]:
    encoder = PluginRegistry.load().encoders["thompson-text"]
    text = " ".join(f"word{number}" for number in rng.integers(0, 3_000, WORDS))
    hashed = encoder(EncoderConfig())
    return text, hashed.tag, hashed.encode([text])[0]


def _thompson(**settings: Any) -> Strategy:
    chosen = PluginRegistry.load().strategy("thompson")
    encoders = {Stored.name: Stored(EncoderConfig())}
    strategy = chosen(chosen.Config(**settings), make_services(encoders=encoders))
    strategy.prepare(AgentSet(AGENTS))
    return strategy


def _batches(tail: LogTail) -> Iterator[ExampleColumns]:
    """The whole log, a batch at a time, as the learner reads it when it starts."""
    cursor, head = 0, tail.head()
    while cursor < head:
        batch = tail.read(cursor, head, REPLAY_BATCH)
        cursor = batch.upto
        yield batch.columns


def _fold(batches: Iterable[ExampleColumns], strategy: Strategy | None) -> float:
    """Seconds that it takes to read, and to learn where there is a strategy."""
    started = time.perf_counter()
    for columns in batches:
        if strategy is not None:
            strategy.learn_columns(columns)
    return time.perf_counter() - started


def replay(folder: Path, repeats: int, outcomes: int) -> list[Figure]:
    """Events a second: reading and learning together, and each alone."""
    plain, labelled = folder / "plain.db", folder / "labelled.db"
    few = max(outcomes // 10, 1)
    build_log(plain, outcomes)
    build_log(labelled, few, labelled=0.1)
    with closing(Store(plain)) as store, closing(store.tail(OutcomeReward())) as tail:
        both, bare, reading, objects = in_turn(
            (
                lambda: _fold(_batches(tail), _thompson()),
                lambda: _fold(_batches(tail), _thompson(contextual=False, change_threshold=None)),
                lambda: _fold(_batches(tail), None),
                lambda: _objects(tail),
            ),
            repeats,
        )
    told = _replayed(labelled, repeats)
    figures = [
        _rate("replay: read the log and let Thompson learn", outcomes, both, 400_000),
        _rate("  Thompson without contexts and change detection", outcomes, bare),
        _rate("  reading alone, in columns", outcomes, reading),
        _rate("  reading alone, as objects", outcomes, objects),
        _rate("  reading and learning, one outcome in ten labelled", few, told),
    ]
    for what, carried, goal, settings in (
        (f"stored vectors, d={WIDTH}", _vector, 150_000, {"encoder": Stored.name}),
        (f"hashed text, {WORDS} words", _text, 100_000, {}),
    ):
        path = folder / f"{carried.__name__}.db"
        build_log(path, few, carried=carried)
        figures.append(_rate(f"  replay with {what}", few, _replayed(path, repeats, **settings), goal))
    return figures


def _replayed(path: Path, repeats: int, **settings: Any) -> list[float]:
    with closing(Store(path)) as store, closing(store.tail(OutcomeReward())) as tail:
        return [_fold(_batches(tail), _thompson(**settings)) for _ in range(repeats)]


def _objects(tail: LogTail) -> float:
    started = time.perf_counter()
    for columns in _batches(tail):
        _ = columns.examples
    return time.perf_counter() - started


def _rate(what: str, events: int, seconds: Sequence[float], goal: float | None = None) -> Figure:
    rates = [events / took for took in seconds]
    detail = f"{events:,} events, {1e6 / median(rates):.1f} µs each"
    return Figure(what, rates, "events/s", goal, "at least", detail)


def restart(folder: Path, repeats: int, outcomes: int) -> list[Figure]:
    """From opening the file to the first decision: once without a snapshot, then with the one that close left."""
    path = folder / "plain.db"
    if not path.exists():
        build_log(path, outcomes)

    def start() -> float:
        started = time.perf_counter()
        with Router(AGENTS, ["thompson"], path, seed=0) as router:
            decision = router.route(Task(task_type=TASK_TYPES[0]))
            took = time.perf_counter() - started
        if decision.strategy != "thompson":
            raise RuntimeError(f"expected thompson to answer, got {decision.strategy}")
        return took

    first = start()
    opened = [start() for _ in range(repeats)]
    return [
        Figure(f"restart from a snapshot, {outcomes:,} outcomes", opened, "s", 2.0),
        Figure("  without one: everything is replayed", [first], "s", detail=f"{outcomes / first:,.0f} events/s"),
    ]
