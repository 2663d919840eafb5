"""When a strategy was last fitted, by the log and by a clock that does not jump.

The log says when each attempt began and ended, by a clock that may have been set since, and may be set at any time;
and by the monotonic clock, which never jumps, and goes on for as long as the machine does. So an attempt is dated once,
when this process first hears of it: by the monotonic clock where that has gone on since (Linux names each start of a
machine), else it is as old as the log's time says, but never of the future; and never older than the last look at which
it was not there yet. From then on the monotonic clock counts.

So no leap of the clock shortens or lengthens a cooldown, whether a process goes on or is started again, and an attempt
whose process was killed counts from its beginning. What remains is a machine that was itself started again, or that is
none of Linux. With the clock set back a cooldown lasts at most once more as long as it is there; with the clock set
forward it may be over at once, and what keeps a fit from being repeated then is that triggers ask for examples that no
attempt has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.store.events import LastFit, last_fit

if TYPE_CHECKING:
    from router_sdk.store.reader import LogReader


def wall_clock() -> float:
    """Seconds since the epoch, by a clock that may jump; a simulation may have put its own into the module."""
    return time.time()


def steady_clock() -> float:
    """Seconds of a clock that never jumps; else as ``wall_clock``."""
    return time.monotonic()


class _Known(NamedTuple):
    """What is known of a strategy's attempts.

    Attributes:
        fit: The newest.
        began: When it ended, or began, on the monotonic clock, in seconds.
        looked: The last look, on the same clock.
        upto: The newest learning event of any kind at that look.
    """

    fit: LastFit
    began: float
    looked: float
    upto: int


class Tried(NamedTuple):
    """The newest attempt to fit: its id (0 if there was none), the position it reached, and its age in seconds."""

    number: int
    cursor: int
    seconds: float | None


class Cooldown:
    """Dates attempts to fit. Any thread may ask.

    Args:
        reader: The log.
        wall: Seconds since the epoch, by a clock that may jump.
        monotonic: Seconds of one that never does.
    """

    def __init__(
        self,
        reader: LogReader,
        wall: Callable[[], float] = wall_clock,
        monotonic: Callable[[], float] = steady_clock,
    ) -> None:
        self._reader, self._wall, self._monotonic = reader, wall, monotonic
        self._known: dict[str, _Known] = {}

    def last(self, strategy: str) -> Tried:
        """The newest attempt at a strategy, by whichever process."""
        before = self._known.get(strategy)
        now = self._monotonic()
        seen = 0 if before is None else before.upto
        fit, newest = self._reader.query(lambda connection: last_fit(connection, strategy, seen))
        if fit.at is not None:
            passed = -1.0 if fit.steady is None else now - fit.steady
            age = passed if passed >= 0.0 else max(self._wall() - fit.at, 0.0)
            known = _Known(fit, now - (age if before is None else min(age, now - before.looked)), now, newest)
        elif before is not None:
            known = before._replace(looked=now, upto=newest)
        else:
            known = _Known(fit, now, now, newest)
        self._known[strategy] = known
        return Tried(known.fit.number, known.fit.cursor, None if known.fit.at is None else now - known.began)
