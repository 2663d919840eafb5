"""Who answered the newest decisions, and why others did not."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from router_sdk.store.rows import read_notes

if TYPE_CHECKING:
    from router_sdk.engine import Connection

RECENT = 1_000
"""Over how many of the newest decisions "lately" reaches."""

_ANSWERED = """
SELECT strategy, model_version, count(*), count(confidence), sum(confidence),
       sum(CASE WHEN explored = 1 THEN 1 ELSE 0 END), max(at)
FROM (SELECT strategy, model_version, confidence, explored, at FROM decisions WHERE source = 'routed'
      ORDER BY seq DESC LIMIT ?) AS newest
GROUP BY strategy, model_version ORDER BY strategy, model_version"""

_SKIPPED = """
SELECT skipped FROM decisions WHERE source = 'routed' AND skipped IS NOT NULL ORDER BY seq DESC LIMIT ?"""


def answered(connection: Connection) -> list[dict[str, Any]]:
    """Who answered the newest decisions: strategy, decisions, of which version, share, mean confidence, explored."""
    rows = connection.execute(_ANSWERED, (RECENT,)).fetchall()
    total, told = sum(row[2] for row in rows), []
    for strategy, versions in groupby(rows, key=itemgetter(0)):
        _, numbers, counts, sure, confidence, explored, at = zip(*versions, strict=True)
        count, known = sum(counts), sum(sure)
        told.append(
            {
                "strategy": strategy,
                "decisions": count,
                "versions": {str(one): each for one, each in zip(numbers, counts, strict=True) if one is not None},
                "share": count / total,
                "mean_confidence": sum(filter(None, confidence)) / known if known else None,
                "explored": sum(explored) / count,
                "last_at": max(at),
            }
        )
    return sorted(told, key=lambda one: -one["decisions"])


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
