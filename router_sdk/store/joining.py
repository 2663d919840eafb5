"""Decision ⋈ outcomes: the revisions that the parts of one decision's outcome make, in log order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from router_sdk.records import Signals

SIGNAL_COLUMNS = (
    "success, quality, feedback, correct_agent, no_agent_fits, latency_ms, cost_usd, tokens, metrics, agent"
)
"""Columns of ``outcomes`` that make up ``Signals``, in its order."""

NOTHING = Signals()
"""What is known of an agent once it turns out that another one ran."""


class Part(NamedTuple):
    """One delivered part of an outcome.

    Attributes:
        seq: Where it takes effect: its own position, or its decision's if that came later.
        at: When it took effect, by the log's time.
        signals: What it says.
    """

    seq: int
    at: float
    signals: Signals


class Revision(NamedTuple):
    """What was known of a decision from ``seq`` on."""

    number: int
    seq: int
    at: float
    first_at: float
    signals: Signals
    previous: Signals | None


def signals_of(columns: Sequence[Any]) -> Signals:
    """Rebuild ``Signals`` from the columns named in ``SIGNAL_COLUMNS``."""
    success, quality, feedback, label, none_fits, latency_ms, cost_usd, tokens, metrics, agent = columns
    return Signals(
        None if success is None else bool(success),
        quality,
        feedback,
        label,
        None if none_fits is None else bool(none_fits),
        latency_ms,
        cost_usd,
        tokens,
        None if metrics is None else json.loads(metrics),
        agent,
    )


class Joined:
    """What is known of one decision, part by part.

    Parts that take effect together are one revision; a part that changes nothing is none. So a decision that is
    told the same ten times has one revision, and any reader of the log, wherever it starts, sees the same ones.
    """

    def __init__(self) -> None:
        self._known: Signals | None = None
        self._number = 0
        self._first_at = 0.0

    def revisions(self, parts: Sequence[Part]) -> Iterator[Revision]:
        """Join further parts, in the order in which they take effect; those that take effect together come together."""
        joined = self._known
        for part, following in zip_longest(parts, parts[1:]):
            if joined is None:
                joined, self._first_at = part.signals, part.at
            else:
                joined = joined.updated(part.signals)
            if following is not None and following.seq == part.seq:
                continue
            if joined != self._known:
                revision = Revision(self._number, part.seq, part.at, self._first_at, joined, self._known)
                self._known, self._number = joined, self._number + 1
                yield revision
