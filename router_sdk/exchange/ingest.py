"""A stream into the log: micro-batches, each with how far it came in one transaction, then acknowledged.

A broker delivers at least once; each event is counted once, because the ids of what it becomes follow from its own
name, or from where it stands in its stream. A message that nobody understands is a dead letter, and the rest goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import (
    InvalidOutcomeError,
    RouterClosedError,
    RouterError,
    StoreError,
    StreamUnavailableError,
)
from router_sdk.exchange.envelope import short_id, unwrapped
from router_sdk.exchange.observations import Newcomers
from router_sdk.exchange.retries import Retries
from router_sdk.store.identity import check_key, new_id
from router_sdk.store.rows import Entry
from router_sdk.store.streams import (
    KIND,
    held_outcomes,
    positions_note,
    read_positions,
    status_note,
    tidy_statuses,
    write_notes,
    write_refused_messages,
)
from router_sdk.streams.source import Message, Outgoing

if TYPE_CHECKING:
    from router_sdk.exchange.events import EventReader, StreamEvent
    from router_sdk.recording import Recorder
    from router_sdk.records import Outcome
    from router_sdk.routing.agents import Members
    from router_sdk.store import Store
    from router_sdk.store.coordination import Note
    from router_sdk.streams.source import Sink, Source

TELL_S = 5.0
"""How often it is noted how a stream does."""
_POLL_S = 0.5
"""Longest that one look for messages takes, so that the end is heard of."""
_RATE_S = 60.0
_BODY_CHARS = 10_000
_REASON, _FROM = "router-reason", "router-source"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class StreamReport:
    """How a stream does.

    Attributes:
        state: ``reading``, ``waiting`` (the broker or the store cannot be reached, see ``error``), or ``ended``.
        stored: Messages that are in the log.
        refused: Messages that are dead letters.
        again: Messages that had been delivered before: acknowledged too late, or by nobody.
        rate: Messages a second over the last minute.
        lag: Messages that are still to come, by partition; empty where nobody knows.
        error: The newest fault, or None.
        error_at: When that was, in seconds since the epoch.
    """

    state: str = "reading"
    stored: int = 0
    refused: int = 0
    again: int = 0
    rate: float = 0.0
    lag: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    error_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with the sum of ``lag`` as ``behind``: None where nobody knows it."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "lag": dict(self.lag), "behind": sum(self.lag.values()) if self.lag else None}

    def fault(self, error: Exception) -> None:
        """Note what went wrong."""
        self.error, self.error_at = str(error), time.time()


class _Ready(NamedTuple):
    """What a message becomes.

    Attributes:
        message: Which.
        entries: Rows for the log.
        told: What observers hear: decisions' ids, and what came of them.
    """

    message: Message
    entries: list[Entry]
    told: list[tuple[str, Outcome]]


Tell = Callable[[StreamReport], None]


class Ingest:
    """Follows one source.

    Args:
        store: The log.
        recorder: Checks outcomes, and makes entries of them.
        members: The agents that events may name.
        source: Where messages come from; it is opened, and closed at the end.
        reader: Reads them.
        dead_letters: Where messages go, beside the store, that nobody understands; or None.
        most: Messages in one transaction.
        new_agents: Whether names that nobody knows become agents.

    Attributes:
        report: How it does.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        members: Members,
        source: Source,
        reader: EventReader,
        *,
        dead_letters: Sink | None = None,
        most: int,
        new_agents: bool = False,
    ) -> None:
        self._store, self._recorder, self._source, self._reader = store, recorder, source, reader
        self._newcomers, self._dead_letters, self._most = Newcomers(members, allowed=new_agents), dead_letters, most
        self._name, self._process = str(source.address), new_id()
        self._lately: deque[tuple[float, int]] = deque()
        self._in_a_minute = 0
        self._told_at = -TELL_S
        self._in_hand: Sequence[Message] = ()
        self._fresh = True
        self.report = StreamReport()

    def run(self, end: threading.Event, tell: Tell = lambda report: None) -> StreamReport:
        """Go on until ``end`` is set, or the source has ended.

        What the broker or the store cannot do now is tried again; it is said meanwhile, and logged once until it works.

        Args:
            end: Set by who wants it to end; the micro-batch in hand is finished.
            tell: Told how it does after each, and every few seconds.
        """
        retries, opened = Retries(self._name), False
        try:
            while not (end.is_set() or self._source.ended):
                try:
                    if not opened:
                        tidy_statuses(self._store.writer)
                        self._source.open(self._reached)
                        opened = True
                    self.step()
                except (StreamUnavailableError, StoreError) as error:
                    rest_s = retries.failed(error)
                    self.report.fault(error)
                    self.report.state = "waiting"
                    self._note()
                    tell(self.report)
                    end.wait(rest_s)
                else:
                    self.report.state = "reading"
                    retries.worked()
                    tell(self.report)
        finally:
            self._source.close()
            self.report.state = "ended"
            self._told_at = -TELL_S
            self._note()
        tell(self.report)
        return self.report

    def step(self) -> int:
        """Take one micro-batch in, and return how many messages it had.

        Raises:
            StreamUnavailableError: if the broker cannot be reached, or told; the next step begins with the same batch.
            StoreError: if the log cannot be written; likewise.
        """
        if not self._in_hand:
            self._in_hand = self._source.poll(self._most, _POLL_S)
            self._fresh = True
        messages = self._in_hand
        if messages:
            self._log(messages)
            self._source.acknowledge(messages)
            self._in_hand = ()
        self._note()
        return len(messages)

    def _log(self, messages: Sequence[Message]) -> None:
        """Log what they say; what of it the log holds already, it holds once."""
        ready: list[_Ready] = []
        refused: list[tuple[Message, Exception]] = []
        for message in messages:
            try:
                ready.append(self._ready(message))
            except (StoreError, RouterClosedError):
                raise
            except (RouterError, UnicodeError) as error:  # a source of somebody else's may give half a surrogate pair
                refused.append((message, error))
        self._refuse(refused)  # before it is noted that this was read
        if self._fresh:
            self._count(messages, len(refused))
            self._fresh = False
        entries = [entry for one in ready for entry in one.entries]
        try:
            self._store.writer.append([*entries, self._noted(messages)])
        except InvalidOutcomeError:  # the log itself refuses one of them
            ready = self._one_by_one(ready)
            self._store.writer.append([self._noted(messages)])
        told = [one for each in ready for one in each.told]
        self._recorder.imported(len(told), told)

    def _one_by_one(self, ready: Sequence[_Ready]) -> list[_Ready]:
        """Log what can be logged, message by message; the others are dead letters."""
        logged = []
        for one in ready:
            try:
                self._store.writer.append(one.entries)
            except InvalidOutcomeError as error:
                self._refuse([(one.message, error)])
                self._count((), 1)
            else:
                logged.append(one)
        return logged

    # -- what a message becomes

    def _ready(self, message: Message) -> _Ready:
        ready = _Ready(message, [], [])
        rows = unwrapped(message.body, message.headers)
        for number, row in enumerate(rows):
            event = self._reader.read(row)
            if event is None:
                continue
            own = event.outcome_id or (message.id if len(rows) == 1 else f"{message.id}#{number}")
            for decision_id, entry in self._entries(event, short_id(own)):
                ready.entries.append(entry)
                if event.outcome is not None:
                    ready.told.append((decision_id, event.outcome))
        return ready

    def _entries(self, event: StreamEvent, own: str) -> Iterator[tuple[str, Entry]]:
        outcome = event.outcome
        if event.task is not None:
            named = {name for name in (event.agent, outcome and outcome.correct_agent) if name}
            self._newcomers.welcome(named)
            self._newcomers.check(named)
            decision_id = blake2b(f"{KIND} {event.task.tenant or ''} {own}".encode(), digest_size=16).hexdigest()
            decision = self._recorder.observation(event.task, event.agent, event.at, decision_id)
            if outcome is None:
                yield decision_id, Entry(decision=decision)
            else:
                yield decision_id, self._recorder.entry(decision, outcome, own, at=event.at)
            return
        assert outcome is not None
        if event.decision_id is not None:
            yield event.decision_id, self._recorder.entry(event.decision_id, outcome, own, event.tenant, at=event.at)
            return
        for decision_id, key in self._of_session(event, own).items():
            yield decision_id, self._recorder.entry(decision_id, outcome, key, at=event.at)

    def _of_session(self, event: StreamEvent, own: str) -> dict[str, str]:
        """The decisions that an event of a session is about, with its outcomes' ids.

        Those rows are logged together. Where the log holds some, the event was delivered before: it is not about what
        was decided in the session since then.
        """
        decisions = self._recorder.session(event.session_id, event.tenant)
        keys = {one: check_key(short_id(f"{own} {one}"), "outcome_id") for one in decisions}
        held = self._store.reader.query(lambda connection: held_outcomes(connection, keys.values()))
        return {one: key for one, key in keys.items() if not held or key in held}

    # -- what is noted

    def _reached(self) -> Mapping[str, int]:
        return self._store.reader.query(lambda connection: read_positions(connection, self._name))

    def _positions(self, messages: Sequence[Message]) -> list[Note]:
        found: dict[str, int] = {}
        for one in messages:
            if one.partition is not None:
                found[one.partition] = max(found.get(one.partition, 0), one.position + 1)
        return positions_note(self._name, found)

    def _noted(self, messages: Sequence[Message]) -> Entry:
        return Entry(notes=self._positions(messages) + self._status())

    def _status(self) -> list[Note]:
        return status_note(self._name, self._process, self.report.to_dict())

    def _count(self, messages: Sequence[Message], refused: int) -> None:
        report, now = self.report, time.monotonic()
        report.stored += len(messages) - refused
        report.refused += refused
        report.again += sum(one.again for one in messages)
        self._lately.append((now, len(messages)))
        self._in_a_minute += len(messages)
        while self._lately[0][0] < now - _RATE_S:
            self._in_a_minute -= self._lately.popleft()[1]
        report.rate = self._in_a_minute / _RATE_S

    def _note(self) -> None:
        """Say every few seconds how it does, also where nothing came."""
        now = time.monotonic()
        if now - self._told_at < TELL_S:
            return
        self._told_at = now
        try:
            self.report.lag = dict(self._source.lag())
        except StreamUnavailableError as error:
            self.report.fault(error)
        try:
            write_notes(self._store.writer, self._status())
        except (StoreError, RouterClosedError) as error:
            self.report.fault(error)

    # -- poison

    def _refuse(self, refused: Sequence[tuple[Message, Exception]]) -> None:
        """Keep them in the store, then tell the broker's own dead letters, whose fault does not hold the rest up."""
        if not refused:
            return
        privacy = self._store.privacy
        letters = []
        for message, error in refused:
            reason = _written(f"{self._name} {message.id}: {error}")
            _log.warning("%s", reason)
            body = message.body.decode("utf-8", "backslashreplace")[:_BODY_CHARS]
            letters.append(
                (KIND, None, privacy.reason(reason), None) if privacy.changes else (KIND, None, reason, body)
            )
        write_refused_messages(self._store.writer, letters)
        # What was a dead letter before stays in the store: the same topic by another name must not go round for ever.
        sent = [
            Outgoing(_written(one.id), one.body, _sent({**one.headers, _REASON: str(error), _FROM: self._name}))
            for one, error in refused
            if _REASON not in one.headers
        ]
        if sent and self._dead_letters is not None:
            try:
                self._dead_letters.send(sent)
            except StreamUnavailableError as error:
                self.report.fault(error)
                _log.warning("%s: the dead letters are in the store alone: %s", self._name, error)


def _written(text: str) -> str:
    """What can be written of a text: half a surrogate pair is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _sent(headers: Mapping[str, str]) -> dict[str, str]:
    return {_written(name): _written(value) for name, value in headers.items()}
