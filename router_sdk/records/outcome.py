"""What happened after a decision, whole or in parts, and what the parts come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, StrictBool, StrictInt

from router_sdk.errors import InvalidOutcomeError
from router_sdk.records.fields import (
    MAX_ITEMS,
    MAX_TOKENS,
    AgentName,
    Cost,
    Exact,
    Label,
    Latency,
    Number,
    OneSpelling,
    Share,
    Text,
)
from router_sdk.records.record import Record

Origin = Literal["user", "tool", "judge", "signal", "horizon", "import"]
"""Who said what came of a decision."""

_SOURCES = {"origin", "actor", "reason"}

SCORER = "scorer:"
"""Before the name of who gave a quality score by itself, as an ``actor``; see ``rewards.quality``."""


class Signals(NamedTuple):
    """The numeric skeleton of an outcome: what rewards are made from and what outlives ``forget``."""

    success: bool | None = None
    quality: float | None = None
    feedback: float | None = None
    correct_agent: str | None = None
    no_agent_fits: bool | None = None
    latency_ms: float | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    metrics: Mapping[str, float] | None = None
    agent: str | None = None

    def updated(self, newer: Signals) -> Signals:
        """Join a newer part: each field it gives wins, each it leaves open stays.

        ``correct_agent`` and ``no_agent_fits`` are one label, so a newer one replaces both.
        """
        old = self
        if newer.correct_agent is not None or newer.no_agent_fits is not None:
            old = old._replace(correct_agent=None, no_agent_fits=None)
        return Signals._make(mine if theirs is None else theirs for mine, theirs in zip(old, newer, strict=True))

    @property
    def labelled(self) -> bool:
        """Whether somebody said which agent would have been right, or that none would."""
        return self.correct_agent is not None or bool(self.no_agent_fits)


_ERROR_CHARS = 100_000
"""Of an exception's message: a traceback of a thousand frames, and no whole document that was quoted in it."""


class Outcome(Record):
    """What happened, each part optional. Unknown is not failure: leave out what you do not know.

    Args:
        success: Whether the agent did what was asked.
        quality: How well, in [0, 1].
        feedback: What the user said, from -1 (bad) to 1 (good).
        feedback_text: The user's words; at most 1,000,000 characters.
        correct_agent: The label: who would have been right.
        no_agent_fits: The label for "none of them".
        response: What the agent answered; at most 1,000,000 characters.
        latency_ms: Time taken, in milliseconds, at most 1e12.
        cost_usd: Money spent, in US dollars, at most 1e9.
        tokens: Tokens used, at most 2**53.
        metrics: Any further numbers, by name, between -1e30 and 1e30; at most 10,000, with 200 characters to a name.
        error: The error that ended the call; implies ``success=False`` unless that is given. At most 1,000,000
            characters.
        agent: Who really ran. Where it is not whom the decision named, the outcome is learnt as one that was observed.
        origin: Who says so: ``user, tool, judge, signal, horizon`` (nothing came for so long) or ``import``.
        actor: Which of them, such as a judge's model or a reviewer's number; at most 200 characters. With
            ``origin="signal"`` it is what the user did (``retry``, ``edit``, ``copy``, ``abandon``), and needs no
            other part: quality scorers say what that is worth.
        reason: Why they say so, such as a judge's words; at most 1,000,000 characters.

    Raises:
        InvalidOutcomeError: if a value is not finite, out of range, too large or of the wrong type, or nothing is
            given; says which field, and what it may hold.
    """

    fault: ClassVar[type[InvalidOutcomeError]] = InvalidOutcomeError

    success: StrictBool | None = None
    quality: Share | None = None
    feedback: Annotated[float, Field(strict=True, ge=-1, le=1), Exact] | None = None
    feedback_text: Text | None = None
    correct_agent: AgentName | None = None
    no_agent_fits: StrictBool | None = None
    response: Text | None = None
    latency_ms: Latency | None = None
    cost_usd: Cost | None = None
    tokens: Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)] | None = None
    metrics: Annotated[dict[Label, Number], Field(max_length=MAX_ITEMS), OneSpelling] | None = None
    error: Text | None = None
    agent: AgentName | None = None
    origin: Origin | None = None
    actor: Label | None = None
    reason: Text | None = None

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        told = self.origin == "signal" and self.actor is not None
        if not told and all(getattr(self, name) in (None, {}) for name in self.model_fields_set - _SOURCES):
            raise InvalidOutcomeError("Outcome: give at least one part, such as success=True or quality=0.9")
        if self.correct_agent is not None and self.no_agent_fits:
            raise InvalidOutcomeError("Outcome: correct_agent and no_agent_fits=True contradict each other; give one")

    @staticmethod
    def error_text(error: BaseException) -> str:
        """An exception as ``error`` takes it: its class and message, at most 100,000 characters, and storable.

        Half a surrogate pair, which no log takes, becomes a question mark; of an exception that cannot say itself there
        is the class.
        """
        kind = type(error).__name__
        try:
            words = f"{kind}: {error}"
        except Exception:  # a foreign class may fail at its own message
            words = kind
        return words[:_ERROR_CHARS].encode(errors="replace").decode()

    def signals(self) -> Signals:
        """The parts that rewards, labels and reports are made from."""
        success = self.success
        if success is None and self.error is not None:
            success = False
        return Signals(
            success,
            self.quality,
            self.feedback,
            self.correct_agent,
            self.no_agent_fits,
            self.latency_ms,
            self.cost_usd,
            self.tokens,
            self.metrics,
            self.agent,
        )


OutcomeLike = Outcome | Mapping[str, Any]
"""An outcome, or a mapping of its fields."""


# -- parts of one outcome

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
