"""The log as one object: writer, reader, snapshots and folder of one database file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidConfigError, StoreUnavailableError
from router_sdk.store.connection import open_reader
from router_sdk.store.journal import DeadLetter, write_dead_letters
from router_sdk.store.privacy import text_filter
from router_sdk.store.reader import LogReader
from router_sdk.store.rows import outcome_payload, outcome_row
from router_sdk.store.snapshots import Snapshots
from router_sdk.store.tail import LogTail
from router_sdk.store.ticket import Entry
from router_sdk.store.writer import LogWriter

if TYPE_CHECKING:
    from router_sdk.records import Decision, Outcome, PrivacyMode, Signals
    from router_sdk.rewards import RewardFunction

IN_MEMORY = ":memory:"

_QUOTED = re.compile(r" \(got .*|: '.*", re.DOTALL)


class Store:
    """An open store. ``":memory:"`` is a file in a temporary folder that goes when the store is closed.

    Args:
        location: Path of the database file, or ``":memory:"``.
        privacy: What of a text is kept.
        queue_size: Decisions that may wait for the disk.
        on_commit: Called after each commit with the number of outcomes in it.

    Attributes:
        path: The database file.
        folder: Folder beside it, for snapshots and models.
        writer: The one way to write.
        reader: For questions now and then.
        snapshots: Folded states.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        SchemaVersionError: if a newer release wrote it.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        privacy: PrivacyMode = "full",
        queue_size: int = 100_000,
        on_commit: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if str(location) == IN_MEMORY:
            self._temporary = tempfile.TemporaryDirectory(prefix="router-", ignore_cleanup_errors=True)
            location = Path(self._temporary.name) / "router.db"
        elif not str(location):
            raise InvalidConfigError("store: give a file name, or ':memory:'")
        self.path = Path(location).expanduser().absolute()
        if self.path.is_dir():
            raise StoreUnavailableError(f"{self.path} is a folder; name a file in it")
        self.folder = self.path.with_name(self.path.name + ".artifacts")
        self._privacy = privacy
        self._keep = text_filter(privacy, self.folder)
        durable = self._temporary is None
        self.writer = LogWriter(self.path, self._keep, queue_size=queue_size, durable=durable, on_commit=on_commit)
        self.reader = LogReader(self.path)
        self.snapshots = Snapshots(self.writer, self.folder)

    def entry(
        self,
        decision_id: str,
        outcome: Outcome,
        signals: Signals,
        *,
        outcome_id: str | None = None,
        tenant: str | None = None,
        decision: Decision | None = None,
    ) -> Entry:
        """An outcome as the writer takes it, with its decision where that may not be on disk yet."""
        row = outcome_row(decision_id, signals, outcome_id, tenant)
        return Entry(row, outcome_payload(outcome, self._keep), decision)

    def refuse(self, letters: list[DeadLetter]) -> None:
        """Keep what could not be delivered; where texts are not kept in full, no body and no quotation."""
        if self._privacy != "full":
            letters = [(kind, decision_id, _QUOTED.sub("", reason), None) for kind, decision_id, reason, _ in letters]
        write_dead_letters(self.writer, letters)

    def tail(self, reward: RewardFunction) -> LogTail:
        """A view of the log with a connection of its own; close it with ``LogTail.close``."""
        return LogTail(open_reader(self.path), reward)

    def close(self) -> None:
        """Flush and close; a temporary store is deleted."""
        self.writer.close()
        self.reader.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def before_fork(self) -> None:
        """Hold the log still and close its connections."""
        self.writer.before_fork()
        self.reader.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on; connections are opened again at first use."""
        self.reader.after_fork_in_parent()
        self.writer.after_fork_in_parent()

    def after_fork(self) -> None:
        """In a child: reopen everything at first use."""
        self.writer.after_fork()
        self.reader.after_fork()
        if self._temporary is not None:
            self._temporary._finalizer.detach()  # type: ignore[attr-defined]  # the parent's to delete
            self._temporary = None
