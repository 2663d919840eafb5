"""One line for each decision, with all that the log holds of it: written, and read back.

Beside the decision and its task a line has ``parts``, what was said of it, as it came; and for people what these come
to: the joined outcome and the reward.
"""

from __future__ import annotations

import json
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError, InvalidTaskError
from router_sdk.records import Agent, AgentSet, Decision, Distribution, Outcome, Skipped, Task
from router_sdk.store.copying import FreshStart, LoggedDecision, LoggedPart
from router_sdk.store.identity import LAST_S, check_id, check_key

if TYPE_CHECKING:
    from router_sdk.records import Example

Row = dict[str, Any]

FRESH = "added_afresh"
"""A line that has this has nothing else than when it was: an agent's past does not count from there on."""

TASK_FIELDS = tuple(Task.model_fields)
OUTCOME_FIELDS = tuple(Outcome.model_fields)
_DRAWN = (
    "strategy",
    "model_version",
    "confidence",
    "raw_confidence",
    "epsilon",
    "favourite",
    "eligible",
    "probabilities",
)
_DECIDED = (
    *("propensity", "explored", "source", "skipped", "excluded", "favourites", "session_propensity"),
    *("arm", "arm_probability"),
)
JOINED = ("success", "quality", "feedback", "correct_agent", "no_agent_fits", "latency_ms", "cost_usd", "tokens")
COLUMNS = (
    *("decision_id", "position", "at", *TASK_FIELDS, "agent", *_DRAWN, *_DECIDED, "reward", "ran", *JOINED),
    *("metrics", "response", "vectors", "parts", FRESH),
)
"""What a line may have, in this order."""
FOR_PEOPLE = frozenset({"reward", "ran"})
"""Follows from the parts, and is not read."""

TEXTS = frozenset(
    [
        *("decision_id", "parent_decision_id", "text", "task_type", "session_id", "tenant", "agent", "label"),
        *(
            "correct_agent",
            "response",
            "feedback_text",
            "error",
            "reason",
            "strategy",
            "favourite",
            "source",
            "arm",
            "ran",
        ),
    ]
)
"""In a CSV file these hold texts, whatever they look like."""

_SOURCES = ("routed", "observed", "kept", "shadow")
_EMPTY = Task.model_construct()


def line_of(logged: LoggedDecision, example: Example | None) -> Row:
    """A line as JSON values; what is not known, or as it always is, is left out.

    Args:
        logged: What the log holds.
        example: What it comes to, or None where nothing was said.
    """
    decision = logged.decision
    drawn = decision.distribution
    row: Row = {"decision_id": decision.decision_id, "position": logged.position, "at": decision.at}
    row |= _task_row(decision.task)
    row |= {
        "agent": decision.agent,
        "strategy": drawn.strategy,
        "model_version": drawn.model_version,
        "confidence": drawn.confidence,
        "raw_confidence": drawn.raw_confidence,
        "epsilon": drawn.epsilon,
        "favourite": drawn.agents.names[drawn.favourite] if drawn.favourite >= 0 else None,
        "eligible": list(drawn.agents.names),
        "probabilities": dict(drawn.probabilities),
        "propensity": decision.propensity,
        "explored": decision.explored,
        "source": decision.source,
        "skipped": [step._asdict() for step in decision.skipped],
        "excluded": dict(decision.excluded),
        "favourites": dict(decision.favourites),
        "session_propensity": decision.session_propensity,
        "arm": decision.arm,
        "arm_probability": decision.arm_probability,
    }
    if example is not None:
        signals = example.signals._asdict()
        row |= {"reward": example.reward, "ran": signals.pop("agent"), **signals}
        row["response"] = next((p.outcome.response for p in reversed(logged.parts) if p.outcome.response), None)
    if decision.vectors:
        row["vectors"] = {
            tag: {"dtype": vector.dtype.str, "base64": b64encode(vector.tobytes()).decode()}
            for tag, vector in decision.vectors.items()
        }
    always = {"agent", "propensity", "source", "eligible", "probabilities"}
    kept = {name: value for name, value in row.items() if name in always or value not in (None, [], {})}
    return {**kept, "parts": [_part_row(part, decision.task.tenant) for part in logged.parts]}


def _task_row(task: Task) -> Row:
    fields = {name: getattr(task, name) for name in TASK_FIELDS}
    row = {name: value for name, value in fields.items() if value != getattr(_EMPTY, name)}
    for name in row.keys() & {"requires", "history"}:
        row[name] = sorted(row[name]) if name == "requires" else list(row[name])
    return {"text": task.text, "task_type": task.task_type, **row}


def _part_row(part: LoggedPart, tenant: str | None) -> Row:
    row: Row = {"position": part.position, "at": part.at}
    if part.logged_at != part.at:
        row["logged_at"] = part.logged_at
    if part.outcome_id is not None:
        row["outcome_id"] = part.outcome_id
    if part.tenant != tenant:
        row["tenant"] = part.tenant
    fields = {name: getattr(part.outcome, name) for name in OUTCOME_FIELDS}
    return row | {name: value for name, value in fields.items() if value is not None}


def fresh_line(event: FreshStart) -> Row:
    """The line of an agent that was added afresh."""
    record = event.agent.model_dump(mode="json")
    return {FRESH: {**record, "capabilities": sorted(event.agent.capabilities)}, **_moment(event)}


def _moment(event: FreshStart) -> Row:
    return {"position": event.position, "at": event.at}


# -- back again


def read_fresh(row: Mapping[str, Any]) -> FreshStart:
    """Inverse of ``fresh_line``.

    Raises:
        InvalidInputError: if a value is malformed; names the field.
    """
    return FreshStart(_position(row), _time(row, FRESH), Agent.of(row[FRESH]))


def read_line(row: Mapping[str, Any]) -> LoggedDecision:
    """Inverse of ``line_of``.

    A line without ``parts``, as releases before wrote them, has one: its own values.

    Raises:
        InvalidInputError: if a column is unknown or a value malformed; names it.
    """
    row = {name: value for name, value in row.items() if value is not None}
    if unknown := sorted(str(name) for name in row.keys() - _READ):
        raise InvalidInputError(f"columns {unknown} are unknown in an exported line")
    decision_id = check_id(row["decision_id"])
    position, at = _position(row), _time(row, "line")
    agent = _typed(row, "agent", str, None)
    names = _names(row.get("eligible", [] if agent is None else [agent]))
    weights = _weights(row.get("probabilities", {}), names)
    favourite = row.get("favourite")
    if favourite is not None and favourite not in names:
        raise InvalidInputError(f"favourite: {favourite!r:.60} is not eligible")
    source = row.get("source", "observed")
    if source not in _SOURCES:
        raise InvalidInputError(f"source: expected one of {', '.join(_SOURCES)}, got {source!r:.60}")
    drawn = Distribution(
        _agent_set(names),
        weights,
        -1 if favourite is None else names.index(favourite),
        _share(row, "confidence"),
        None,
        None,
        _typed(row, "strategy", str, "observed"),
        _version(row),
        _share(row, "epsilon") or 0.0,
        _share(row, "raw_confidence"),
    )
    task = _task(row)
    decision = Decision(
        decision_id=decision_id,
        agent=agent,
        task=task,
        at=at,
        propensity=_chance(row, "propensity"),
        explored=_typed(row, "explored", bool, False),
        distribution=drawn,
        source=source,
        skipped=_skipped(row.get("skipped", [])),
        vectors=_vectors(row.get("vectors", {})),
        session_propensity=_chance(row, "session_propensity"),
        arm=_typed(row, "arm", str, None),
        arm_probability=_chance(row, "arm_probability"),
        excluded=_by_name(row, "excluded", "reasons by agent"),
        favourites=_by_name(row, "favourites", "agents by strategy"),
    )
    if "parts" not in row:
        return LoggedDecision(position, decision, _own_part(row, position, at, task.tenant))
    parts = _typed(row, "parts", list, [])
    return LoggedDecision(position, decision, tuple(_read_part(part, decision_id, task.tenant) for part in parts))


_READ = frozenset(COLUMNS) | frozenset(OUTCOME_FIELDS)


def _task(row: Mapping[str, Any]) -> Task:
    fields = {name: value for name, value in row.items() if name in TASK_FIELDS}
    try:
        return Task(**fields)
    except InvalidTaskError:
        if fields.get("text") or fields.get("features"):
            raise
        return Task(**{**fields, "text": "-"}).model_copy(update={"text": ""})  # its text was not kept, or forgotten


def _own_part(row: Mapping[str, Any], position: int, at: float, tenant: str | None) -> tuple[LoggedPart, ...]:
    fields = {name: value for name, value in row.items() if name in JOINED or name in ("metrics", "response")}
    if not fields:
        return ()
    return (LoggedPart(position, at, at, Outcome(**fields), f"line:{row['decision_id']}", tenant),)


_NOT_SAID = ("position", "at", "logged_at", "outcome_id", "tenant")


def _read_part(part: object, decision_id: str, tenant: str | None) -> LoggedPart:
    if not isinstance(part, Mapping):
        raise InvalidInputError(f"parts: expected objects, got {part!r:.60}")
    fields = {name: value for name, value in part.items() if name not in _NOT_SAID}
    said = fields.keys() - {"origin", "actor"}
    outcome = Outcome(**fields) if said else Outcome(**fields, success=True).model_copy(update={"success": None})
    outcome_id = part.get("outcome_id")
    if outcome_id is not None:
        check_key(outcome_id, "parts.outcome_id")
    if "tenant" in part:
        tenant = Task(tenant=part["tenant"], text="-").tenant
    at = _time(part, "parts")
    logged_at = _time(part, "parts", "logged_at") if "logged_at" in part else at
    return LoggedPart(_position(part), at, logged_at, outcome, outcome_id, tenant)


def _position(row: Mapping[str, Any]) -> int:
    position = row.get("position", 0)
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < 2**62:
        raise InvalidInputError(f"position: expected a whole number from 0, got {position!r:.60}")
    return position


def _time(row: Mapping[str, Any], where: str, name: str = "at") -> float:
    at = row.get(name)
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at <= LAST_S:
        raise InvalidInputError(f"{where}: {name}: expected a time in seconds since the epoch, got {at!r:.60}")
    return float(at)


def told_time(at: float) -> float:
    """A time of the log, as others take it: what lies beyond every calendar, which logs may hold, is its end."""
    return min(max(at, 0.0), float(LAST_S))


def _typed(row: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = row.get(name, default)
    if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise InvalidInputError(f"{name}: expected {kind.__name__}, got {value!r:.60}")
    return value


def _version(row: Mapping[str, Any]) -> int | None:
    version: int | None = _typed(row, "model_version", int, None)
    if version is not None and not 0 < version < 2**31:
        raise InvalidInputError(f"model_version: expected a number from 1, got {version!r:.60}")
    return version


def _share(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidInputError(f"{name}: expected a number in [0, 1], got {value!r:.60}")
    return float(value)


def _chance(row: Mapping[str, Any], name: str) -> float | None:
    value = _share(row, name)
    if value == 0:
        raise InvalidInputError(f"{name}: what was chosen had some chance, got 0")
    return value


def _names(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise InvalidInputError(f"eligible: expected a list of names, got {given!r:.60}")
    return tuple(given)


@lru_cache(maxsize=256)
def _agent_set(names: tuple[str, ...]) -> AgentSet:
    return AgentSet([Agent(name) for name in names])


def _weights(given: object, names: Sequence[str]) -> tuple[float, ...]:
    if not isinstance(given, Mapping) or (given and list(given) != list(names)):
        raise InvalidInputError("probabilities: expected one for each eligible agent, in their order")
    row = {name: _share(given, name) for name in given}
    if None in row.values():
        raise InvalidInputError("probabilities: expected numbers in [0, 1]")
    return tuple(array("f", row.values()))  # type: ignore[arg-type]


def _skipped(given: object) -> tuple[Skipped, ...]:
    read: Callable[[Any], Skipped] = lambda step: Skipped(str(step["strategy"]), str(step["reason"]))  # noqa: E731
    try:
        return tuple(map(read, given))  # type: ignore[call-overload]
    except (TypeError, KeyError):
        raise InvalidInputError(f"skipped: expected strategies with reasons, got {given!r:.60}") from None


def _by_name(row: Row, field: str, wanted: str) -> Mapping[str, str]:
    given = row.get(field, {})
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise InvalidInputError(f"{field}: expected {wanted}, got {given!r:.60}")
    return dict(given)


def _vectors(given: object) -> Mapping[str, Any] | None:
    if not given:
        return None
    import numpy as np

    try:
        found = {
            str(tag): np.frombuffer(b64decode(one["base64"], validate=True), dtype=one["dtype"])
            for tag, one in given.items()  # type: ignore[attr-defined]
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"vectors: {error}") from None
    if not all(vector.dtype.kind in "fiu" and np.isfinite(vector).all() for vector in found.values()):
        raise InvalidInputError("vectors: expected finite numbers")
    return found


def dumped(row: Mapping[str, Any] | list[Any]) -> str:
    """Values as one line of JSON."""
    return _ENCODER.encode(row)


def cells(row: Mapping[str, Any]) -> Row:
    """Values as a line of CSV holds them: objects and lists as JSON."""
    return {name: json.dumps(value) if isinstance(value, (dict, list)) else value for name, value in row.items()}


_ENCODER = json.JSONEncoder(ensure_ascii=False)
