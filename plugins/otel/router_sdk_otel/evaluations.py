"""Outcomes and the event ``gen_ai.evaluation.result``, each as the other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from router_sdk import Outcome, RouterError
from router_sdk_otel import names

_PASSED = frozenset({"pass", "passed", "success", "succeeded", "true", "yes", "ok", "good", "correct"})
_FAILED = frozenset({"fail", "failed", "failure", "false", "no", "bad", "incorrect", "wrong"})
_OURS = ("success", "quality", "feedback", "correct_agent")


class Unreadable(ValueError):  # noqa: N818  # a fault of the event, which whoever reads it reports
    """An event is not a score of a decision; says why."""


class Report(NamedTuple):
    """What an event says, in the order in which ``Router.arecord_batch`` takes it.

    Attributes:
        decision_id: Of which decision.
        outcome: What came of it.
        outcome_id: Of this event: delivered again it counts once.
    """

    decision_id: str
    outcome: Outcome
    outcome_id: str


def events_of(decision_id: str, outcome: Outcome, *, explained: bool) -> Iterator[dict[str, Any]]:
    """The attributes of an event for each score of an outcome: success, quality, feedback, label, and metrics."""
    about: dict[str, Any] = {names.DECISION_ID: decision_id}
    if outcome.origin is not None:
        about[names.ORIGIN] = outcome.origin
    if outcome.actor is not None:
        about[names.ACTOR] = outcome.actor
    told = outcome.signals()
    words = (outcome.reason or outcome.feedback_text) if explained else None
    if words:
        about[names.EXPLANATION] = words
    if told.success is not None:
        label = "pass" if told.success else "fail"
        yield {
            **about,
            names.EVALUATION_NAME: "success",
            names.SCORE_VALUE: float(told.success),
            names.SCORE_LABEL: label,
        }
    if told.correct_agent is not None:
        yield {**about, names.EVALUATION_NAME: "correct_agent", names.SCORE_LABEL: told.correct_agent}
    scores = {"quality": told.quality, "feedback": told.feedback, **(told.metrics or {})}
    for name, value in scores.items():
        if value is not None:
            yield {**about, names.EVALUATION_NAME: name, names.SCORE_VALUE: float(value)}


class Scores:
    """Reads events: what an evaluation's name makes of its score.

    ``success``, ``quality`` (0 to 1), ``feedback`` (-1 to 1) and ``correct_agent`` (a label) are those parts of an
    outcome. Any other name is one of its ``metrics``: whether a high score is good, its name does not say, so that it
    teaches nothing before ``reward_metrics`` in the router's configuration says what it is worth.

    Args:
        parts: By name of an evaluation, which part of the outcome it is: ``{"Relevance": "quality"}``.
        origin: Who says so, where the event does not tell (``router_sdk.outcome.origin``).

    Raises:
        ValueError: if a part is none of the four.
    """

    def __init__(self, parts: Mapping[str, str] | None = None, *, origin: str | None = "judge") -> None:
        self._origin = origin
        self._parts = {**{name: name for name in _OURS}, **(parts or {})}
        if strange := sorted(set(self._parts.values()) - set(_OURS)):
            raise ValueError(f"parts: expected {', '.join(_OURS)}, got {', '.join(strange)}")

    def read(self, event: Mapping[str, Any], decision_id: str | None = None, when: int = 0) -> Report:
        """What an event says.

        Args:
            event: Its attributes.
            decision_id: The decision that the event's span stands for, where the attributes name none.
            when: When it was made, in nanoseconds since the epoch; tells it from another one that says the same.

        Raises:
            Unreadable: if it names no decision, or holds no score.
        """
        known = event.get(names.DECISION_ID) or decision_id
        if not isinstance(known, str):
            raise Unreadable(f"it names no decision: give it the attribute {names.DECISION_ID}")
        if names.ERROR_TYPE in event:
            raise Unreadable(f"the evaluation itself failed: {event[names.ERROR_TYPE]!r:.80}")
        name = event.get(names.EVALUATION_NAME)
        if not isinstance(name, str) or not name:
            raise Unreadable(f"it has no {names.EVALUATION_NAME}")
        fields = self._scored(name, event.get(names.SCORE_VALUE), event.get(names.SCORE_LABEL))
        fields["origin"] = event.get(names.ORIGIN) or self._origin
        for part, attribute in (("actor", names.ACTOR), ("reason", names.EXPLANATION)):
            if event.get(attribute):
                fields[part] = event[attribute]
        try:
            outcome = Outcome(**fields)
        except RouterError as error:
            raise Unreadable(str(error)) from error
        said = repr((known, when, outcome.model_dump(exclude_none=True)))
        return Report(known, outcome, hashlib.blake2b(said.encode(errors="replace"), digest_size=20).hexdigest())

    def _scored(self, name: str, value: Any, label: Any) -> dict[str, Any]:
        part = self._parts.get(name)
        number = _number(value)
        passed = _passed(label)
        if part == "correct_agent":
            if not isinstance(label, str) or not label:
                raise Unreadable(f"{name}: {names.SCORE_LABEL} must name an agent")
            return {part: label}
        if part == "success":
            if passed is None and number in (0.0, 1.0):
                passed = bool(number)
            if passed is None:
                raise Unreadable(f"{name}: expected the label pass or fail, or a score of 0 or 1")
            return {part: passed}
        if number is None:
            if passed is None:
                raise Unreadable(f"{name}: expected {names.SCORE_VALUE}, or the label pass or fail")
            number = float(passed)
        return {"metrics": {name: number}} if part is None else {part: number}


def _number(value: Any) -> float | None:
    """A score; one that is larger than any float is infinite, which an outcome refuses."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return math.inf


def _passed(label: Any) -> bool | None:
    words = label.strip().lower() if isinstance(label, str) else ""
    return True if words in _PASSED else False if words in _FAILED else None
