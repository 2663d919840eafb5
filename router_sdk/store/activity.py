"""What happened lately: who answered, why others did not, and what was learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
     json_each(d.skipped) step WHERE step.type = 'array' GROUP BY 1, 2 ORDER BY 4 DESC"""

_EVENTS = (
    *("at", "strategy", "model_version", "type", "status", "batch_size", "samples", "cursor"),
    *("metrics_before", "metrics_after", "improvement", "duration_ms", "error", "reason", "fine_tuned"),
)


def answered(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Who answered the newest decisions: strategy, decisions, share, mean confidence, share explored."""
    rows = connection.execute(_ANSWERED, (RECENT,)).fetchall()
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


def passed(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Why strategies did not answer the newest decisions, the newest reason first."""
    rows = connection.execute(_SKIPPED, (RECENT,)).fetchall()
    return [{"strategy": strategy, "reason": reason, "decisions": count} for strategy, reason, count, _ in rows]


def learning_events(connection: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """The newest updates of what is learnt, newest first."""
    query = f"SELECT {', '.join(_EVENTS)} FROM learning_events ORDER BY id DESC LIMIT ?"
    return [dict(zip(_EVENTS, row, strict=True)) for row in connection.execute(query, (limit,))]
