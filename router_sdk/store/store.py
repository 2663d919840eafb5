"""The log as one object: writer, reader, snapshots and folder of one database file."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from router_sdk.errors import InvalidConfigError, StoreUnavailableError, WrongTenantError
from router_sdk.lifetime import no_fork
from router_sdk.private_files import write_private
from router_sdk.records import Decision
from router_sdk.store.coordination import store_id
from router_sdk.store.engines import engine_of
from router_sdk.store.events import DeadLetter, write_dead_letters
from router_sdk.store.group_commit import GROUP_SIZE, TIMEOUT_S, LogWriter
from router_sdk.store.identity import IdempotencyKeys, check_id, check_tenant
from router_sdk.store.leadership import FileLeadership, Leadership
from router_sdk.store.privacy import Privacy
from router_sdk.store.reader import LogReader
from router_sdk.store.rows import Entry, outcome_payload, outcome_row
from router_sdk.store.shared_leadership import LEASE, SILENCE_S, SharedLeadership
from router_sdk.store.snapshots import KeptFolders, Snapshots
from router_sdk.store.sqlite import KEPT_BY, SQLiteEngine
from router_sdk.store.tail import LogTail

if TYPE_CHECKING:
    from router_sdk.engine import Connection, Engine
    from router_sdk.records import Outcome, PrivacyMode, Signals
    from router_sdk.rewards import RewardFunction
    from router_sdk.store.quarantine import Ranges

T = TypeVar("T")

IN_MEMORY = ":memory:"


class Store:
    """An open store. ``":memory:"`` is a file in a temporary folder that goes when the store is closed.

    Args:
        location: Path of the database file, ``":memory:"``, or a URL of a scheme that an engine registers.
        privacy: What of a text is kept: a mode, or that of another store with its secret.
        queue_size: Decisions that may wait for the disk.
        on_commit: Called after each commit with the number of outcomes in it.
        read_only: Whether nothing may be changed, neither in the file nor beside it.
        timeout_s: Longest that a caller waits for a store that another process keeps locked, in seconds.
        engines: Engines for URLs by their scheme; None asks the installed plugins.

    Attributes:
        engine: The database.
        privacy: What of a text is kept.
        read_only: Whether nothing may be changed.
        folder: Folder beside it, for snapshots and models.
        writer: The one way to write.
        reader: For questions now and then.
        keys: Which decisions idempotency keys stand for.
        snapshots: Folded states.
        parts: What processes serve from.
        leadership: Which process learns for the others.
        exports: Folder of lists of what was exported where.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        SchemaVersionError: if a newer release wrote it.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        privacy: PrivacyMode | Privacy = "full",
        queue_size: int = 100_000,
        on_commit: Callable[[int], None] = lambda count: None,
        read_only: bool = False,
        timeout_s: float = TIMEOUT_S,
        engines: Mapping[str, type[Engine] | str] | None = None,
    ) -> None:
        self._tell: Callable[[], object] | None = None
        self._end_news: Callable[[], None] | None = None
        self._hearing, self._quiet = threading.RLock(), False
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if str(location) == IN_MEMORY:
            self._temporary = tempfile.TemporaryDirectory(prefix="router-", ignore_cleanup_errors=True)
            location = Path(self._temporary.name) / "router.db"
        elif not str(location):
            raise InvalidConfigError("store: give a file name, or ':memory:'")
        self.engine = engine = engine_of(str(location), engines)
        self.folder = engine.folder
        self._open = engine.looker if read_only else engine.reader
        self.read_only = read_only
        if not read_only:
            engine.claim()  # before anything is put beside it
            if not isinstance(engine, SQLiteEngine) and not (self.folder / KEPT_BY).exists():
                write_private(self.folder / KEPT_BY, engine.name)
        self.privacy = privacy if isinstance(privacy, Privacy) else Privacy(privacy, self.folder, make=not read_only)
        if read_only:
            self._open().close()
            self.writer: LogWriter = NoWriter()
        else:
            self.writer = LogWriter(
                engine.writing(durable=self._temporary is None),
                self.privacy,
                unavailable=engine.unavailable,
                queue_size=queue_size,
                on_commit=on_commit,
                timeout_s=timeout_s,
            )
        self.reader = LogReader(self._open)
        self.keys = IdempotencyKeys(self.reader, self.privacy)
        shelf = engine.shelf()
        self.snapshots = Snapshots(self.writer, self.reader, self.folder, shelf, read_only=read_only)
        self.parts = KeptFolders(self.folder)
        log = engine.path if isinstance(engine, SQLiteEngine) else None
        own = "leader" if read_only else f"leader-{self.reader.query(store_id)[:16]}"
        lease = None if read_only else engine.renewed_lease(LEASE, SILENCE_S)
        self.leadership: Leadership = (
            FileLeadership(self.folder / own, log, self.reader)
            if lease is None or shelf is None
            else SharedLeadership(lease, shelf, self.writer, self.reader, self.folder / own)
        )
        self.exports = self.folder / "exports"

    @property
    def path(self) -> Path:
        """The database file, by its real name.

        Raises:
            StoreUnavailableError: if the log is in no file.
        """
        if isinstance(self.engine, SQLiteEngine):
            return self.engine.path
        raise StoreUnavailableError(
            f"{self.engine.shown} is no file, which this copies: use the database's own tools (such as pg_dump), or "
            "`router store migrate` to a file"
        )

    def entry(
        self,
        decision_id: str,
        outcome: Outcome,
        signals: Signals,
        *,
        outcome_id: str | None = None,
        tenant: str | None = None,
        decision: Decision | None = None,
        at: float | None = None,
    ) -> Entry:
        """An outcome as the writer takes it, with its decision where that may not be on disk yet."""
        row = outcome_row(decision_id, outcome, signals, outcome_id, tenant, at)
        return Entry(row, outcome_payload(outcome, self.privacy), decision)

    def append_all(self, entries: Sequence[Entry]) -> None:
        """Log many, as many at a time as share a transaction: each of these groups is on disk, or not, as one."""
        for start in range(0, len(entries), GROUP_SIZE):
            self.writer.append(entries[start : start + GROUP_SIZE])

    def require_tenant(self, decision: Decision | str, tenant: str) -> str | None:
        """Check that a decision is a tenant's, and return whose; one that is not logged yet is looked at when it is.

        Raises:
            WrongTenantError: if it is another's.
            InvalidInputError: if no task can have such a tenant.
        """
        wanted = check_tenant(tenant)
        if isinstance(decision, Decision):
            decision_id, owners = decision.decision_id, [decision.task.tenant]
        else:
            decision_id = check_id(decision)
            owners = self.reader.tenants(decision_id)
            if not owners:
                self.writer.flush()
                owners = self.reader.tenants(decision_id)
        if owners not in ([], [wanted]):
            raise WrongTenantError(f"decision {decision_id} is not one of tenant {tenant!r}")
        return wanted

    def refuse(self, letters: list[DeadLetter], intent: int | None = None) -> None:
        """Keep what could not be delivered; where texts are not kept in full, no body and no quotation.

        Args:
            letters: What.
            intent: What is finished with that.
        """
        if self.privacy.changes:
            reason = self.privacy.reason
            letters = [(kind, decision_id, reason(words), None) for kind, decision_id, words, _ in letters]
        write_dead_letters(self.writer, letters, intent)

    def tail(self, reward: RewardFunction, left_out: Ranges = ()) -> LogTail:
        """A view of the log with a connection of its own; close it with ``LogTail.close``."""
        return LogTail(self._open(), reward, left_out)

    def ask(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` with a reading connection of its own: what takes long holds nobody up who asks ``reader``."""
        with no_fork(), closing(self._open()) as connection:
            return work(connection)

    def on_news(self, tell: Callable[[], object]) -> None:
        """Have ``tell`` called when another process has committed, on another thread, where the engine can tell."""
        self._tell = tell
        self.hear()

    def hear(self) -> None:
        """Begin to be told, in a forked child for one: it is told nothing before somebody there has a use for it."""
        with self._hearing:
            if self._tell is not None and self._end_news is None and not self._quiet:
                self._end_news = self.engine.on_news(self._tell)
        if self._quiet:  # a signal's handler closed the store meanwhile
            self._no_news()

    def _no_news(self) -> None:
        with self._hearing:
            self._quiet = True
            end, self._end_news = self._end_news, None
        if end is not None:
            end()

    def close(self) -> None:
        """Flush and close; a temporary store is deleted."""
        self._no_news()
        self.leadership.close()
        self.writer.close()
        self.reader.close()
        self.engine.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def before_fork(self) -> None:
        """Hold the log still and close its connections."""
        self._no_news()
        self.leadership.before_fork()
        self.writer.before_fork()
        self.reader.before_fork()
        self.engine.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on; connections are opened again at first use."""
        self.reader.after_fork_in_parent()
        self.writer.after_fork_in_parent()
        self._quiet = False
        self.hear()

    def after_fork(self) -> None:
        """In a child: reopen everything at first use."""
        self.leadership.close()
        self.writer.after_fork()
        self.reader.after_fork()
        self._hearing, self._quiet = threading.RLock(), False
        if self._temporary is not None:
            self._temporary._finalizer.detach()  # type: ignore[attr-defined]  # the parent's to delete
            self._temporary = None


# -- a store that is only looked at

READ_ONLY = "the store is open for reading alone; open a router without read_only to write"
"""What to say to who wants to write."""


class NoWriter(LogWriter):
    """Stands where a store is open for reading alone: it takes nothing, and has nothing to write."""

    def __init__(self) -> None:
        self._closed = False

    def append(self, entries: Sequence[Entry]) -> None:
        """Refuse.

        Raises:
            StoreUnavailableError: always.
        """
        raise StoreUnavailableError(READ_ONLY)

    async def aappend(self, entries: Sequence[Entry]) -> None:
        """Refuse.

        Raises:
            StoreUnavailableError: always.
        """
        raise StoreUnavailableError(READ_ONLY)

    def offer(self, decision: Decision) -> bool:
        """Take no decision."""
        return False

    def _do(self, work: Callable[[float], T]) -> T:
        raise StoreUnavailableError(READ_ONLY)

    @property
    def waiting(self) -> int:
        """Nothing waits."""
        return 0

    def flush(self) -> None:
        """Nothing is to be written."""

    def close(self, *, patient: bool = True) -> None:
        """Nothing is open."""

    def before_fork(self) -> None:
        """Nothing is open."""

    def after_fork_in_parent(self) -> None:
        """Nothing is open."""

    def after_fork(self) -> None:
        """Nothing is open."""
