"""One process of all machines learns for the others, where the log is in a database that many reach.

Who leads holds a lease, and says so more than once a second: one that is stopped, cut off or dead falls silent, and
another has it. A published state is put on the shelf, and named in a transaction that looks whether somebody with a
later lease has published since: what a former leader was at when it fell silent is not published when it wakes
(Kleppmann, "How to do distributed locking", 2016, on fencing tokens).
"""

from __future__ import annotations

import json
import math
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from router_sdk.errors import CorruptArtifactError, RouterError
from router_sdk.store.artifacts import check_artifact, clear, files_in, remove, write_artifact
from router_sdk.store.coordination import put_notes
from router_sdk.store.leadership import (
    ERASED,
    Leadership,
    Mark,
    Published,
    publication_name,
    stands_before,
    withdraw_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from router_sdk.engine import Connection, RenewedLease, Shelf
    from router_sdk.store.group_commit import LogWriter
    from router_sdk.store.reader import LogReader

LEASE, SILENCE_S = "leader", 3.0
"""The lease, and how long a leader may be silent: with a look a second of the others it is replaced within five."""
LEADER, ASKED = "leader", "leader_asked"
"""Rows of ``meta``: what was published, under which lease; and how many publications were asked for."""
_LOOK_S = 0.05
"""How old what was read of these rows may be."""
_LARGEST_BYTES = 8 << 20
"""A larger state is not published: each machine would fetch it about once a second."""


class _Told(NamedTuple):
    """What the rows say."""

    term: int
    published: Published | None
    answered: int
    asked: int


def _told(connection: Connection) -> _Told:
    rows = dict(connection.execute("SELECT name, value FROM meta WHERE name IN (?, ?)", (LEADER, ASKED)).fetchall())
    said = json.loads(rows.get(LEADER, "{}"))
    name, marks = said.get("name"), said.get("marks", {})
    published = Published(name, {of: Mark(int(at), str(mark)) for of, (at, mark) in marks.items()}) if name else None
    return _Told(int(said.get("term", 0)), published, int(said.get("answered", 0)), int(rows.get(ASKED, "0")))


def _tell(connection: Connection, told: _Told) -> None:
    name, marks = told.published or ("", {})
    said = {"term": told.term, "answered": told.answered, "name": name, "marks": marks}
    put_notes(connection, [(LEADER, json.dumps(said))])


class SharedLeadership(Leadership):
    """See above.

    Args:
        lease: Held by the leader.
        shelf: Where all machines find what is published.
        writer: Writes who leads, and what is published.
        reader: Reads it, and knows what was forgotten.
        folder: For what is on its way, on this machine.
    """

    saves_for_all: ClassVar[bool] = True

    def __init__(self, lease: RenewedLease, shelf: Shelf, writer: LogWriter, reader: LogReader, folder: Path) -> None:
        self._lease, self._shelf, self._writer, self._reader, self._folder = lease, shelf, writer, reader, folder
        self._term = 0
        self._read_at = -math.inf
        self._read: _Told | None = None
        self._large: set[str] = set()

    @property
    def leads(self) -> bool:
        """Whether the lease was renewed lately."""
        return self._lease.held > 0

    def take(self) -> bool:
        """Seek the lease, on another thread."""
        self._lease.seek()
        term = self._lease.held
        if term not in (0, self._term):
            self._succeed()
        self._term = term
        return term > 0

    def _succeed(self) -> None:
        """Clear away what a killed leader may have put on the shelf and not named."""
        self._large = set()
        clear(self._folder)
        told = self._reader.query(_told)
        known = [] if told.published is None else [told.published.name]
        for name in self._shelf.abandoned(LEADER, known, -math.inf):
            self._shelf.remove(LEADER, name)

    def _look(self) -> _Told | None:
        """What the log says, or said a moment ago; None where it cannot be read."""
        if time.monotonic() - self._read_at >= _LOOK_S:
            with suppress(RouterError, ValueError, KeyError, TypeError, AttributeError):
                self._read = self._reader.query(_told)
                self._read_at = time.monotonic()
                return self._read
            self._read = None
        return self._read

    def ask(self) -> None:
        """Count one up, where none is open."""
        told = self._look()
        if told is None or told.asked > told.answered:
            return

        def work(connection: Connection, seq: int) -> None:
            put_notes(connection, [(ASKED, str(_told(connection).answered + 1))])

        self._writer.transact(work)
        self._read_at = -math.inf

    def asked(self) -> bool:
        """Whether one is open."""
        told = self._look()
        return told is not None and told.asked > told.answered

    def publish(self, marks: Mapping[str, Mark], fill: Callable[[Path], None]) -> None:
        """Put a folder on the shelf, and name it if this process still leads."""
        told, term = self._look(), self._term
        if told is None or self._lease.held != term or self._large.issuperset(marks):
            return
        stands = min(mark.cursor for mark in marks.values())
        name = publication_name(stands)

        def fill_small(folder: Path) -> None:
            fill(folder)
            for state in marks:
                if sum(path.stat().st_size for path in files_in(folder / state)) > _LARGEST_BYTES:
                    self._large.add(state)
                    shutil.rmtree(folder / state)

        def work(connection: Connection, seq: int) -> str | None:
            now = _told(connection)
            if now.term > term or connection.execute(ERASED, (stands,)).fetchone():
                return name
            small = {state: mark for state, mark in marks.items() if state not in self._large}
            _tell(connection, now._replace(term=term, published=Published(name, small), answered=told.asked))
            return now.published.name if now.published else None

        self._large.difference_update(marks)
        write_artifact(self._folder / name, fill_small, durably=False)
        try:
            if self._large.issuperset(marks):
                return
            self._shelf.put(LEADER, name, self._folder / name)
        finally:
            remove(self._folder, name)
        old = self._writer.transact(work) if self._lease.held == term else name
        self._read_at = -math.inf
        if old is not None:
            self._shelf.remove(LEADER, old)

    def newest(self) -> Published | None:
        """Read what is named."""
        told = self._look()
        return None if told is None else told.published

    def fetch(self, published: Published, folder: Path) -> None:
        """Copy it from the shelf."""
        folder.rmdir()
        if not self._shelf.fetch(LEADER, published.name, folder):
            raise CorruptArtifactError(f"{published.name}: something newer was published")
        check_artifact(folder)

    def withdraw(self, before: int, older_than_s: float) -> list[str]:
        """Delete what is on the shelf, and name it no more."""

        def work(connection: Connection, seq: int) -> None:
            told = _told(connection)
            if told.published is not None and stands_before(told.published.name, before):
                _tell(connection, told._replace(published=None))

        self._writer.transact(work)
        self._read_at = -math.inf
        for name in self._shelf.abandoned(LEADER, (), -math.inf):
            if stands_before(name, before):
                self._shelf.remove(LEADER, name)
        return withdraw_from(self._folder, before, older_than_s)

    def before_fork(self) -> None:
        """Lead no more: the connection that holds the lease is not to be inherited. The next look begins anew."""
        self.close()

    def close(self) -> None:
        """Let go of the lease, for another to have it at once."""
        self._term = 0
        self._lease.release()
