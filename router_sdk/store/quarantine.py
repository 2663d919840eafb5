"""What teaches nothing: ranges of the log that strategies leave out, by events in it that can be lifted again.

A part of an outcome stands where it takes effect: at its own position, or at its decision's where that comes later. A
quarantine says that parts behind ``from_seq`` and up to ``upto_seq`` teach nothing: no strategy, or not one. What is
learnt then is what would have been learnt had they never been recorded, corrections among them: a part that comes later
is learnt against what was learnt before, not against what was left out. They stay in the log, and what tells what
happened goes on counting them: reports, calibration, off-policy evaluation, exports.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidIdError, InvalidInputError, UnknownDecisionError
from router_sdk.records.plain import plain
from router_sdk.store.identity import check_id
from router_sdk.store.transaction import HEAD

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter

Ranges = tuple[tuple[int, int], ...]
"""Positions of the log, as (from, upto]: in order, and apart."""

Position = int | str | datetime
"""A position, a decision's id (which stands where the decision does), or a time (which stands behind the last outcome
that was logged by then): a ``datetime``, or as ISO 8601 spells it, in local time where it names no zone."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A range of the log that teaches nothing.

    Attributes:
        number: Position of its event in the log, by which it is lifted.
        strategy: Who learns nothing of it; None is every strategy.
        from_seq: Position behind which it begins.
        upto_seq: Position with which it ends.
        reason: Why.
        actor: Who said so, or None.
        at: When, in seconds since the epoch.
        lifted_at: When it was lifted, or None.
        lifted_because: Why, or None.
    """

    number: int
    strategy: str | None
    from_seq: int
    upto_seq: int
    reason: str
    actor: str | None
    at: float
    lifted_at: float | None = None
    lifted_because: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The quarantine as JSON values."""
        return asdict(self)


# -- the events

_EVENTS = """
SELECT q.seq, q.strategy, q.from_seq, q.upto_seq, q.reason, q.actor, q.at, l.at, l.reason
FROM quarantines q LEFT JOIN quarantines l ON l.lifts = q.seq AND l.seq <= ?1
WHERE q.lifts IS NULL AND q.seq <= ?1 ORDER BY q.seq"""

_EVERYTHING = 2**62


def quarantines(connection: Connection, upto: int = _EVERYTHING) -> list[Quarantine]:
    """All of them, lifted ones too, oldest first; or as the log said at a position."""
    return [Quarantine(*row) for row in connection.execute(_EVENTS, (upto,))]


def quarantined(connection: Connection, strategy: str, upto: int = _EVERYTHING) -> Ranges:
    """What a strategy is to leave out; or was, by what the log said at a position."""
    return union(
        (one.from_seq, one.upto_seq)
        for one in quarantines(connection, upto)
        if one.lifted_at is None and one.strategy in (None, strategy)
    )


def add_quarantine(
    writer: LogWriter, strategy: str | None, from_seq: int, upto_seq: int | None, reason: str, actor: str | None
) -> int:
    """Log one, and return its number; that of the one in force where the same was said before.

    Args:
        writer: The log.
        strategy: Who is to leave it out; None is every strategy.
        from_seq: Position behind which it begins.
        upto_seq: Position with which it ends; None is where the log ends.
        reason: Why.
        actor: Who says so.

    Raises:
        InvalidInputError: if nothing lies in between, or not yet.
    """

    def work(connection: Connection, seq: int) -> int:
        upto = seq - 1 if upto_seq is None else upto_seq
        if not 0 <= from_seq < upto < seq:
            raise InvalidInputError(
                f"a quarantine begins behind a position and ends with a later one that the log has: got {from_seq} to "
                f"{upto}, and it ends at {seq - 1}"
            )
        told = (strategy, from_seq, upto)
        for one in quarantines(connection):
            if one.lifted_at is None and (one.strategy, one.from_seq, one.upto_seq) == told:
                return one.number
        query = """INSERT INTO quarantines (seq, strategy, from_seq, upto_seq, reason, actor, at)
                   VALUES (?, ?, ?, ?, ?, ?, ?)"""
        connection.execute(query, (seq, *told, reason, actor, time.time()))
        return seq

    return writer.transact(work)


def lift_quarantine(writer: LogWriter, number: int, reason: str, actor: str | None) -> None:
    """Log that what a quarantine left out counts again.

    Raises:
        InvalidInputError: if there is none of that number in force.
    """

    def work(connection: Connection, seq: int) -> None:
        standing = [one.number for one in quarantines(connection) if one.lifted_at is None]
        if number not in standing:
            raise InvalidInputError(f"no quarantine {number!r:.40} is in force; there are {standing}")
        query = "INSERT INTO quarantines (seq, lifts, reason, actor, at) VALUES (?, ?, ?, ?, ?)"
        connection.execute(query, (seq, number, reason, actor, time.time()))

    writer.transact(work)


def _id(where: object, what: str) -> str:
    try:
        return check_id(where, what)
    except InvalidIdError:
        kinds = "a position of the log, a decision's id or a time such as 2026-01-31T12:00"
        raise InvalidIdError(f"{what}: expected {kinds}, got {where!r:.60}") from None


def position_of(connection: Connection, where: object, what: str) -> int:
    """Which position of the log somebody means, see ``Position``.

    Raises:
        InvalidInputError: if it is none of these, or lies beyond the end of the log.
        UnknownDecisionError: if the log holds no decision of that id.
    """
    where = plain(where)
    if isinstance(where, str) and not where.isdecimal():
        try:
            where = datetime.fromisoformat(where)
        except ValueError:
            found = connection.execute("SELECT seq FROM decisions WHERE decision_id = ?", (_id(where, what),))
            row = found.fetchone()
            if row is None:
                raise UnknownDecisionError(f"{what}: the log holds no decision {where}") from None
            return int(row[0])
    if isinstance(where, datetime):
        query = "SELECT coalesce(max(seq), 0) FROM outcomes WHERE logged_at <= ?"
        try:
            at = where.timestamp()
        except (OverflowError, ValueError):  # what no clock shows, such as the year 1
            raise InvalidInputError(f"{what}: {where} lies too far from now") from None
        return int(connection.execute(query, (at,)).fetchone()[0])
    (head,) = connection.execute(HEAD).fetchone()
    if isinstance(where, bool) or not isinstance(where, int | str) or not 0 <= int(where) <= head:
        raise InvalidInputError(
            f"{what}: expected a position of the log (0 to {head}), a decision's id or a time, got {where!r:.60}"
        )
    return int(where)


# -- ranges


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The positions that any of them has."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return tuple(joined)


def below(ranges: Ranges, position: int) -> Ranges:
    """Those of the positions that a reader has passed who stands at one."""
    return tuple((begin, min(end, position)) for begin, end in ranges if begin < position)


def above(ranges: Ranges, position: int) -> Ranges:
    """Those that it has still to come to."""
    return tuple((max(begin, position), end) for begin, end in ranges if end > position)
