"""Old stretches of the log go whole, where the database has cut it so: no row of theirs is deleted by itself.

A stretch goes once all its decisions that may be archived stand in the archive. What of it is to stay is put back by
the transaction that drops it: decisions that are not old enough, or of which something was said lately, and outcomes
whose decision is not there. Decisions with outcomes behind the stretch, its edge, are archived and deleted row by row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import StoreBusyError
from router_sdk.store.transaction import HEAD

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.engine import Connection

MOST_KEPT = 50_000
"""Rows that are put back at most, while nobody records."""
_DROPPED = "dropped"
"""Of ``positions``: up to here stretches were dropped."""

_NEWEST = "SELECT at FROM decisions WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_DROPPED_UPTO = f"SELECT coalesce(max(seq), 0) FROM positions WHERE name = '{_DROPPED}'"
_EDGE = """SELECT d.seq FROM decisions d WHERE d.seq IN (SELECT value FROM json_each(?1))
    AND (d.seq > ?2 OR EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.seq > ?2))"""
_YOUNG = "SELECT seq FROM decisions WHERE seq <= ? AND at >= ?"
_SPOKEN_OF = """SELECT DISTINCT d.seq FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
    WHERE o.seq > ? AND d.seq <= ?"""
_WITHOUT_DECISION = """SELECT o.seq FROM outcomes o WHERE o.seq <= ?1
    AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.decision_id = o.decision_id AND d.seq <= ?1)"""
_OUTCOMES_OF = """SELECT o.seq FROM decisions d JOIN outcomes o ON o.decision_id = d.decision_id
    WHERE d.seq IN (SELECT value FROM json_each(?1)) AND o.seq <= ?2"""


class StillReadError(StoreBusyError):
    """A reader of the log keeps stretches from being dropped, of which all is in the archive.

    Attributes:
        moved: How many decisions are, and the file.
    """

    def __init__(self, moved: tuple[int, Path | None]) -> None:
        super().__init__("somebody reads the log; what is old, and in the archive already, leaves it after that")
        self.moved = moved


def whole_upto(connection: Connection, before: float, cursor: int) -> int:
    """Position up to which the log is to be dropped; 0 where no stretch is old enough.

    Args:
        connection: To the log.
        before: Decisions that were made earlier are old, in seconds since the epoch.
        cursor: Position up to which every consumer has come.
    """
    found = connection.stretches()
    if found is None:
        return 0
    (whole,) = connection.execute(_DROPPED_UPTO).fetchone()
    dropped = whole
    for cut in found.cuts():
        newest = connection.execute(_NEWEST, (cut,)).fetchone()
        if cut > cursor or (newest is not None and newest[0] >= before):
            break
        whole = cut
    return int(whole) if whole > dropped else 0


def edge(connection: Connection, seqs: list[int], whole: int) -> list[int]:
    """Which of these decisions have rows behind the stretches that are to be dropped."""
    return seqs if whole == 0 else [seq for (seq,) in connection.execute(_EDGE, (json.dumps(seqs), whole))]


class Kept(NamedTuple):
    """What of stretches stays.

    Attributes:
        decisions: Positions of decisions.
        outcomes: Positions of outcomes whose decision does not go with them.
        head: The newest position when that was looked for.
    """

    decisions: set[int]
    outcomes: set[int]
    head: int


def look_for_kept(connection: Connection, told: dict[str, Any]) -> Kept:
    """What of the stretches of an archive stays, so far; it takes as long as reading them, and nobody waits."""
    whole = told["whole"]
    (head,) = connection.execute(HEAD).fetchone()
    decisions = {seq for (seq,) in connection.execute(_YOUNG, (whole, told["before"]))}
    decisions |= {seq for (seq,) in connection.execute(_SPOKEN_OF, (told["upto"], whole))}
    return Kept(decisions, {seq for (seq,) in connection.execute(_WITHOUT_DECISION, (whole,))}, head)


def drop_whole(connection: Connection, told: dict[str, Any], kept: Kept) -> None:
    """Drop the stretches of an archive, in a transaction, but what stays.

    Raises:
        StoreBusyError: if a reader would have to be waited for.
    """
    stretches = connection.stretches()
    assert stretches is not None  # who has cut a log leaves it so
    whole = told["whole"]
    decisions = kept.decisions | {seq for (seq,) in connection.execute(_SPOKEN_OF, (kept.head, whole))}
    of_them = connection.execute(_OUTCOMES_OF, (json.dumps(sorted(decisions)), whole)) if decisions else ()
    outcomes = kept.outcomes | {seq for (seq,) in of_them}
    stretches.drop(whole, decisions | outcomes)
