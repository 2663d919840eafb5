"""What one event of a stream says: an outcome of a decision, of a session, or of what somebody else decided.

Events are in our own form, ``StreamEvent``, or in somebody's: a mapping file says which columns of which kind of event
hold what, so that thumbs, tool results and evaluations each become a part of an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, JsonValue, StrictFloat, StrictInt, StringConstraints, model_validator

from router_sdk.config import read_settings
from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.exchange.columns import Column, ColumnMapping, found_in
from router_sdk.exchange.envelope import ENVELOPE, Row, short_id
from router_sdk.exchange.lines import TASK_FIELDS
from router_sdk.exchange.observations import read_parts
from router_sdk.exchange.reading import moment
from router_sdk.records import Outcome, Record, Task
from router_sdk.records.fields import AgentName, Label, Name
from router_sdk.records.outcome import Origin
from router_sdk.store.identity import LAST_S

Id = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{32}$")]
Key = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200)]


class StreamEvent(Record):
    """One event in our own form: JSON with these fields, alone or as the data of a CloudEvent.

    Args:
        decision_id: The decision that it is about.
        session_id: Or the session, all of whose decisions it is about.
        task: Or a task that somebody else decided on.
        agent: Who did that task; None means that nobody fitted.
        outcome: What came of it, or of a part of it.
        outcome_id: Its own name: a second event of the same name, about the same tenant's decisions, is not counted.
            Without one it is named by the CloudEvent, or by where it stands in its stream.
        tenant: Whose decision or session it must be.
        at: When it was said, in seconds since the epoch, until the year 9999; by itself when it is read.

    Raises:
        InvalidInputError: if a field is malformed or unknown, or it is about none or several of the three.
    """

    decision_id: Id | None = None
    session_id: Key | None = None
    task: Annotated[Task, BeforeValidator(Task.of, json_schema_input_type=Task | str)] | None = None
    agent: AgentName | None = None
    outcome: Annotated[Outcome, BeforeValidator(Outcome.of, json_schema_input_type=Outcome)] | None = None
    outcome_id: Key | None = None
    tenant: Name | None = None
    at: Annotated[StrictFloat | StrictInt, Field(ge=0, le=LAST_S)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        about = [name for name in ("decision_id", "session_id", "task") if getattr(self, name) is not None]
        if len(about) != 1:
            raise ValueError(
                "give one of decision_id, session_id and task (of what somebody else decided), and an outcome"
            )
        if self.outcome is None and self.task is None:
            raise ValueError("outcome: say what came of it")
        if self.task is None and self.agent is not None:
            raise ValueError("agent: who really ran a decision's task stands in the outcome")
        return self


Scalar = str | int | float | bool
_TASK = tuple(name for name in TASK_FIELDS if name not in ("session_id", "tenant"))


class EventMapping(ColumnMapping):
    """Which columns of one kind of event hold what; beside what ``ColumnMapping`` says.

    Args:
        name: What it is called.
        when: Which events are of this kind: each of these columns has this value, or one of these.
        values: What words in a column stand for: ``{"rating": {"up": 1, "down": -1}}``.
        decision_id: The column with the decision that it is about. Where nothing stands there, it is about a session
            or about what somebody else decided.
        origin: Who says so, of all events of this kind.
        actor: Which of them, of all events of this kind.
        reason: The column that says why.
        ignore: Whether events of this kind are passed over: a topic may hold others, too.
    """

    name: Label
    when: dict[Column, Scalar | list[Scalar]] = Field(default_factory=dict)
    values: dict[Column, dict[str, JsonValue]] = Field(default_factory=dict)
    decision_id: Column | None = None
    origin: Origin | None = None
    actor: Label | None = None
    reason: Column | None = None
    ignore: bool = False

    @property
    def _says_nothing(self) -> bool:
        return super()._says_nothing and not (self.ignore or self.decision_id)

    def is_for(self, row: Mapping[str, Any]) -> bool:
        """Whether an event is of this kind."""
        return all(
            _equals(found_in(row, column), wanted)
            if not isinstance(wanted, list)
            else any(_equals(found_in(row, column), one) for one in wanted)
            for column, wanted in self.when.items()
        )

    def read(self, row: Mapping[str, Any]) -> StreamEvent:
        """An event of this kind.

        Raises:
            InvalidInputError: if a value is malformed, or nothing says what it is about or what came of it.
        """
        row = self._translated(row)
        known = {name: value for name, value in self.apply(row).items() if value is not None}
        about = None if self.decision_id is None else found_in(row, self.decision_id)
        told = {"origin": self.origin, "actor": self.actor} | read_parts(known)
        if self.reason is not None:
            told["reason"] = found_in(row, self.reason)
        event: dict[str, Any] = {"at": moment(known.get("time"), str(self.time))}
        if (key := known.get("id")) is not None:
            event["outcome_id"] = short_id(f"{self.name} {key}")
        agent = known.get("agent")
        if about is not None:
            event |= {"decision_id": about, "tenant": known.get("tenant")}
            told["agent"] = agent
        elif task := {name: known[name] for name in _TASK if name in known}:
            task |= {name: known[name] for name in ("session_id", "tenant") if name in known}
            event |= {"task": task, "agent": known.get("correct_agent") if agent is None else agent}
        else:
            event |= {"session_id": known.get("session_id"), "tenant": known.get("tenant")}
        told = {name: value for name, value in told.items() if value is not None}
        if told.keys() - {"origin", "actor"} or "task" not in event:
            event["outcome"] = told
        return StreamEvent.of(event)

    def _translated(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The event with words in the place of what they stand for."""
        found = dict(row)
        for column, words in self.values.items():
            value = found_in(row, column)
            if isinstance(value, Scalar) and str(value) in words:
                found[column] = words[str(value)]  # a column's own name comes before one within another
        return found


def _equals(found: object, wanted: Scalar) -> bool:
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


class EventReader:
    """Reads events.

    Args:
        mappings: Which kinds of events there are beside our own; the first that an event is of counts.
    """

    def __init__(self, mappings: Sequence[EventMapping] = ()) -> None:
        self._mappings = mappings

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a mapping file in TOML, YAML or JSON: a list ``event`` of kinds, see ``EventMapping``.

        Raises:
            InvalidConfigError: if it cannot be read, or says something that is not understood.
        """
        told = read_settings(path)
        kinds = told.get("event")
        if told.keys() != {"event"} or not isinstance(kinds, list) or not kinds:
            raise InvalidConfigError(f"{Path(path).name}: expected a list 'event' of kinds of events, and nothing else")
        try:
            return cls([EventMapping.of(kind) for kind in kinds])
        except InvalidInputError as error:
            raise InvalidConfigError(f"{Path(path).name}: {error}") from None

    def read(self, row: Row) -> StreamEvent | None:
        """What an event says, with its own name as ``outcome_id`` where it has one; None where it is passed over.

        Raises:
            InvalidInputError: if it says nothing that is understood.
        """
        kind = next((one for one in self._mappings if one.is_for(row.values)), None)
        if kind is not None and kind.ignore:
            return None
        if kind is not None:
            event = kind.read(row.values)
        else:
            values = {name: value for name, value in row.values.items() if name != ENVELOPE}
            if self._mappings and not values.keys() <= StreamEvent.model_fields.keys():
                names = ", ".join(one.name for one in self._mappings)
                raise InvalidInputError(f"it is none of the kinds of events that the mapping names: {names}")
            event = StreamEvent.of(values)
        if event.outcome_id is None and row.id is not None:
            event = event.model_copy(update={"outcome_id": row.id})
        return event


def event_schema() -> dict[str, Any]:
    """The JSON schema of an event in our own form."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event of router stream",
        **StreamEvent.model_json_schema(),
    }
