"""Which agents there are, which fitted versions, and which one served when: append-only histories."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from router_sdk.errors import ChampionMovedError
from router_sdk.records import Agent, ModelVersion
from router_sdk.records.fields import MAX_COST_USD, MAX_LATENCY_MS
from router_sdk.store.context import NEWCOMERS
from router_sdk.store.coordination import add_intent, finish_intent
from router_sdk.store.datasets import add_dataset, dataset_counts, give_up_datasets

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from router_sdk.store.datasets import DatasetRow
    from router_sdk.store.group_commit import LogWriter

CHAMPION = "champion"
"""Alias of the version that serves."""
PINNED = "pinned"
"""Alias of a champion that a person chose: nothing but a person changes it."""

_COLUMNS = (
    "strategy, version, at, kind, parent, upto, samples, passed, reason, folder, settings, metrics, fine_tuned, "
    "data_hash, pruned_at"
)


class Champion(NamedTuple):
    """One entry of the history.

    Attributes:
        version: What serves from there on; None is the strategy as it is without any fit.
        pinned: Whether a person chose it.
        token: Position in the history: a later one fences off an earlier one.
        at: When, in seconds since the epoch.
        reason: Why.
    """

    version: int | None
    pinned: bool
    token: int
    at: float
    reason: str


NEVER = Champion(None, False, 0, 0.0, "nothing was ever promoted")
"""What serves before the first entry."""


def add_version(
    writer: LogWriter,
    strategy: str,
    *,
    kind: str,
    parent: int | None,
    upto: int,
    samples: int,
    passed: bool,
    reason: str,
    folder: str,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
    fine_tuned: bool,
    data_hash: str,
    unless_forgotten_after: int,
    promote_after: int | None = None,
    dataset: DatasetRow | None = None,
) -> tuple[ModelVersion, int | None] | None:
    """Register a fitted version under the strategy's next number, with the fields of ``ModelVersion`` and its data set.

    It is not, where a session was forgotten after the position ``unless_forgotten_after``: it may remember it.
    Where it shall serve, ``promote_after`` is the history's token that it was judged against. The intent is logged with
    the version, so that whoever comes next promotes it should this process end before it does.

    Returns:
        The version, and the intent to promote it; None where it was not registered.
    """
    at = time.time()

    def work(connection: sqlite3.Connection, seq: int) -> tuple[int, int | None] | None:
        if forgotten_after(connection, unless_forgotten_after):
            return None
        query = "SELECT ifnull(max(version), 0) + 1 FROM model_versions WHERE strategy = ?"
        number: int = connection.execute(query, (strategy,)).fetchone()[0]
        connection.execute(
            f"INSERT INTO model_versions ({_COLUMNS}) VALUES ({', '.join('?' * 15)})",
            (
                *(strategy, number, at, kind, parent, upto, samples, int(passed), reason, folder),
                *(json.dumps(dict(settings)), json.dumps(dict(metrics)), int(fine_tuned), data_hash, None),
            ),
        )
        if dataset is not None:
            add_dataset(connection, strategy, number, at, dataset)
        if promote_after is None:
            return number, None
        wanted = {"strategy": strategy, "version": number, "after": promote_after, "reason": reason}
        return number, add_intent(connection, "promote", wanted)

    found = writer.transact(work)
    if found is None:
        return None
    number, intent = found
    version = ModelVersion(
        strategy,
        number,
        at,
        kind,
        parent,
        upto,
        samples,
        passed=passed,
        reason=reason,
        folder=folder,
        settings=settings,
        metrics=metrics,
        fine_tuned=fine_tuned,
        data_hash=data_hash,
        dataset=None if dataset is None else dataset.counts,
    )
    return version, intent


def forgotten_after(connection: sqlite3.Connection, position: int) -> dict[int, list[str]]:
    """Decisions that were forgotten after a position in the log, by the position of the event."""
    rows = connection.execute("SELECT seq, decision_ids FROM forgotten WHERE seq > ? ORDER BY seq", (position,))
    return {seq: ids.split() for seq, ids in rows}


def versions(connection: sqlite3.Connection, strategy: str) -> list[ModelVersion]:
    """A strategy's versions, oldest first."""
    serving = champion(connection, strategy)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM model_versions WHERE strategy = ? ORDER BY version", (strategy,)
    ).fetchall()
    counts = dataset_counts(connection, strategy)
    found = []
    for row in rows:
        fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
        fields["dataset"] = counts.get(fields["version"])
        for name in ("passed", "fine_tuned"):
            fields[name] = bool(fields[name])
        for name in ("settings", "metrics"):
            fields[name] = json.loads(fields[name])
        aliases: tuple[str, ...] = ()
        if fields["version"] == serving.version:
            aliases = (CHAMPION, PINNED) if serving.pinned else (CHAMPION,)
        found.append(ModelVersion(**fields, aliases=aliases))
    return found


def set_champion(
    writer: LogWriter,
    strategy: str,
    version: int | None,
    reason: str,
    *,
    pinned: bool,
    after: int | None = None,
    intent: int | None = None,
) -> int:
    """Note that a version serves from now on, None for what was never fitted; return the history's token.

    Args:
        writer: The log.
        strategy: Whose.
        version: Which.
        reason: For the history.
        pinned: Whether nothing but a person may change it.
        after: The token that must still be the strategy's newest; None asks nobody.
        intent: What this fulfils.

    Raises:
        ChampionMovedError: if somebody else moved the alias since.
    """

    def work(connection: sqlite3.Connection, seq: int) -> int | None:
        if intent is not None:
            finish_intent(connection, intent)
        if after is not None and champion(connection, strategy).token != after:
            return None
        row = (strategy, CHAMPION, version, time.time(), reason, int(pinned))
        query = "INSERT INTO alias_history (strategy, alias, version, at, reason, held) VALUES (?, ?, ?, ?, ?, ?)"
        return connection.execute(query, row).lastrowid

    token = writer.transact(work)
    if token is None:
        raise ChampionMovedError(
            f"what serves of {strategy!r} was changed while version {version} was made; it stays a candidate"
        )
    return token


def champion(connection: sqlite3.Connection, strategy: str) -> Champion:
    """What serves."""
    found = champions(connection, strategy, 1)
    return found[0] if found else NEVER


def champions(connection: sqlite3.Connection, strategy: str, limit: int = -1) -> list[Champion]:
    """What served, newest first."""
    query = """SELECT version, held, token, at, reason FROM alias_history WHERE strategy = ? AND alias = ?
               ORDER BY token DESC LIMIT ?"""
    rows = connection.execute(query, (strategy, CHAMPION, limit))
    return [Champion(version, bool(pinned), token, at, reason) for version, pinned, token, at, reason in rows]


def before(history: list[Champion], number: int | None) -> int | None:
    """What served when a version first came.

    Args:
        history: Newest first.
        number: Which; must be in it.
    """
    served = [None, *(entry.version for entry in reversed(history))]
    return served[served.index(number, 1) - 1]


def alias_token(connection: sqlite3.Connection) -> int:
    """The history's newest token: it changes whenever another version serves."""
    token: int = connection.execute("SELECT ifnull(max(token), 0) FROM alias_history").fetchone()[0]
    return token


def prune_versions(writer: LogWriter, strategy: str, keep: int, keep_s: float | None) -> list[str]:
    """Give up old versions; their rows and reports stay, and what their data sets came to.

    What serves, what was ever rolled back to, and what a rollback would go to are kept whatever their age.

    Args:
        writer: The log.
        strategy: Whose.
        keep: Of the newest, how many are kept.
        keep_s: Those that are younger are kept too, in seconds; None keeps none for its age.

    Returns:
        Names of the folders that nothing needs any more.
    """

    def work(connection: sqlite3.Connection, seq: int) -> list[str]:
        history = champions(connection, strategy)
        needed: set[int | None] = {entry.version for entry in history if entry.reason.startswith(ROLLBACK)}
        if history:
            needed |= {history[0].version, before(history, history[0].version)}
        rows = connection.execute(
            """SELECT version, at, folder FROM model_versions WHERE strategy = ? AND pruned_at IS NULL
               ORDER BY version DESC LIMIT -1 OFFSET ?""",
            (strategy, keep),
        ).fetchall()
        now = time.time()
        old = [
            (number, folder)
            for number, at, folder in rows
            if number not in needed and (keep_s is None or now - at > keep_s)
        ]
        query = "UPDATE model_versions SET pruned_at = ? WHERE strategy = ? AND version = ?"
        connection.executemany(query, [(now, strategy, number) for number, _ in old])
        give_up_datasets(connection, strategy, [number for number, _ in old])
        return [folder for _, folder in old]

    return writer.transact(work)


ROLLBACK = "rollback"
"""How the reason of a rollback begins."""


def fits_since(connection: sqlite3.Connection, strategy: str) -> tuple[int, float | None]:
    """Position in the log that the newest attempt to fit reached, and when it was; (0, None) if there was none."""
    query = "SELECT cursor, at FROM learning_events WHERE strategy = ? AND type = 'fit' ORDER BY id DESC LIMIT 1"
    row = connection.execute(query, (strategy,)).fetchone()
    return (row[0], row[1]) if row else (0, None)


def fresh_examples(connection: sqlite3.Connection, cursor: int, most: int) -> int:
    """Decisions with an outcome after ``cursor``, counted up to ``most``."""
    query = "SELECT count(*) FROM (SELECT DISTINCT decision_id FROM outcomes WHERE seq > ? LIMIT ?)"
    count: int = connection.execute(query, (cursor, most)).fetchone()[0]
    return count


def move_version(writer: LogWriter, version: ModelVersion, folder: str) -> None:
    """Note that a version's files lie in another folder now."""

    def work(connection: sqlite3.Connection, seq: int) -> None:
        query = "UPDATE model_versions SET folder = ? WHERE strategy = ? AND version = ?"
        connection.execute(query, (folder, version.strategy, version.version))

    writer.transact(work)


# -- agents

Status = Literal["active", "removed"]


def add_agents(writer: LogWriter, agents: Sequence[Agent], *, fresh: bool = False) -> None:
    """Log that these agents are there now; those that stand there unchanged already are left alone.

    Args:
        writer: The log.
        agents: Whom to add.
        fresh: Forget what was learnt under these names so far.
    """

    def work(connection: sqlite3.Connection, seq: int) -> None:
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

    def work(connection: sqlite3.Connection, seq: int) -> None:
        row = (seq, agent.name, "removed", 0, canonical(agent), time.time())
        connection.execute("INSERT INTO agents VALUES (?, ?, ?, ?, ?, ?)", row)

    writer.transact(work)


def read_agents(connection: sqlite3.Connection) -> dict[str, tuple[Status, Agent]]:
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


def catalog_version(connection: sqlite3.Connection) -> int:
    """Changes whenever an agent was added or removed."""
    version: int = connection.execute("SELECT ifnull(max(seq), 0) FROM agents").fetchone()[0]
    return version


def newest_agent(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """Where in the log an agent came last that it did not know, or not any more, and its name; 0 where none did."""
    found = connection.execute(f"{NEWCOMERS} DESC LIMIT 1").fetchone()
    return (0, None) if found is None else (found[0], found[1])
