"""From a broker to what is learnt, beside a bare consumer that commits the same transactions.

The bare consumer uses the broker's client as its documentation shows, reads ten messages at a time, parses their JSON,
looks of each whether it was counted before, inserts the same rows, outcomes and position, in one durable transaction,
and acknowledges. It checks, joins and learns nothing. Both begin where the first messages have come: joining a group
takes Kafka seconds, whoever joins. Tasks are of a type, without a text: what a strategy makes of a text is its own
time, and the same wherever the outcome comes from.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from bare_writers import row
from brokers import BROKERS, Broker
from measuring import Figure, conditions, in_turn, options, ratios, scratch, show

from router_sdk import Router
from router_sdk.store.rows import OUTCOME_COLUMNS

MOST = 10
TASK = {"task_type": "code"}
GOAL = 0.7
Rates = tuple[float, float]
"""Events a second, and events for each second of processor time: what a machine with other load says, too."""

OWNER = "SELECT tenant FROM decisions WHERE decision_id = ?"
KNOWN = """SELECT o.decision_id FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
           WHERE o.outcome_id = ? AND d.tenant IS ?"""
Body = tuple[Any, bytes]


def store(path: Path, count: int) -> list[str]:
    """A store with decisions, of whose outcomes the events tell."""
    with Router(agents=["a", "b", "c"], strategies=["thompson"], store=path, seed=0) as router:
        made = [one for start in range(0, count, 500) for one in router.route_batch([TASK] * min(500, count - start))]
    return [one.decision_id for one in made]


def bodies(ids: Sequence[str]) -> list[bytes]:
    """Their events."""
    told = {"success": True, "quality": 0.8, "latency_ms": 850.0, "cost_usd": 0.002}
    return [json.dumps({"decision_id": one, "outcome": told}).encode() for one in ids]


class Clock:
    """Begins with the first messages."""

    def __init__(self, count: int) -> None:
        self._count, self._begun = count, (0.0, 0.0)

    def begin(self) -> None:
        """The first time counts."""
        if not any(self._begun):
            self._begun = time.perf_counter(), time.process_time()

    def rates(self) -> Rates:
        """Until now."""
        wall, processor = self._begun
        return self._count / (time.perf_counter() - wall), self._count / (time.process_time() - processor)


def ours(broker: Broker, topic: str, path: Path, count: int) -> Rates:
    """Until all are learnt."""
    clock = Clock(count)
    with Router(agents=["a", "b", "c"], strategies=["thompson"], store=path, seed=0) as router:
        end, source = threading.Event(), router.streams.source(broker.url(topic, group="ours"))
        poll = source.poll

        def polled(most: int, within_s: float) -> Sequence[Any]:
            found = poll(most, within_s)
            if found:
                clock.begin()
            return found

        source.poll = polled  # type: ignore[method-assign]
        report = router.streams.consume(source, end=end, tell=lambda said: said.stored >= count and end.set())
        router.flush()
        rates = clock.rates()
        learnt = router.statistics()["samples_processed"]
        assert (report.refused, learnt) == (0, count), (report, learnt)
    return rates


def bare(broker: Broker, topic: str, path: Path, count: int) -> Rates:
    """Until all are on disk and acknowledged."""
    clock = Clock(count)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (seq,) = connection.execute("SELECT max(seq) FROM decisions").fetchone()
        one = f"({', '.join('?' * (OUTCOME_COLUMNS.count(',') + 2))})"
        done = 0

        def commit(messages: Sequence[bytes]) -> bool:
            """One transaction; whether all are there now."""
            nonlocal done, seq
            clock.begin()
            values: list[Any] = []
            connection.execute("BEGIN IMMEDIATE")
            for number, body in enumerate(messages, start=seq + 1):
                told = json.loads(body)
                columns = list(row(told["decision_id"], told["outcome"]["success"]))
                columns[0] = f"{topic}/{number}"
                (tenant,) = connection.execute(OWNER, columns[1:2]).fetchone()
                assert connection.execute(KNOWN, (columns[0], tenant)).fetchone() is None
                values += [number, *columns, columns[2]]
            seq += len(messages)
            rows = ", ".join([one] * len(messages))
            connection.execute(f"INSERT INTO outcomes ({OUTCOME_COLUMNS}, logged_at) VALUES {rows}", values)
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('position', ?)", (str(seq),))
            connection.execute("COMMIT")
            done += len(messages)
            return done >= count

        BARE[broker.name](broker, topic, commit)
        return clock.rates()


Commit = Callable[[Sequence[bytes]], bool]


def bare_redis(broker: Broker, topic: str, commit: Commit) -> None:
    """XREADGROUP, XACK."""
    import redis

    client = redis.Redis(port=broker.port)
    client.xgroup_create(topic, "bare", id="0")
    ended = False
    while not ended:
        found = client.xreadgroup("bare", "one", {topic: ">"}, count=MOST, block=500)
        entries = next(iter(found.values()))[0] if isinstance(found, dict) else found[0][1]
        ended = commit([fields[b"data"] for _, fields in entries])
        client.xack(topic, "bare", *(entry for entry, _ in entries))
    client.close()


def bare_nats(broker: Broker, topic: str, commit: Commit) -> None:
    """Fetch, acknowledge each."""
    import nats

    async def run() -> None:
        client = await nats.connect(f"nats://{broker.hosts}")
        subscription = await client.jetstream().pull_subscribe(topic, durable="bare")
        ended = False
        while not ended:
            messages = await subscription.fetch(MOST, timeout=5)
            ended = commit([one.data for one in messages])
            for one in messages:
                await one.ack()
        await client.close()

    asyncio.run(run())


def bare_kafka(broker: Broker, topic: str, commit: Commit) -> None:
    """Consume, commit."""
    from confluent_kafka import Consumer, TopicPartition

    told = {"group.id": "bare", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    client = Consumer({"bootstrap.servers": broker.hosts, **told})
    client.subscribe([topic])
    ended = False
    while not ended:
        messages = client.consume(1, 0.5)
        messages += client.consume(MOST - 1, 0) if messages else []
        if messages:
            ended = commit([one.value() for one in messages])
            reached = {one.partition(): one.offset() + 1 for one in messages}
            client.commit(offsets=[TopicPartition(topic, *each) for each in reached.items()], asynchronous=False)
    client.close()


BARE = {"redis": bare_redis, "nats": bare_nats, "kafka": bare_kafka}


def measured(broker: Broker, folder: Path, count: int, repeats: int) -> Iterator[Figure]:
    """How much of the bare consumer's rates is left."""
    numbers = iter(range(10_000))

    def run(contestant: Callable[[Broker, str, Path, int], Rates]) -> Rates:
        number = next(numbers)
        path, topic = folder / f"{broker.name}-{number}.db", f"outcomes-{number}"
        broker.put(topic, bodies(store(path, count)), within_s=120.0)
        return contestant(broker, topic, path, count)

    own, bares = in_turn([partial(run, ours), partial(run, bare)], repeats)
    for place, what in enumerate(("a second", "a second of processor time")):
        mine, theirs = [one[place] for one in own], [one[place] for one in bares]
        detail = f"{sorted(mine)[len(mine) // 2]:,.0f}, bare {sorted(theirs)[len(theirs) // 2]:,.0f}"
        name = f"{broker.name}: events learnt {what} ÷ a bare consumer's"
        yield Figure(name, ratios(mine, theirs), goal=None if place else GOAL, better="at least", detail=detail)


def figures(folder: Path, names: Sequence[str], count: int, repeats: int) -> Iterator[Figure]:
    """One for each broker that is here."""
    for name in names:
        if (missing := BROKERS[name].missing()) is not None:
            print(f"{name}: {missing} is not here")
            continue
        broker = BROKERS[name](folder / name)
        broker.start()
        try:
            yield from measured(broker, folder, count, repeats)
        finally:
            broker.kill()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    asked = options(__doc__, argv, tuple(BARE))
    count = 200 if asked.quick else 3_000
    with scratch(asked.folder) as folder:
        found = list(figures(folder, asked.only or list(BARE), count, asked.repeats))
        show(f"Streams: {count:,} events, ten in a transaction", found, conditions(folder))


if __name__ == "__main__":
    main()
