"""What a log in PostgreSQL costs and bears: durable recording, replay, several processes, how soon others know.

Run it: ``BENCH_POSTGRES=postgresql:///test python benchmarks/postgres.py [--quick]``. It makes schemas of its
own in that database, and drops them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from bare_writers import GROUP, Groups, row
from measuring import Figure, conditions, in_turn, options, percentile, ratios, scratch, show
from processes import PROCESSES, Work, together, work
from recording import AGENTS, CALLERS, OUTCOMES, TASKS, throughput
from router_sdk_postgres import cutting, partitions

from router_sdk import Outcome, OutcomeReward, Router, Task
from router_sdk.learning.pace import REPLAY_BATCH
from router_sdk.store import Store
from router_sdk.store.identity import new_id
from router_sdk.store.rows import DECISION_COLUMNS, OUTCOME_COLUMNS

SERVER = os.environ.get("BENCH_POSTGRES", "postgresql:///test")
PARTS = ("record", "replay", "partitions", "processes", "news")


@contextmanager
def fresh_log(folder: Path) -> Iterator[tuple[str, str]]:
    """A schema of its own: its URL as a store's, and its name."""
    name = f"bench_{secrets.token_hex(5)}"
    yield f"{SERVER}{'&' if '?' in SERVER else '?'}schema={name}&folder={folder / name}", name
    with psycopg.connect(SERVER, autocommit=True) as server:
        server.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


# -- recording


class BareGroups(Groups):
    """Psycopg alone: up to 64 rows at a time into the same table, by one statement."""

    def __init__(self, schema: str) -> None:
        self._server = psycopg.connect(SERVER, autocommit=True, prepare_threshold=1)
        self._server.execute(f"SET search_path = {schema}; SET synchronous_commit = on")
        self._seq = 1_000_000
        self._one = f"({', '.join(['%s'] * (OUTCOME_COLUMNS.count(',') + 1))})"
        super().__init__()

    def record(self, decision_id: str, success: bool) -> None:
        """Return when the row is on disk."""
        self.wait_for(row(decision_id, success))

    def commit(self) -> None:
        """One transaction of one statement."""
        values: list[Any] = []
        rows = self.gathered()
        for columns in rows:
            self._seq += 1
            values += [self._seq, *columns[:4], int(columns[4]), *columns[5:]]
        marks = ", ".join([self._one] * len(rows))
        self._server.execute(f"INSERT INTO outcomes ({OUTCOME_COLUMNS}) VALUES {marks}", values)

    def close(self) -> None:
        """Stop the thread and close the connection."""
        super().close()
        self._server.close()


def recording(folder: Path, repeats: int, outcomes: int) -> list[Figure]:
    """64 threads, against psycopg alone with as many."""

    def ours() -> float:
        with fresh_log(folder) as (url, _), Router(AGENTS, ["thompson"], url, seed=0) as router:
            ids = [router.route(TASKS[number % len(TASKS)]).decision_id for number in range(outcomes)]
            router.flush()
            return throughput(lambda decision_id, success: router.record(decision_id, OUTCOMES[success]), ids, CALLERS)

    def bare() -> float:
        with fresh_log(folder) as (url, schema):
            Store(url).close()
            writer = BareGroups(schema)
            try:
                return throughput(writer.record, [new_id() for _ in range(outcomes)], CALLERS)
            finally:
                writer.close()

    mine, theirs = in_turn((ours, bare), repeats)
    shares = [100 * ratio for ratio in ratios(mine, theirs)]
    told = f"{median(mine):,.0f}/s against {median(theirs):,.0f}/s"
    return [Figure("record, 64 threads ÷ bare group committer", shares, "%", 80, "at least", told)]


# -- replay

_COPIED = """COPY (
SELECT o.decision_id, o.seq, d.seq, d.agent, d.task_type, o.logged_at, o.success, o.quality, o.latency_ms, o.cost_usd
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id ORDER BY o.seq) TO STDOUT (FORMAT BINARY)"""
_TYPES = ["text", "int8", "int8", "text", "text", "float8", "int8", "float8", "float8", "float8"]


def _fill(store: Store, outcomes: int) -> None:
    def write(connection: Any, seq: int) -> None:
        connection.insert_rows("agent_sets", "set_id, names", [(1, "a\x00b")], known=True)
        for start in range(0, outcomes, 6_400):
            decisions, told = [], []
            for _ in range(0, min(6_400, outcomes - start), GROUP):
                ids = [new_id() for _ in range(GROUP)]
                for place, decision_id in enumerate((*ids, *ids)):
                    at = 1.7e9 + seq
                    if place < GROUP:
                        known = (seq, decision_id, at, f"agent-{seq % 5}", f"type-{seq % 20}", None, "routed", 0.5, 0)
                        decisions.append((*known, "thompson", None, 0.5, 0.02, 0, 1, bytes(8), *[None] * 6))
                    else:
                        said = (
                            seq,
                            None,
                            decision_id,
                            at,
                            None,
                            seq % 3 > 0,
                            seq % 7 / 7,
                            None,
                            None,
                            None,
                            850.0,
                            2e-3,
                        )
                        told.append((*said, *[None] * 5, at))
                    seq += 1
            connection.insert_rows("decisions", DECISION_COLUMNS, decisions)
            connection.insert_rows("outcomes", f"{OUTCOME_COLUMNS}, logged_at", told)

    store.writer.transact(write)


def _read(store: Store) -> float:
    """Outcomes a second that are read as the learner reads them."""
    started, count = time.perf_counter(), 0
    with closing(store.tail(OutcomeReward())) as tail:
        cursor, head = 0, tail.head()
        while cursor < head:
            batch = tail.read(cursor, head, REPLAY_BATCH)
            count, cursor = count + len(batch.columns), batch.upto
    return count / (time.perf_counter() - started)


def replay(folder: Path, repeats: int, outcomes: int) -> list[Figure]:
    """Reading the whole log, against a binary COPY of the same join into the same columns, and against SQLite."""
    file = folder / "replay.db"
    with fresh_log(folder) as (url, schema), closing(Store(url)) as store, closing(Store(file)) as lite:
        _fill(store, outcomes)
        _fill(lite, outcomes)
        with psycopg.connect(SERVER, autocommit=True) as server:
            server.execute(f"ANALYZE {schema}.outcomes; ANALYZE {schema}.decisions")

        def bare() -> float:
            started = time.perf_counter()
            columns: list[list[Any]] = [[] for _ in _TYPES]
            with psycopg.connect(SERVER) as server, server.cursor() as cursor:
                server.execute(f"SET search_path = {schema}")
                with cursor.copy(_COPIED) as copy:
                    copy.set_types(_TYPES)
                    piece = []
                    for each in copy.rows():
                        piece.append(each)
                        if len(piece) == 512:
                            for column, cells in zip(columns, zip(*piece, strict=True), strict=True):
                                column += cells
                            piece = []
            return (len(columns[0]) + len(piece)) / (time.perf_counter() - started)

        mine, theirs, sqlite = in_turn((lambda: _read(store), bare, lambda: _read(lite)), repeats)
    shares = [100 * ratio for ratio in ratios(mine, theirs)]
    told = f"{outcomes:,} outcomes; {median(mine):,.0f}/s against {median(theirs):,.0f}/s"
    beside = f"{median(sqlite):,.0f}/s"
    return [
        Figure("replay ÷ bare binary COPY of the same rows", shares, "%", 80, "at least", told),
        Figure("  SQLite's replay ÷ it", ratios(sqlite, mine), detail=beside),
    ]


# -- partitions

_CUT = 6
"""Partitions that are full."""


@contextmanager
def _filled(folder: Path, outcomes: int, cut: bool) -> Iterator[tuple[str, Store]]:
    """A log of so many outcomes, and as many decisions; cut into partitions or not."""
    with fresh_log(folder) as (url, schema):
        where = f"{url}&partition_days=7" if cut else url
        cutting.FEWEST = partitions.FEWEST = 2 * outcomes // _CUT
        with closing(Store(where)) as store:
            for _ in range(_CUT):
                _fill(store, outcomes // _CUT)
                if cut:
                    store.writer.transact(lambda connection, seq: connection.stretches().extend(seq))  # type: ignore[union-attr]
            with psycopg.connect(SERVER, autocommit=True) as server:
                server.execute(f"ANALYZE {schema}.outcomes; ANALYZE {schema}.decisions")
            yield where, store


def in_partitions(folder: Path, repeats: int, outcomes: int, recorded: int) -> list[Figure]:
    """The same log in partitions, and in none: recording, and reading all of it."""
    with _filled(folder, outcomes, True) as (url, store), _filled(folder, outcomes, False) as (plain, other):

        def record(where: str) -> float:
            with Router(AGENTS, ["thompson"], where, seed=0, learning=False) as router:
                ids = [router.route(TASKS[number % len(TASKS)]).decision_id for number in range(recorded)]
                router.flush()
                return throughput(lambda one, success: router.record(one, OUTCOMES[success]), ids, CALLERS)

        read, read_plain = in_turn((lambda: _read(store), lambda: _read(other)), repeats)
        wrote, wrote_plain = in_turn((lambda: record(url), lambda: record(plain)), repeats)
    told = f"{_CUT} full partitions; {median(wrote):,.0f}/s against {median(wrote_plain):,.0f}/s"
    beside = f"{outcomes:,} outcomes; {median(read):,.0f}/s against {median(read_plain):,.0f}/s"
    return [
        Figure("record in partitions ÷ in none", [100 * one for one in ratios(wrote, wrote_plain)], "%", detail=told),
        Figure("replay in partitions ÷ in none", [100 * one for one in ratios(read, read_plain)], "%", detail=beside),
    ]


# -- processes


def _together(folder: Path, processes: int, threads: int, seconds: float, bare: bool = False) -> Work:
    with fresh_log(folder) as (url, schema):
        Router(AGENTS, ["thompson"], url).close()
        program = (
            [str(Path(__file__).with_name("bare_postgres.py")), SERVER, schema] if bare else [__file__, "--work", url]
        )
        command = [sys.executable, *program, str(threads), str(seconds)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started = [subprocess.Popen(command, **pipes) for _ in range(processes)]
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a process did not start; its error is above")
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return together([Work(**json.loads(process.communicate()[0])) for process in started])


def processes(folder: Path, repeats: int, seconds: float, threads: int = 16) -> list[Figure]:
    """Four processes against one with as many threads, and psycopg alone likewise."""
    several, one, bare_several, bare_one = in_turn(
        [
            partial(_together, folder, number, PROCESSES * threads // number, seconds, bare)
            for bare in (False, True)
            for number in (PROCESSES, 1)
        ],
        repeats,
    )
    errors = [error for done in (*several, *one) for error in done.errors]
    rates = [[done.per_second for done in runs] for runs in (several, one, bare_several, bare_one)]
    told = [f"{median(ours):,.0f}/s against {median(theirs):,.0f}/s" for ours, theirs in (rates[:2], rates[2:])]
    shares = [[100 * ratio for ratio in ratios(ours, theirs)] for ours, theirs in (rates[:2], rates[2:])]
    spent, alone = ([1e6 * done.processor_s / len(done.waits_ms) for done in runs] for runs in (several, one))
    worst = [max(done.waits_ms) for done in several]
    usual = median(percentile(done.waits_ms, 0.5) for done in several)
    task = f"{median(spent):,.0f} against {median(alone):,.0f} µs, the server's not among them"
    return [
        Figure(f"{PROCESSES} processes: errors", [len(errors)], "", 0.0, detail="; ".join(errors[:1])),
        Figure("  all together ÷ one process with as many threads", shares[0], "%", 120, "at least", told[0]),
        Figure("  the same of psycopg alone", shares[1], "%", detail=told[1]),
        Figure("  processor time a task ÷ that of one process", ratios(spent, alone), detail=task),
        Figure("  worst wait of a record", worst, "ms", 100.0, detail=f"median {usual:.1f} ms"),
    ]


# -- news


def news(folder: Path, rounds: int) -> list[Figure]:
    """From ``record`` in one process to another choice in another, for both engines; two routers stand for two."""
    figures = []
    for what, goal in (("PostgreSQL", 500.0), ("SQLite", 2_000.0)):
        with fresh_log(folder) as (url, _):
            where = url if what == "PostgreSQL" else str(folder / f"{secrets.token_hex(4)}.db")
            settings: dict[str, Any] = {"seed": 0, "batch_events": 1}
            with Router(["a", "b"], ["thompson"], where, **settings) as one, Router(store=where, **settings) as two:
                waits = [_until_known(one, two, f"type {number}") for number in range(rounds)]
        told = f"median {median(waits):.0f} ms of {rounds}"
        figures.append(Figure(f"{what}: known elsewhere, p99", [percentile(waits, 0.99)], "ms", goal, detail=told))
    return figures


def _until_known(one: Router, two: Router, kind: str) -> float:
    before = two.rank(Task(task_type=kind))
    started = time.perf_counter()
    for _ in range(6):
        one.observe(Task(task_type=kind), "b", Outcome(success=True))
    while two.rank(Task(task_type=kind)) == before:
        time.sleep(0.001)
        if time.perf_counter() - started > 20.0:
            break
    return (time.perf_counter() - started) * 1e3


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table."""
    chosen = options(__doc__, argv, PARTS)
    parts, repeats, quick = chosen.only or PARTS, chosen.repeats, chosen.quick
    figures: list[Figure] = []
    with scratch(chosen.folder) as folder:
        if "record" in parts:
            figures += recording(folder, repeats, 640 if quick else 9_600)
        if "replay" in parts:
            figures += replay(folder, repeats, 6_400 if quick else 1_024_000)
        if "partitions" in parts:
            figures += in_partitions(folder, repeats, 6_000 if quick else 240_000, 640 if quick else 9_600)
        if "processes" in parts:
            figures += processes(folder, repeats, 0.3 if quick else 3.0)
        if "news" in parts:
            figures += news(folder, 3 if quick else 100)
        show("The log in PostgreSQL", figures, conditions(folder))


def _work(url: str, threads: str, seconds: str) -> None:
    with Router(AGENTS, ["thompson"], url) as router:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(work(router, int(threads), float(seconds)))), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(*sys.argv[2:])
    else:
        main()
