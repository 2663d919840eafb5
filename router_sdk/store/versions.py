"""The registry: fitted versions, and an append-only history of which one carried which alias when."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from router_sdk.records import ModelVersion

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from router_sdk.store.writer import LogWriter

CHAMPION = "champion"
"""Alias of the version that serves."""

_COLUMNS = "strategy, version, at, kind, parent, upto, samples, passed, reason, folder, settings, metrics"


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
) -> ModelVersion:
    """Register a fitted version under the strategy's next number."""

    def work(connection: sqlite3.Connection, seq: int) -> int:
        query = "SELECT ifnull(max(version), 0) + 1 FROM model_versions WHERE strategy = ?"
        number: int = connection.execute(query, (strategy,)).fetchone()[0]
        connection.execute(
            f"INSERT INTO model_versions ({_COLUMNS}) VALUES ({', '.join('?' * 12)})",
            (
                *(strategy, number, at, kind, parent, upto, samples, int(passed), reason, folder),
                *(json.dumps(dict(settings)), json.dumps(dict(metrics))),
            ),
        )
        return number

    at = time.time()
    number = writer.transact(work)
    return ModelVersion(
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
    )


def versions(connection: sqlite3.Connection, strategy: str) -> list[ModelVersion]:
    """A strategy's versions, oldest first."""
    serving = champion(connection, strategy)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM model_versions WHERE strategy = ? ORDER BY version", (strategy,)
    ).fetchall()
    found = []
    for row in rows:
        fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
        fields["passed"] = bool(fields["passed"])
        for name in ("settings", "metrics"):
            fields[name] = json.loads(fields[name])
        found.append(ModelVersion(**fields, aliases=(CHAMPION,) if fields["version"] == serving else ()))
    return found


def set_champion(writer: LogWriter, strategy: str, version: int | None, reason: str) -> int:
    """Note that a version serves from now on, None for what was never fitted; return the history's token."""

    def work(connection: sqlite3.Connection, seq: int) -> int:
        row = (strategy, CHAMPION, version, time.time(), reason)
        query = "INSERT INTO alias_history (strategy, alias, version, at, reason) VALUES (?, ?, ?, ?, ?)"
        token = connection.execute(query, row).lastrowid
        assert token is not None
        return token

    return writer.transact(work)


def champion(connection: sqlite3.Connection, strategy: str) -> int | None:
    """The version that serves, or None."""
    found = champions(connection, strategy, 1)
    return found[0] if found else None


def champions(connection: sqlite3.Connection, strategy: str, limit: int = -1) -> list[int | None]:
    """What served, newest first; None stands for what was never fitted."""
    query = "SELECT version FROM alias_history WHERE strategy = ? AND alias = ? ORDER BY token DESC LIMIT ?"
    return [row[0] for row in connection.execute(query, (strategy, CHAMPION, limit))]


def alias_token(connection: sqlite3.Connection) -> int:
    """The history's newest token: it changes whenever another version serves."""
    token: int = connection.execute("SELECT ifnull(max(token), 0) FROM alias_history").fetchone()[0]
    return token


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
