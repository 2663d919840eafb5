"""Questions of ``router status`` to the log: who answered lately, why others did not, and what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.store.connection import open_reader

if TYPE_CHECKING:
    import sqlite3

RECENT = 1_000
"""Over how many of the newest decisions "lately" reaches."""

_ANSWERED = """
SELECT strategy, count(*), avg(confidence), avg(explored), max(at)
FROM (SELECT * FROM decisions WHERE source = 'routed' ORDER BY seq DESC LIMIT ?) GROUP BY strategy ORDER BY 2 DESC"""

_SKIPPED = """
SELECT json_extract(step.value, '$[0]') AS strategy, json_extract(step.value, '$[1]') AS reason, count(*), max(d.seq)
FROM (SELECT seq, skipped FROM decisions WHERE source = 'routed' AND skipped IS NOT NULL ORDER BY seq DESC LIMIT ?) d,
     json_each(d.skipped) step GROUP BY 1, 2 ORDER BY 4 DESC"""

_EVENTS = (
    *("at", "strategy", "model_version", "type", "status", "batch_size", "samples", "cursor"),
    *("metrics_before", "metrics_after", "improvement", "duration_ms", "error"),
)


def answered(path: Path) -> list[dict[str, Any]]:
    """Who answered the newest decisions: strategy, decisions, share, mean confidence, share explored."""
    rows = _ask(path, _ANSWERED, RECENT)
    total = sum(row[1] for row in rows)
    return [
        {
            "strategy": strategy,
            "decisions": count,
            "share": count / total,
            "mean_confidence": confidence,
            "explored": explored,
            "last_at": at,
        }
        for strategy, count, confidence, explored, at in rows
    ]


def passed(path: Path) -> list[dict[str, Any]]:
    """Why strategies did not answer the newest decisions, the newest reason first."""
    rows = _ask(path, _SKIPPED, RECENT)
    return [{"strategy": strategy, "reason": reason, "decisions": count} for strategy, reason, count, _ in rows]


def learning_events(path: Path, limit: int) -> list[dict[str, Any]]:
    """The newest updates of what is learnt, newest first."""
    query = f"SELECT {', '.join(_EVENTS)} FROM learning_events ORDER BY id DESC LIMIT ?"
    return [dict(zip(_EVENTS, row, strict=True)) for row in _ask(path, query, limit)]


def _ask(path: Path, query: str, limit: int) -> list[Any]:
    connection: sqlite3.Connection = open_reader(path)
    try:
        return connection.execute(query, (limit,)).fetchall()
    finally:
        connection.close()
