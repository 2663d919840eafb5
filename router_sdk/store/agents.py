"""Which agents there are: an append-only history."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from router_sdk.records import Agent
from router_sdk.records.fields import MAX_COST_USD, MAX_LATENCY_MS
from router_sdk.store.context import NEWCOMERS

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter

Status = Literal["active", "removed"]


def add_agents(writer: LogWriter, agents: Sequence[Agent], *, fresh: bool = False) -> None:
    """Log that these agents are there now; those that stand there unchanged already are left alone.

    Args:
        writer: The log.
        agents: Whom to add.
        fresh: Forget what was learnt under these names so far.
    """

    def work(connection: Connection, seq: int) -> None:
        for agent in agents:
            record = canonical(agent)
            known = connection.execute(
                "SELECT status, record FROM agents WHERE name = ? ORDER BY seq DESC LIMIT 1", (agent.name,)
            ).fetchone()
            if fresh or known != ("active", record):
                row = (seq, agent.name, "active", int(fresh), record, time.time())
                connection.execute("INSERT INTO agents VALUES (?, ?, ?, ?, ?, ?)", row)
                seq += 1

    writer.transact(work)


def canonical(agent: Agent) -> str:
    """The record as JSON that is equal for equal agents."""
    return json.dumps(agent.model_dump(mode="json"), sort_keys=True)


def remove_agent(writer: LogWriter, agent: Agent) -> None:
    """Log that an agent is gone; what was learnt about it stays."""

    def work(connection: Connection, seq: int) -> None:
        row = (seq, agent.name, "removed", 0, canonical(agent), time.time())
        connection.execute("INSERT INTO agents VALUES (?, ?, ?, ?, ?, ?)", row)

    writer.transact(work)


def read_agents(connection: Connection) -> dict[str, tuple[Status, Agent]]:
    """Every agent the log ever knew, by name, in the order in which they were first added."""
    rows = connection.execute(
        """SELECT a.status, a.record FROM agents a
           JOIN (SELECT name, min(seq) AS first, max(seq) AS newest FROM agents GROUP BY name) n ON n.newest = a.seq
           ORDER BY n.first"""
    )
    agents = ((status, _stored(record)) for status, record in rows)
    return {agent.name: (status, agent) for status, agent in agents}


@lru_cache(maxsize=10_000)
def _stored(record: str) -> Agent:
    """An agent as it was logged, made once for each record; earlier releases took larger numbers."""
    fields = json.loads(record)
    for name, most in (("cost_usd", MAX_COST_USD), ("latency_ms", MAX_LATENCY_MS)):
        if fields.get(name) is not None:
            fields[name] = min(fields[name], most)
    return Agent(**fields)


def catalog_version(connection: Connection) -> int:
    """Changes whenever an agent was added or removed."""
    version: int = connection.execute("SELECT coalesce(max(seq), 0) FROM agents").fetchone()[0]
    return version


def newest_agent(connection: Connection) -> tuple[int, str | None]:
    """Where in the log an agent came last that it did not know, or not any more, and its name; 0 where none did."""
    found = connection.execute(f"{NEWCOMERS} DESC LIMIT 1").fetchone()
    return (0, None) if found is None else (found[0], found[1])
