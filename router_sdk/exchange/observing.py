"""Foreign lines into the log: each an observed decision with its outcome, in groups, each of them once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.errors import RouterClosedError, RouterError, StoreError
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.exchange.observations import ImportReport, Newcomers, Observed, Refusals
    from router_sdk.recording import Recorder
    from router_sdk.records import Decision, Outcome
    from router_sdk.store import Store
    from router_sdk.store.retention import ArchivedIds

GROUP = 512
"""Lines that are logged in one transaction."""


class _Line(NamedTuple):
    """One that waits."""

    number: int
    row: object
    read: Observed


class _Ready(NamedTuple):
    """One that can be logged."""

    decision: Decision
    outcome: Outcome | None
    outcome_id: str | None
    entry: Entry


class ObservedLines:
    """Logs foreign lines.

    The ids of a line's decision and outcome follow from its own id where it has one, and else from the content of the
    file and the line's number: so the same file imported again, or gone on with, counts nothing twice.

    Args:
        store: The log.
        recorder: Makes decisions and entries of lines.
        key: Tells this file's content from that of any other.
        at: When the import began: the time of lines without one.
        newcomers: Makes agents of new names.
        report: Where to count.
        refusals: Where what is refused goes.
        archived: Which of some decisions are in an archive.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        key: str,
        at: float,
        newcomers: Newcomers,
        report: ImportReport,
        refusals: Refusals,
        archived: ArchivedIds,
    ) -> None:
        self._store, self._recorder, self._key, self._at = store, recorder, key, at
        self._newcomers, self._report, self._refusals, self._archived = newcomers, report, refusals, archived
        self._group: list[_Line] = []

    def take(self, number: int, row: object, read: Observed) -> None:
        """Log a line, with the others of its group."""
        self._group.append(_Line(number, row, read))
        if len(self._group) == GROUP:
            self.finish()

    def finish(self) -> None:
        """Log those that wait."""
        group, self._group = self._group, []
        self._newcomers.welcome(name for line in group for name in _named(line.read))
        ready: list[_Ready] = []
        for line in group:
            try:
                ready.append(self._ready(line))
            except (StoreError, RouterClosedError):
                raise
            except RouterError as error:
                self._refusals.add(line.number, line.row, error)
        held = self._held(ready)
        new = [found for one in ready if (found := held.missing(one)) is not None]
        self._report.known += len(ready) - len(new)
        if new:
            self._store.writer.append([one.entry for one in new])
            self._report.imported += len(new)
            told = [(one.decision.decision_id, one.outcome) for one in new if one.outcome is not None]
            self._recorder.imported(len(told), told)

    def _ready(self, line: _Line) -> _Ready:
        (task, agent, outcome), at, own = line.read
        self._newcomers.check(_named(line.read))
        mark = f"{self._key}:{line.number}" if own is None else f"{task.tenant or ''}\x00{own}"
        at = self._at if at is None else at
        decision = self._recorder.observation(task, agent, at, _digest("line" if own is None else "own", mark))
        if outcome is None:
            return _Ready(decision, None, None, Entry(decision=decision))
        if outcome.origin is None:
            outcome = outcome.model_copy(update={"origin": "import"})
        said = "" if own is None else f"{agent}\x00{outcome.model_dump_json()}"  # what it says anew is a correction
        outcome_id = f"import:{_digest(decision.decision_id, said)}"
        return self._checked(decision, outcome, outcome_id, at)

    def _checked(self, decision: Decision, outcome: Outcome, outcome_id: str, at: float) -> _Ready:
        return _Ready(decision, outcome, outcome_id, self._recorder.entry(decision, outcome, outcome_id, at=at))

    def _held(self, ready: Iterable[_Ready]) -> _Held:
        """What the log holds of these lines."""
        wanted = [one.decision.decision_id for one in ready]
        ids = json.dumps(wanted)

        def read(connection: Connection) -> _Held:
            agents = connection.execute(f"SELECT decision_id, agent FROM decisions WHERE {_CHOSEN}", (ids,))
            held = _Held(dict(agents), self._archived.among(wanted), self._checked)
            said = (
                f"SELECT decision_id, outcome_id FROM outcomes WHERE {_CHOSEN} AND outcome_id IS NOT NULL ORDER BY seq"
            )
            for decision_id, outcome_id in connection.execute(said, (ids,)):
                held.said.setdefault(decision_id, []).append(outcome_id)
            return held

        return self._store.reader.query(read)


_CHOSEN = "decision_id IN (SELECT value FROM json_each(?))"


@dataclass(slots=True)
class _Held:
    """What the log holds of some lines, and what of them is about to be in it.

    Attributes:
        agents: Who acted, by decision.
        archived: Decisions of which everything is in an archive.
        checked: Makes a line ready again that says something else.
        said: Ids of what was said of a decision, oldest first.
    """

    agents: dict[str, str | None]
    archived: Collection[str]
    checked: Callable[[Decision, Outcome, str, float], _Ready]
    said: dict[str, list[str]] = field(default_factory=dict)

    def missing(self, one: _Ready) -> _Ready | None:
        """The line as it is to be logged; None where the log holds it.

        A line says the same as the log where that is the newest that was said of it: what is corrected back is a
        correction. If it names another agent than before, that one ran.
        """
        decision_id, agent = one.decision.decision_id, one.decision.agent
        if decision_id in self.archived:
            return None
        if decision_id not in self.agents:
            self.agents[decision_id] = agent
        elif one.outcome is None or one.outcome_id is None:
            return None
        said = self.said.setdefault(decision_id, [])
        if one.outcome is None or one.outcome_id is None:
            return one
        before = [outcome_id.partition("#")[0] for outcome_id in said]
        if before and before[-1] == one.outcome_id:
            return None
        times, outcome = before.count(one.outcome_id), one.outcome
        if outcome.agent is None and (said or agent != self.agents[decision_id]):
            outcome = outcome.model_copy(update={"agent": agent})
        if times or outcome is not one.outcome:
            outcome_id = f"{one.outcome_id}#{times}" if times else one.outcome_id
            one = self.checked(one.decision, outcome, outcome_id, one.decision.at)
        said.append(str(one.outcome_id))
        return one


def _named(read: Observed) -> Iterable[str]:
    _, agent, outcome = read.observation
    return {name for name in (agent, None if outcome is None else outcome.correct_agent) if name is not None}


def _digest(*parts: str) -> str:
    """32 hexadecimal digits, as ids have, that are the same whenever the line is read."""
    return blake2b("\x00".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
