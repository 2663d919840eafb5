"""How outcomes come back: at once, late, in parts, repeated, corrected, or never."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from router_sdk.records import Decision, Outcome

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["prompt", "late", "in parts", "repeated", "corrected", "missing"]

SHARES: dict[Kind, float] = {
    "prompt": 0.57,
    "late": 0.20,
    "in parts": 0.08,
    "repeated": 0.05,
    "corrected": 0.05,
    "missing": 0.05,
}
MEAN_DELAY = 30
"""Tasks that pass, on average, before a late outcome arrives; geometric."""


@dataclass(order=True, slots=True)
class Delivery:
    """One message about one decision.

    Attributes:
        due: After how many tasks of the stream it arrives.
        order: Keeps messages that are due together in the order they were sent.
        decision: Which decision.
        outcome: What the message says.
        late: Whether the caller has only the decision's id left by then.
    """

    due: int
    order: int
    decision: Decision = field(compare=False)
    outcome: Outcome = field(compare=False)
    late: bool = field(compare=False)


class FeedbackLoop:
    """Holds back outcomes until they are due.

    Args:
        rng: Decides what happens to each outcome.

    Attributes:
        kinds: How many decisions were treated in which way.
        messages: How many messages were handed out.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.kinds: Counter[str] = Counter(dict.fromkeys(SHARES, 0))
        self.messages = 0
        self._rng = rng
        self._waiting: list[Delivery] = []
        self._sent = 0

    def send(self, decision: Decision, outcome: Outcome, now: int) -> None:
        """Decide how the outcome of a decision made at position ``now`` of the stream will come back."""
        draw = self._rng.random()
        kind: Kind = "missing"
        for candidate, share in SHARES.items():
            draw -= share
            if draw < 0.0:
                kind = candidate
                break
        self.kinds[kind] += 1
        for part, late in _messages(kind, outcome):
            self._sent += 1
            due = now + int(self._rng.geometric(1.0 / MEAN_DELAY)) if late else now
            heapq.heappush(self._waiting, Delivery(due, self._sent, decision, part, late))

    def due(self, now: int | None = None) -> Iterator[Delivery]:
        """Hand out what has arrived by ``now``; everything that is still out where ``now`` is None."""
        while self._waiting and (now is None or self._waiting[0].due <= now):
            self.messages += 1
            yield heapq.heappop(self._waiting)


def _messages(kind: Kind, outcome: Outcome) -> list[tuple[Outcome, bool]]:
    """The messages that one outcome is sent in, each with whether it is late; together they say ``outcome``."""
    if kind == "missing":
        return []
    if kind == "late":
        return [(outcome, True)]
    if kind == "repeated":
        return [(outcome, False), (outcome, True)]
    if kind == "corrected":
        return [(_hasty(outcome), False), (outcome, True)]
    if kind == "in parts":
        said = outcome.model_dump(exclude_none=True)
        judged = {key: value for key, value in said.items() if key in {"success", "quality"}}
        measured = {key: value for key, value in said.items() if key not in judged}
        return [(Outcome(**part), part is judged) for part in (measured, judged) if part]
    return [(outcome, False)]


def _hasty(outcome: Outcome) -> Outcome:
    """A first verdict that turns out to be wrong."""
    if outcome.success is not None:
        return Outcome(success=not outcome.success)
    return Outcome(quality=1.0 - (outcome.quality or 0.0))
