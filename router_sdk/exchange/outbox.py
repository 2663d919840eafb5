"""The log out to a broker: decisions and outcomes, in the order of the log, each at least once.

The log is the outbox: what is in it was committed. How far it was sent is noted in the store once the broker has taken
it. So nothing is lost, and what is sent again after a crash has the same id: ``SOURCE`` and the position.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from router_sdk.errors import StoreError, StreamUnavailableError
from router_sdk.exchange.lines import OUTCOME_FIELDS, line_of, told_time
from router_sdk.exchange.retries import Retries
from router_sdk.store.coordination import note_consumers
from router_sdk.store.streams import SENT, Due, positions_note, read_due, read_positions, write_notes
from router_sdk.streams.source import Outgoing

if TYPE_CHECKING:
    from router_sdk.store import Store
    from router_sdk.store.copying import LoggedDecision, LoggedPart
    from router_sdk.streams.source import Sink

TYPES = ("router_sdk.decision", "router_sdk.outcome", "router_sdk.forgotten")
"""What a CloudEvent's ``type`` says: the data of the second are a ``StreamEvent``, those of the third a list of ids."""

_BATCH = 512
"""Positions of the log that are sent together."""
_LOOK_S = 0.5
_HEARTBEAT_S = 60.0
_STORE_ID = "SELECT value FROM meta WHERE name = 'store_id'"


class Outbox:
    """Sends the log to one sink.

    Args:
        store: The log.
        sink: Where to; it is closed at the end.

    Attributes:
        sent: Events that this process has sent.
        error: The newest fault, or None.
    """

    def __init__(self, store: Store, sink: Sink) -> None:
        self._store, self._sink = store, sink
        self._name = str(sink.address)
        self._source = "router-sdk/" + store.reader.query(
            lambda connection: connection.execute(_STORE_ID).fetchone()[0]
        )
        self._cursor = store.reader.query(lambda connection: read_positions(connection, self._name)).get(SENT, 0)
        self._heard_at = -_HEARTBEAT_S
        self.sent = 0
        self.error: str | None = None

    def run(
        self, end: threading.Event, *, once: bool = False, tell: Callable[[Outbox], None] = lambda outbox: None
    ) -> int:
        """Send what is there, and what comes, until ``end`` is set; how many events were sent.

        Args:
            end: Set by who wants it to end.
            once: Whether to end once all that there is was sent.
            tell: Told after each batch, and every look.

        Raises:
            StreamUnavailableError: with ``once``, if the broker cannot be reached.
        """
        retries = Retries(self._name)
        try:
            while not end.is_set():
                try:
                    more = self.step()
                except (StreamUnavailableError, StoreError) as error:
                    if once:
                        raise
                    self.error = str(error)
                    end.wait(retries.failed(error))
                    continue
                finally:
                    tell(self)
                self.error = None
                retries.worked()
                if not more:
                    if once:
                        break
                    end.wait(_LOOK_S)
        finally:
            self._sink.close()
        return self.sent

    def step(self) -> bool:
        """Send one batch; False where there is nothing to send.

        Raises:
            StreamUnavailableError: if the broker did not take all of it; it is sent again.
            StoreError: if the store cannot be written.
        """
        self._store.writer.flush()
        due = self._store.ask(lambda connection: read_due(connection, self._cursor, _BATCH))
        if due.upto > self._cursor:
            messages = list(self._messages(due))
            if messages:
                self._sink.send(messages)
            write_notes(self._store.writer, positions_note(self._name, {SENT: due.upto}))
            self.sent += len(messages)
        self._say_where(due.upto)
        moved, self._cursor = due.upto > self._cursor, due.upto
        return moved

    def _say_where(self, cursor: int) -> None:
        """What was not sent is not archived."""
        now = time.monotonic()
        if now - self._heard_at >= _HEARTBEAT_S:
            self._heard_at = now
            name = f"outbox {self._name}"
            self._store.writer.transact(lambda connection, seq: note_consumers(connection, name, {name: cursor}))

    # -- events

    def _messages(self, due: Due) -> Iterator[Outgoing]:
        """In the order of the log; an outcome that came before its decision follows it."""
        found: list[tuple[tuple[int, int], Outgoing]] = []
        for logged in due.decisions:
            if logged.position > self._cursor:
                found.append(((logged.position, 0), self._decision(logged)))
            for part in logged.parts:
                place = max(part.position, logged.position)
                if self._cursor < place <= due.upto and (event := self._outcome(logged, part)) is not None:
                    found.append(((place, part.position), event))
        for position, ids in due.forgotten:
            told = self._event(TYPES[2], position, {"decision_ids": ids}, time.time())
            found.append(((position, 0), Outgoing(ids[0] if ids else "", **told)))
        return (event for _, event in sorted(found, key=lambda each: each[0]))

    def _decision(self, logged: LoggedDecision) -> Outgoing:
        row = line_of(logged._replace(parts=()), None)
        row = {name: value for name, value in row.items() if name not in ("parts", "vectors")}
        decision = logged.decision
        return Outgoing(decision.decision_id, **self._event(TYPES[0], logged.position, row, decision.at))

    def _outcome(self, logged: LoggedDecision, part: LoggedPart) -> Outgoing | None:
        said = {name: value for name in OUTCOME_FIELDS if (value := getattr(part.outcome, name, None)) is not None}
        if not said:
            return None  # it was forgotten
        decision = logged.decision
        row: dict[str, Any] = {"decision_id": decision.decision_id, "outcome": said, "outcome_id": part.outcome_id}
        row |= {"at": told_time(part.at), "tenant": decision.task.tenant}
        kept = {name: value for name, value in row.items() if value is not None}
        return Outgoing(decision.decision_id, **self._event(TYPES[1], part.position, kept, part.at))

    def _event(self, kind: str, position: int, data: dict[str, Any], at: float) -> dict[str, Any]:
        event = {
            "specversion": "1.0",
            "type": kind,
            "source": self._source,
            "id": str(position),
            "time": datetime.fromtimestamp(told_time(at), UTC).isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        headers = {"content-type": "application/cloudevents+json", "router-id": f"{self._source}/{position}"}
        return {"body": to_json(event, inf_nan_mode="null"), "headers": headers}
