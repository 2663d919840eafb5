"""The log's own time: what fades with age goes by it, and no single clock can carry it far away.

Each outcome is given the log's time when it is committed, so that every reader finds the same, and it never goes back
from one position to the next. It follows the wall's clock of the process that writes. Where that leaps ahead, a week
at most is believed; where it falls behind, the log's time stands still.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

LEAP_S = 7 * 86_400.0
"""Most that the log's time runs ahead of what passed, between two looks at the clock or two processes, in seconds."""

_STATE = """
SELECT (SELECT logged_at FROM outcomes ORDER BY seq DESC LIMIT 1),
       (SELECT CAST(value AS REAL) FROM meta WHERE name = 'log_time')"""


def note_log_time(connection: sqlite3.Connection, *present: float) -> None:
    """Keep the log's time where its newest outcome does not tell it: because that is old, or about to be archived."""
    known = [moment for moment in (*present, *connection.execute(_STATE).fetchone()) if moment is not None]
    if known:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('log_time', ?)", (repr(max(known)),))


class LogClock:
    """Gives outcomes their time in the log, in the transaction that writes them.

    Attributes:
        present: The log's time now, in seconds since the epoch.
    """

    def __init__(self) -> None:
        self.present = time.time()
        self._looked = time.monotonic()
        self._doubt = 0.0  # by how much the wall's clock is believed to be ahead
        self._begun = False
        self._newest: float | None = None

    def read(self, connection: sqlite3.Connection) -> None:
        """Take in what others wrote."""
        newest, noted = connection.execute(_STATE).fetchone()
        self._newest = noted if newest is None else newest
        known = [moment for moment in (newest, noted) if moment is not None]
        if known:
            self.present = max([self.present, *known] if self._begun else known)
        self._begun = True

    def look(self) -> None:
        """Move on to now."""
        wall, looked = time.time(), time.monotonic()
        before, furthest = self.present, self.present + (looked - self._looked) + LEAP_S
        believed = wall - self._doubt
        if believed > furthest:
            self._doubt += believed - furthest
        elif believed < before:
            self._doubt = max(0.0, self._doubt - (before - believed))
        self.present, self._looked = max(before, min(wall - self._doubt, furthest)), looked

    def stamp(self, at: float) -> float:
        """The log's time of the next outcome, which its process dates ``at``."""
        self._newest = min(at, self.present) if self._newest is None else max(self._newest, min(at, self.present))
        return self._newest

    def stamp_copy(self, logged_at: float) -> float:
        """The same of an outcome that another log gave a time, which it keeps where it fits in here."""
        fitting = min(logged_at, self.present + LEAP_S)
        self._newest = fitting if self._newest is None else max(self._newest, fitting)
        return self._newest

    def note(self, connection: sqlite3.Connection) -> None:
        """Keep the present where the newest outcome is of long ago, such as one of a history that is imported."""
        if self._newest is not None and self.present - self._newest > LEAP_S:
            note_log_time(connection, self.present)
