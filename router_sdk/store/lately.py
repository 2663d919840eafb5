"""Who answered the newest decisions, and why others did not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from router_sdk.store.rows import read_notes

if TYPE_CHECKING:
    from router_sdk.engine import Connection

RECENT = 1_000
"""Over how many of the newest decisions "lately" reaches."""

_ANSWERED = """
SELECT strategy, count(*), avg(confidence), avg(CASE WHEN explored = 1 THEN 1.0 ELSE 0.0 END), max(at)
FROM (SELECT * FROM decisions WHERE source = 'routed' ORDER BY seq DESC LIMIT ?) AS newest
GROUP BY strategy ORDER BY 2 DESC"""

_VERSIONS = """
SELECT strategy, model_version, count(*)
FROM (SELECT * FROM decisions WHERE source = 'routed' ORDER BY seq DESC LIMIT ?) AS newest
WHERE model_version IS NOT NULL GROUP BY strategy, model_version ORDER BY model_version"""

_SKIPPED = """
SELECT skipped FROM decisions WHERE source = 'routed' AND skipped IS NOT NULL ORDER BY seq DESC LIMIT ?"""


def answered(connection: Connection) -> list[dict[str, Any]]:
    """Who answered the newest decisions: strategy, decisions, of which version, share, mean confidence, explored."""
    rows = connection.execute(_ANSWERED, (RECENT,)).fetchall()
    versions: dict[str, dict[str, int]] = {}
    for strategy, version, count in connection.execute(_VERSIONS, (RECENT,)):
        versions.setdefault(strategy, {})[str(version)] = count
    total = sum(row[1] for row in rows)
    return [
        {
            "strategy": strategy,
            "decisions": count,
            "versions": versions.get(strategy, {}),
            "share": count / total,
            "mean_confidence": confidence,
            "explored": explored,
            "last_at": at,
        }
        for strategy, count, confidence, explored, at in rows
    ]


def passed(connection: Connection) -> list[dict[str, Any]]:
    """Why strategies did not answer the newest decisions, the newest reason first."""
    counted = Counter(
        (step.strategy, step.reason)
        for (notes,) in connection.execute(_SKIPPED, (RECENT,))
        for step in read_notes(notes).skipped
    )
    return [
        {"strategy": strategy, "reason": reason, "decisions": count} for (strategy, reason), count in counted.items()
    ]
