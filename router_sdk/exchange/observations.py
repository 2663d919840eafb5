"""Foreign rows and labelled data as observations: what was to be done, who did it, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import InvalidAgentError, InvalidInputError, UnknownAgentError
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.exchange.lines import FOR_PEOPLE, OUTCOME_FIELDS, TASK_FIELDS
from router_sdk.exchange.reading import SURPLUS, moment, number, opinion, rescaled, truth, whole
from router_sdk.records import Agent, Outcome, Task
from router_sdk.records.arguments import each
from router_sdk.spelling import normal
from router_sdk.store.events import DeadLetter

if TYPE_CHECKING:
    from router_sdk.evaluation.classification import Label
    from router_sdk.recording import Observation
    from router_sdk.routing.agents import Members

MappingLike = ColumnMapping | Mapping[str, Any]
"""What the columns of a foreign file mean, or the fields of such a record."""

_BODY_CHARS = 10_000
_NAMED_ERRORS = 10
_SHOWN_COLUMNS = 40
_IGNORED = frozenset({"decision_id", "at", "position", "propensity", "source"}) | FOR_PEOPLE
"""Of a line without a decision's id these say nothing: the log makes its own."""
_KNOWN = frozenset(TASK_FIELDS) | frozenset(OUTCOME_FIELDS) | _IGNORED | {"agent", "label", "id", "time", SURPLUS}
_HEARD = _KNOWN - _IGNORED - {"id", "time"}
"""Columns of a mapped file that mean something without being mapped."""
_READ = {
    "success": truth,
    "no_agent_fits": truth,
    "quality": partial(rescaled, span=None),
    "feedback": opinion,
    "latency_ms": number,
    "cost_usd": number,
    "tokens": whole,
}
"""How foreign spellings of these are read."""


class Observed(NamedTuple):
    """A foreign row.

    Attributes:
        observation: What it says.
        at: When it was, in seconds since the epoch, or None.
        key: The caller's id of it, or None.
    """

    observation: Observation
    at: float | None
    key: str | None


@dataclass(slots=True)
class ImportReport:
    """What became of a file's lines.

    Attributes:
        imported: Lines that brought something that is in the log now.
        known: Lines of which the log held everything already.
        rejected: Lines that are dead letters now.
        errors: The first few reasons, with their line numbers.
        ignored: Columns that a mapping does not name and nobody knows.
        new_agents: Who became an agent.
    """

    imported: int = 0
    known: int = 0
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    new_agents: list[str] = field(default_factory=list)

    def ignore(self, columns: Iterable[str]) -> None:
        """Note what nobody knows."""
        if len(self.ignored) < _SHOWN_COLUMNS:
            self.ignored += [name for name in columns if name not in _HEARD and name not in self.ignored]


class Refusals:
    """The lines of a file that were refused.

    Args:
        name: The file's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: list[tuple[int, str, str | None]] = []

    def add(self, number: int, row: object, error: Exception | str) -> None:
        """Note one more; they come in groups, and so in no order."""
        self._found.append((number, str(error), _body(row)))

    def tell(self, report: ImportReport) -> list[DeadLetter]:
        """Count them, say why the first were refused, and make a dead letter of each, in the order of the file."""
        self._found.sort(key=lambda found: found[0])
        report.rejected = len(self._found)
        report.errors = [f"line {number}: {reason}" for number, reason, _ in self._found[:_NAMED_ERRORS]]
        return [
            ("import", None, _plain(f"{self._name}:{number}: {reason}"), body) for number, reason, body in self._found
        ]


def read_observed(row: Mapping[str, Any] | str, mapping: ColumnMapping | None, report: ImportReport) -> Observed:
    """A foreign row as what it says, see ``split_row``.

    Raises:
        InvalidInputError: if a column is unknown, a value malformed, or nothing says who acted.
    """
    if mapping is None or isinstance(row, str):
        return Observed(split_row(row), None, None)
    known = mapping.apply(row)
    report.ignore([name for name in row if name not in mapping.columns | mapping.outer])
    at, key = moment(known.pop("time", None), str(mapping.time)), known.pop("id", None)
    if mapping.id is not None and (key is None or isinstance(key, (dict, list))):
        raise InvalidInputError(f"{mapping.id}: expected a text or a number that names this line, got {key!r:.60}")
    return Observed(_observation(_known(known), mapping.label or "label"), at, None if key is None else str(key))


def split_row(row: Mapping[str, Any] | str) -> Observation:
    """A row as a task, the agent that acted, and its outcome.

    ``label`` and ``correct_agent`` mean the same; a row that names no agent was answered by its label.

    Raises:
        InvalidInputError: if a column is unknown, a value malformed, or nothing says who acted.
    """
    if isinstance(row, str):
        raise InvalidInputError("expected one JSON object on the line")
    return _observation(dict(row), "label")


def read_task(row: Mapping[str, Any] | str, mapping: ColumnMapping | None) -> tuple[Task, str | None]:
    """The task of a row, and its id where a mapping says which that is; all else is left alone.

    Raises:
        InvalidInputError: if a value is malformed, or there is nothing to route by.
    """
    if isinstance(row, str):
        raise InvalidInputError("expected one JSON object on the line")
    known = row if mapping is None else mapping.apply(row)
    key = None if mapping is None else known.get("id")
    return _task(known), None if key is None else str(key)


def _task(row: Mapping[str, Any]) -> Task:
    fields = {name: value for name in TASK_FIELDS if (value := row.get(name)) is not None}
    if "step" in fields:
        fields["step"] = whole(fields["step"], "step")
    return Task.of({name: value for name, value in fields.items() if value is not None})


def read_parts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row are parts of an outcome, in our spelling; ``agent`` is none of them: it may be whom was chosen.

    Raises:
        InvalidInputError: if one is malformed.
    """
    told = {name: value for name in OUTCOME_FIELDS if (value := row.get(name)) is not None and name != "agent"}
    for name in told.keys() & _READ.keys():
        told[name] = _READ[name](told[name], name)  # type: ignore[operator]
    return {name: value for name, value in told.items() if value is not None}


def _observation(row: dict[str, Any], label: str) -> Observation:
    if "label" in row:
        row["correct_agent"] = row.pop("label")
    told = read_parts(row)
    if not {"agent", "correct_agent"} & row.keys() and not told.get("no_agent_fits"):
        raise InvalidInputError(
            f"nothing says who acted: give 'agent', {label!r} or no_agent_fits=true, or map other columns to them"
        )
    agent = row.get("agent", row.get("correct_agent"))
    if agent is not None and not isinstance(agent, str):
        raise InvalidInputError(f"agent: expected a name, got {agent!r}")
    unknown = sorted(str(key) for key in row.keys() - {*TASK_FIELDS, *OUTCOME_FIELDS, *_IGNORED})
    if unknown:
        raise InvalidInputError(f"columns {unknown} are unknown; rename or map them, or put them under 'features'")
    return _task(row), agent, Outcome(**told) if told else None


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a foreign row means something here; an empty cell says nothing, not that nobody fits."""
    return {column: value for column, value in row.items() if column in _KNOWN and value is not None}


def _body(row: object) -> str | None:
    if isinstance(row, InvalidInputError):
        return None
    return _plain((row if isinstance(row, str) else json.dumps(row, default=str))[:_BODY_CHARS])


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


# -- labelled data


def paired(tasks: Sequence[Any], labels: Sequence[Label]) -> list[tuple[Task, Label]]:
    """Tasks with their labels.

    Raises:
        InvalidInputError: if there are none, not as many of one as of the other, or if either is a single text.
        InvalidTaskError: if a task is malformed.
    """
    tasks, labels = each(tasks, "X"), each(labels, "y")
    if len(tasks) != len(labels) or not tasks:
        raise InvalidInputError(f"X and y must be of one length and not empty, got {len(tasks)} and {len(labels)}")
    return [(Task.of(task), _spelled(label)) for task, label in zip(tasks, labels, strict=True)]


def _spelled(label: Label) -> Label:
    """A label with its names as they are kept."""
    if isinstance(label, Mapping):
        spelled = {normal(name): score for name, score in label.items()}
        if len(spelled) < len(label):
            raise InvalidInputError(f"y: a name stands twice in {list(label)!r:.200}, in two Unicode forms")
        return spelled
    return normal(label) if isinstance(label, str) else label


def observations(pairs: Sequence[tuple[Task, Label]]) -> Iterator[Observation]:
    """Each label as an observation: a name, None for "no agent fits", or a score in [0, 1] for each agent."""
    for task, label in pairs:
        if isinstance(label, Mapping):
            yield from ((task, name, Outcome(quality=score)) for name, score in label.items())
        elif label is None:
            yield task, None, Outcome(no_agent_fits=True)
        else:
            yield task, label, Outcome(correct_agent=label)


class Newcomers:
    """Makes agents of names.

    Args:
        members: The router's agents.
        allowed: Whether it may.

    Attributes:
        names: Who became an agent.
    """

    def __init__(self, members: Members, *, allowed: bool) -> None:
        self._members, self._allowed = members, allowed
        self.names: list[str] = []

    def welcome(self, names: Iterable[str]) -> None:
        """Add those that nobody knows; a name that cannot be one is left to be refused with its line."""
        if self._allowed and (found := [name for name in self._members.strangers(names) if _is_name(name)]):
            self._members.welcome(found)
            self.names += found

    def check(self, names: Iterable[str]) -> None:
        """Look that all of them are known.

        Raises:
            UnknownAgentError: if one is not.
        """
        if strangers := self._members.strangers(names):
            hint = "--new-agents, or new_agents=True, makes agents of new names"
            if self._allowed:
                hint = "a number is made no agent: say whom it stands for with labels (--labels A,B)"
            raise UnknownAgentError(f"no agent is called {strangers[0]!r}; {hint}")


def _is_name(name: str) -> bool:
    """A number is somebody's position in a list that is not there: it names no new agent."""
    try:
        return not Agent(name).name.isdecimal()
    except InvalidAgentError:
        return False
