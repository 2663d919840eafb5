"""One process of a machine learns for the others: which one leads, who would follow, and the states that it publishes.

A published state follows from the log up to its position and from nothing else. So it does not matter who published it,
or whether that process still leads: one that is slow, stopped or dead costs the others work, and no outcome. Nothing of
this is kept: a state that must not be lost is a snapshot.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from filelock import lock_descriptor

from router_sdk.errors import CorruptArtifactError
from router_sdk.private_files import DRAFT, PRIVATE_FILE, disk, private_folder, read_object, write_private
from router_sdk.store.artifacts import (
    check_artifact,
    clear,
    entry,
    remove,
    remove_strangers,
    strangers,
    write_artifact,
)
from router_sdk.store.snapshots import link_folder

if TYPE_CHECKING:
    from router_sdk.store.reader import LogReader

_LOCK, _ASKED, _NEWEST = "lock", "asked", "newest.json"
ERASED = "SELECT 1 FROM forgotten WHERE seq > ? LIMIT 1"
"""Whether anything was forgotten since a position."""


class Mark(NamedTuple):
    """Where a published state stands.

    Attributes:
        cursor: Position in the log up to which it has learnt.
        fingerprint: Of all that it depends on besides the log.
    """

    cursor: int
    fingerprint: str


class Published(NamedTuple):
    """States that the leader published together.

    Attributes:
        name: Of the publication.
        marks: Where each state stands, by its name.
    """

    name: str
    marks: Mapping[str, Mark]


class Leadership(ABC):
    """What the processes on one store say to each other about who learns. No call waits for another process.

    Attributes:
        saves_for_all: Whether the leader's snapshots stand for those of the processes that follow.
    """

    saves_for_all: ClassVar[bool] = False

    @property
    @abstractmethod
    def leads(self) -> bool:
        """Whether this process leads, as far as can be told without asking anybody."""

    @abstractmethod
    def take(self) -> bool:
        """Lead from now on, if nobody else does; the lead ends with ``close`` or the process, however it ends.

        Returns:
            Whether this process leads.
        """

    @abstractmethod
    def ask(self) -> None:
        """Say that a process would follow: the leader publishes nothing unless it was asked since it last did."""

    @abstractmethod
    def asked(self) -> bool:
        """Whether anybody asked since this process last published."""

    @abstractmethod
    def publish(self, marks: Mapping[str, Mark], fill: Callable[[Path], None]) -> None:
        """Let the others read these states, in the place of those before.

        Nothing is published that may hold what was forgotten since.

        Args:
            marks: Where each stands.
            fill: Writes each into a folder of its name, in the folder that it is given.
        """

    @abstractmethod
    def newest(self) -> Published | None:
        """What was published last, or None. Asked some ten times a second."""

    @abstractmethod
    def fetch(self, published: Published, folder: Path) -> None:
        """Put its states into an empty folder, each in one of its name.

        Raises:
            CorruptArtifactError: if it is not there any more, or not as it was written.
        """

    @abstractmethod
    def withdraw(self, before: int, older_than_s: float) -> list[str]:
        """Delete what stands before a position, and what killed processes left.

        Args:
            before: The position.
            older_than_s: Age in seconds of what is half written, beyond which its process was killed.

        Returns:
            The names of what somebody is about to publish.
        """

    def before_fork(self) -> None:  # noqa: B027
        """Close what a child must not inherit."""

    @abstractmethod
    def close(self) -> None:
        """Lead no more. In a forked child, where the parent's lead is not its own: let go of what it inherited."""


class FileLeadership(Leadership):
    """The same in a folder: a file lock says who leads, and a file that is renamed what is newest.

    Args:
        folder: Its own, on this machine.
        log: The database file; None where the log is in none, and can be replaced by no other.
        reader: Knows what was forgotten.
    """

    def __init__(self, folder: Path, log: Path | None, reader: LogReader) -> None:
        self._log, self._folder, self._reader = log, folder, reader
        self._is = _identity(log)
        self._stands: int | None = None
        self._descriptor = -1
        self._answered = 0
        self._seen: tuple[int, int] | None = None
        self._known: Published | None = None

    @property
    def leads(self) -> bool:
        """Whether the lock file's lock is held here."""
        return self._descriptor >= 0

    def take(self) -> bool:
        """Hold the lock file's lock, and clear away what whoever led before has left."""
        if self._descriptor >= 0:
            if self._stands is not None and self._erased(self._stands):  # on another machine, where this is not seen
                self.withdraw(self._stands + 1, math.inf)
            return True
        with disk(self._folder.name):
            place = private_folder(self._folder) / _LOCK
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), PRIVATE_FILE)
            if not lock_descriptor(descriptor, blocking=False):
                os.close(descriptor)
                return False
        self._descriptor = descriptor
        for path in self._folder.iterdir():
            if path.is_dir():
                clear(path)
                path.rmdir()
        return True

    def ask(self) -> None:
        """Touch a file."""
        with disk(self._folder.name):
            (private_folder(self._folder) / _ASKED).touch(PRIVATE_FILE)

    def asked(self) -> bool:
        """Whether it was touched since."""
        return self._asked_at() > self._answered

    def _asked_at(self) -> int:
        try:
            return (self._folder / _ASKED).stat().st_mtime_ns
        except OSError:
            return 0

    def publish(self, marks: Mapping[str, Mark], fill: Callable[[Path], None]) -> None:
        """Write a folder, and rename what names it."""
        self._answered = self._asked_at()
        stands = min(mark.cursor for mark in marks.values())
        name = publication_name(stands)
        write_artifact(self._folder / name, fill, durably=False)
        if self._erased(stands) or _identity(self._log) != self._is:  # another log stands there now
            remove(self._folder, name)
            return
        write_private(self._folder / _NEWEST, json.dumps({"name": name, "marks": marks}))
        self._stands = stands
        for path in self._folder.iterdir():
            if path.is_dir() and path.name != name:
                remove(self._folder, path.name)

    def _erased(self, after: int) -> bool:
        return bool(self._reader.query(lambda connection: connection.execute(ERASED, (after,)).fetchone()))

    def newest(self) -> Published | None:
        """Read what names it, where that was renamed since the last look."""
        place = self._folder / _NEWEST
        try:
            found = place.stat()
            if self._seen != (found.st_ino, found.st_mtime_ns):
                told = read_object(place)
                marks = {name: Mark(int(cursor), str(mark)) for name, (cursor, mark) in told["marks"].items()}
                self._known = Published(told["name"], marks)
                self._seen = (found.st_ino, found.st_mtime_ns)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return self._known

    def fetch(self, published: Published, folder: Path) -> None:
        """Link its files, which stay when the leader deletes its own."""
        try:
            link_folder(entry(self._folder, published.name), folder)
        except OSError as error:
            raise CorruptArtifactError(f"{published.name}: something newer was published") from error
        check_artifact(folder)

    def withdraw(self, before: int, older_than_s: float) -> list[str]:
        """Delete folders."""
        return withdraw_from(self._folder, before, older_than_s)

    def close(self) -> None:
        """Close the lock file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def publication_name(stands: int) -> str:
    """A new name for what stands at a position."""
    return f"{stands}-{secrets.token_hex(4)}"


def stands_before(name: str, position: int) -> bool:
    """Whether what has that name stands before a position."""
    stands = name.partition("-")[0]
    return stands.isdecimal() and int(stands) < position


def withdraw_from(folder: Path, before: int, older_than_s: float) -> list[str]:
    """``Leadership.withdraw``, of what stands in a folder of this machine."""
    whole = {name for name in strangers(folder, ()) if not name.startswith(DRAFT)}
    for name in whole:
        if stands_before(name, before):
            remove(folder, name)
    remove_strangers(folder, whole, older_than_s)
    return strangers(folder, whole)


def _identity(log: Path | None) -> tuple[int, int] | None:
    try:
        found = None if log is None else log.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)
