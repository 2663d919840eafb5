"""What a database must do to keep the log: the contract of a store's engine, which plugins offer by URL scheme.

The log's statements are written once, in the part of SQL that SQLite and PostgreSQL share, and a few spellings beside
it that an engine for another database puts into its own words:

- ``?`` and ``?1`` stand for values by their place, ``:name`` for values by name.
- ``a IS ?`` and ``a IS NOT b`` compare values that may be NULL.
- ``json_each(?)`` in ``IN (SELECT value FROM json_each(?))`` stands for a list, given as the text of a JSON array: of
  whole numbers where the column's name is ``seq``, ``set_id`` or ends with ``_seq``, else of texts.
- ``instr(text, part)`` is the place of a part, or 0. Texts are compared byte by byte, and booleans equal 0 and 1.

Numbers are 64 bits wide, whole or floating, and come back as they were given, to the last bit.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

T = TypeVar("T")

Values = Sequence[Any] | Mapping[str, Any]


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def scheme_of(location: str) -> str | None:
    """The scheme of a store's name that is a URL, in small letters; None where it is a file's."""
    found = _URL.match(location)
    return None if found is None else found[1].lower()


class Rows(Protocol):
    """What a statement gives: tuples, in order."""

    @property
    def description(self) -> Any:
        """Of each column a sequence that begins with its name."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchmany(self, size: int = ..., /) -> list[Any]:
        """The next rows, at most so many; none at the end."""

    def fetchall(self) -> list[Any]:
        """The rest."""

    def __iter__(self) -> Iterator[Any]: ...


class Stretches(ABC):
    """A log's decisions, outcomes, payloads and vectors, cut at positions: old stretches go whole, no row by itself.

    What changes them is done within a transaction, and waits for readers no longer than those who record may wait.

    Attributes:
        span_s: About how long one lasts, in seconds.
    """

    span_s: float

    @abstractmethod
    def cuts(self) -> list[int]:
        """Positions up to which everything can go at once, ascending."""

    @abstractmethod
    def extend(self, head: int) -> None:
        """Cut anew behind the newest position, where the stretch that it is in is about to end.

        Raises:
            StoreBusyError: if a reader would have to be waited for.
        """

    @abstractmethod
    def drop(self, upto: int, kept: Collection[int]) -> None:
        """Drop every row up to one of the cuts, but those of these positions.

        Raises:
            StoreBusyError: if a reader would have to be waited for.
        """


class Connection(Protocol):
    """One connection to the log, for one thread at a time; it begins no transaction by itself."""

    def execute(self, query: str, values: Any = ..., /) -> Rows:
        """Run a statement.

        Raises:
            StoreUnavailableError: if the database cannot be reached, or what ``Engine.unavailable`` names.
        """

    def executemany(self, query: str, values: Any, /) -> Rows:
        """Run a statement once for each of these."""

    def insert_rows(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]], known: bool = False) -> None:
        """Insert rows; with ``known``, those that are not there yet.

        Args:
            table: Into which.
            columns: Their names, apart by ``", "``.
            rows: A value for each of these columns.
            known: Whether some may be there already, by the table's key.
        """

    def steady(self) -> None:
        """See the log as it is at this moment until the connection is given back."""

    def size(self) -> int:
        """Space that the log's rows take, in bytes."""

    def stretches(self) -> Stretches | None:
        """What of the log goes whole when it is old; None where each row is deleted by itself."""

    def give_back(self) -> None:
        """Within a transaction that deleted rows: give some of their space back, as far as that is cheap."""

    def overwrite(self) -> None:
        """Within a transaction that erased texts: leave no copies of them in indexes."""

    def close(self) -> None:
        """Give it back."""


class Writing(ABC):
    """The writing end of one process: one transaction at a time, each alone on the whole log.

    Every method is called on the writer's thread, or while that stands still for a fork.
    """

    @abstractmethod
    def transact(self, work: Callable[[Connection, Any], T], deadline: float, first: str) -> T:
        """Run ``work(connection, found)`` in one durable transaction, while no other process writes.

        What it wrote is on disk when this returns, and seen by every reader before the next transaction begins, so that
        a position that one reads is never followed by a smaller one that was not there.

        Args:
            work: Reads and writes rows. What it executes may be sent without waiting for an answer; a row that is
                refused is then told by a later statement, or by the end. ``found`` is the row that ``first`` gives,
                or None where this end's last transaction was the newest of all.
            deadline: When to give up on a log that another one keeps locked, by the monotonic clock.
            first: The statement by which work begins where somebody else wrote; it takes no values and gives one row.

        Raises:
            StoreBusyError: if another process does not let go of the log in time.
            StoreUnavailableError: if it cannot be written, or what is written would be in nobody's reach.
        """

    @abstractmethod
    def scrub(self, deadline: float) -> bool:
        """Let nothing erased be left in what the database keeps of recent writes; False if that takes longer."""

    @abstractmethod
    def disconnect(self) -> None:
        """Close the connection; the next transaction opens another."""

    @abstractmethod
    def after_fork(self) -> None:
        """In a child, after ``disconnect``: leave to the parent what is the parent's."""

    @abstractmethod
    def close(self) -> None:
        """Close for good."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The log's tables as an engine makes them.

    Attributes:
        version: Raised by each release that changes them.
        statements: ``CREATE TABLE`` and ``CREATE INDEX``, as SQLite spells the newest: each column on a line of its own
            or apart by commas, of a type out of ``INTEGER, REAL, TEXT`` and ``BLOB``.
        event_tables: Those whose ``seq`` is drawn from the log's one sequence.
        most_outcomes: Most outcomes of one decision, and the words that refuse one more.
        shadow: The words that refuse an outcome of a decision on which nobody acted.
        random: Rows of ``meta`` that a new log has, by name: how many random bytes, in hexadecimal digits.
    """

    version: int
    statements: tuple[str, ...]
    event_tables: tuple[str, ...]
    most_outcomes: tuple[int, str]
    shadow: str
    random: Mapping[str, int]


class Shelf(ABC):
    """Where the folders and files that belong to a log stand for all machines; each is written once."""

    @abstractmethod
    def put(self, kind: str, name: str, folder: Path) -> None:
        """Copy a folder's files, or a file, there; when this returns, every machine finds them."""

    @abstractmethod
    def fetch(self, kind: str, name: str, target: Path) -> bool:
        """Copy one to a folder, or file, that is not there yet; False where there is none."""

    @abstractmethod
    def remove(self, kind: str, name: str) -> None:
        """Delete one, if it is there."""

    @abstractmethod
    def abandoned(self, kind: str, known: Collection[str], older_than_s: float = 3_600.0) -> list[str]:
        """Names of those that no table knows, and that nobody can still be about to name.

        Args:
            kind: Of which kind.
            known: Those that a table knows.
            older_than_s: Age in seconds beyond which nobody is.
        """


class RenewedLease(ABC):
    """A name that one process on the log holds for as long as it says so again and again.

    Whoever is stopped, cut off or dead falls silent, and the name is free: its keeper waits for no answer. It is sought
    and renewed on a thread of the engine's, so that nobody loses it who waits for something else.
    """

    @property
    @abstractmethod
    def held(self) -> int:
        """A number where this process holds it for certain, for it was renewed lately; else 0. It asks nobody.

        The number stays while it is held, and is a larger one for each later holder.
        """

    @abstractmethod
    def seek(self) -> None:
        """Take it once it is free, and keep it; called again, nothing happens."""

    @abstractmethod
    def release(self) -> None:
        """Let go of it, and of what it is held by, before this returns."""


class Engine(ABC):
    """One database with a log in it. Nothing is opened or made before it is asked for.

    Attributes:
        name: Scheme of the URLs that name its databases.
        unavailable: Exceptions beside ``StoreUnavailableError`` that say that the database cannot be reached now.
        errors: What the database's driver raises, by its bases.
        location: What opens the same log in another process.
        shown: The same without secrets, to be shown.
        folder: Folder on this machine for what stands beside the log.
    """

    name: ClassVar[str]
    unavailable: ClassVar[tuple[type[Exception], ...]] = ()
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    location: str
    shown: str
    folder: Path

    @classmethod
    @abstractmethod
    def of(cls, url: str, schema: Schema) -> Engine:
        """The database that a URL names.

        Args:
            url: It begins with a scheme that this engine is registered for.
            schema: The log's tables.

        Raises:
            InvalidConfigError: if the URL cannot be understood.
        """

    @abstractmethod
    def claim(self) -> None:
        """Make sure that there is a place for a log, or make it.

        Raises:
            NotAStoreError: if something else stands there.
            StoreUnavailableError: if it cannot be made or reached.
        """

    @abstractmethod
    def reader(self) -> Connection:
        """A connection that only reads: it sees whole transactions, and keeps no writer waiting.

        Raises:
            StoreUnavailableError: if there is no such log.
        """

    @abstractmethod
    def looker(self) -> Connection:
        """The same to a log in which nothing may be changed, not even to bring it up to date.

        Raises:
            StoreUnavailableError: if it is not there, or only a writer brings it up to date.
            SchemaVersionError: if a newer release wrote it.
        """

    @abstractmethod
    def writing(self, *, durable: bool = True) -> Writing:
        """The writing end; brings the tables up to date.

        Args:
            durable: False gives up durability for speed; for throw-away stores only.

        Raises:
            SchemaVersionError: if a newer release wrote it.
        """

    @abstractmethod
    def lease(self, name: str, patience_s: float = 0.0, *, once: bool = False) -> AbstractContextManager[object]:
        """Hold a name that no other process on this log holds; it is free again however its holder ends.

        Args:
            name: Of letters, digits, ``.`` and ``-``.
            patience_s: How long to wait for it, in seconds.
            once: Whether nobody needs that name again.

        Raises:
            TimeoutError: on entering, if somebody else holds it.
        """

    def renewed_lease(self, name: str, silence_s: float) -> RenewedLease | None:
        """A lease that a process loses by its silence; None where all are on one machine, which takes it from the dead.

        Args:
            name: As for ``lease``.
            silence_s: How long its holder may be silent, in seconds.
        """
        return None

    def shelf(self) -> Shelf | None:
        """Where all machines find the log's folders; None where its folder is the only one."""
        return None

    def on_news(self, tell: Callable[[], object]) -> Callable[[], None] | None:
        """Have ``tell`` called, on another thread, when another process has committed; None where one has to look.

        Returns:
            What ends that.
        """
        return None

    def before_fork(self) -> None:  # noqa: B027
        """Close what a child must not inherit."""

    def close(self) -> None:  # noqa: B027
        """Close for good; every connection was given back."""
