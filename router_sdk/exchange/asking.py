"""Which decisions to ask people about: those whose outcome would teach most."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from router_sdk.records import Decision
    from router_sdk.store import Store

RECENT = 1_000
"""Among how many of the newest decisions without an outcome to look."""

_WAITING = """
SELECT d.decision_id, d.probabilities, ifnull(p.context_hash, p.text)
FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq
WHERE d.source = 'routed' AND length(d.probabilities) > 4
  AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id)
ORDER BY d.seq DESC LIMIT ?"""


def most_telling(store: Store, count: int) -> list[Decision]:
    """Recent decisions without an outcome, the most uncertain first, each text once in whatever spelling.

    Uncertainty is the entropy of the logged probabilities: where a strategy's probabilities are its belief in which
    agent is best, an outcome tells the most where that belief is spread (Lewis & Gale, "A Sequential Algorithm for
    Training Text Classifiers", SIGIR 1994, for uncertainty sampling).
    """

    def work(connection: sqlite3.Connection) -> list[str]:
        ranked: list[tuple[float, str]] = []
        seen: set[str] = set()
        for decision_id, blob, about in connection.execute(_WAITING, (RECENT,)):
            if about is not None:
                if about in seen:
                    continue
                seen.add(about)
            ranked.append((_entropy(array("f", blob)), decision_id))
        ranked.sort(key=lambda found: -found[0])
        return [decision_id for _, decision_id in ranked[:count]]

    return [store.reader.known_decision(decision_id) for decision_id in store.reader.query(work)]


def _entropy(probabilities: array[float]) -> float:
    """In nats, over the logarithm of how many there are: 1 for a toss-up among all."""
    return -sum(share * math.log(share) for share in probabilities if share > 0) / math.log(len(probabilities))
