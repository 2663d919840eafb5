"""What came of the newest decisions, and how many are fresh, kept up to date a few events at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from router_sdk.store.events import Fresh, fresh_examples
from router_sdk.store.tail import LogTail
from router_sdk.store.transaction import HEAD
from router_sdk.training.cooldown import steady_clock
from router_sdk.triggers import WINDOW, Answered, Heard

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.rewards import RewardFunction
    from router_sdk.store.reader import LogReader
    from router_sdk.store.tail import Batch

_LOOK_S = 2.0
"""How old what is known may be, for who asks often."""
_POSITIONS = 8 * WINDOW
"""Newest positions of the log that are read: of each decision there are two or more."""
_PIECE = 512
_COUNTED = 10_000
"""Outcomes that are counted at one look: of a long log that was never fitted from, the next look counts more."""

Said = tuple[str, Heard | None]
"""What was last heard of a decision; None where its outcome was taken back."""

_ANSWERS = """SELECT seq, at, confidence FROM decisions WHERE source = 'routed' AND confidence IS NOT NULL
              ORDER BY seq DESC LIMIT ?"""


class Lately:
    """The newest outcomes and decisions of a log. Any thread may ask; what is returned never changes.

    Args:
        reader: The log.
        reward: Turns outcomes into rewards.
        monotonic: Seconds of a clock that never jumps.
    """

    def __init__(
        self, reader: LogReader, reward: RewardFunction, monotonic: Callable[[], float] = steady_clock
    ) -> None:
        self._reader, self._reward, self._monotonic = reader, reward, monotonic
        self._fresh: dict[str, Fresh] = {}
        self._known: tuple[int, dict[str, Heard]] = (0, {})
        self._outcomes: tuple[float, tuple[Heard, ...]] | None = None
        self._answers: tuple[float, tuple[Answered, ...]] | None = None

    def outcomes(self, *, now: bool = False) -> tuple[Heard, ...]:
        """What came of the newest decisions, at most twice ``WINDOW``, in the order in which it was last heard of them.

        Args:
            now: Look, although it was looked two seconds ago.
        """
        if now or self._outcomes is None or self._monotonic() - self._outcomes[0] >= _LOOK_S:
            upto, heard = self._known[0], dict(self._known[1])
            head: int = self._reader.query(lambda connection: connection.execute(HEAD).fetchone()[0])
            upto = max(upto, head - _POSITIONS)
            while upto < head:  # in pieces: others ask the log in between
                upto, found = self._reader.query(partial(self._next, upto, head))
                for decision_id, one in found:
                    heard.pop(decision_id, None)
                    if one is not None:
                        heard[decision_id] = one
            for decision_id in list(heard)[: -2 * WINDOW]:
                del heard[decision_id]
            self._known = upto, heard
            self._outcomes = self._monotonic(), tuple(heard.values())
        return self._outcomes[1]

    def fresh(self, strategy: str, cursor: int, min_quality: float | None) -> Fresh:
        """How many decisions are fresh to a strategy whose last attempt to fit reached a position."""
        known = self._fresh.get(strategy)
        start = Fresh(cursor, cursor, 0, 0) if known is None or known.cursor != cursor else known
        found = self._reader.query(lambda connection: fresh_examples(connection, start, _COUNTED, min_quality))
        self._fresh[strategy] = found
        return found

    def answers(self, *, now: bool = False) -> tuple[Answered, ...]:
        """The newest routed decisions, oldest first, at most ``WINDOW``."""
        if now or self._answers is None or self._monotonic() - self._answers[0] >= _LOOK_S:
            rows = self._reader.query(lambda connection: connection.execute(_ANSWERS, (WINDOW,)).fetchall())
            self._answers = self._monotonic(), tuple(Answered(*row) for row in reversed(rows))
        return self._answers[1]

    def _next(self, upto: int, head: int, connection: Connection) -> tuple[int, list[Said]]:
        batch = LogTail(connection, self._reward).read(upto, head, _PIECE)
        return batch.upto, _heard(batch)


def _heard(batch: Batch) -> list[Said]:
    """What a piece of the log says."""
    columns = batch.columns
    found: list[Said] = []
    rows = zip(
        columns.decision_id, columns.seq, columns.at, columns.agent, columns.reward, columns.success, strict=True
    )
    for place, (decision_id, seq, at, agent, reward, success) in enumerate(rows):
        more = columns.others.get(place)
        disliked = None
        if more is not None:
            if more.withdrawn:
                found.append((decision_id, None))
                continue
            feedback = more.signals.feedback
            disliked = None if feedback is None else feedback < 0.0
        failed = None if success is None else not success
        found.append((decision_id, Heard(seq, at, agent, reward, failed, disliked)))
    return found
