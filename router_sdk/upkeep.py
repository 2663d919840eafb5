"""What a store needs from time to time, from whoever has it open.

Intents are finished, old decisions archived, and what killed processes left is tidied away.

An intent that is cut off (a killed process, a disk that is full, a reader that keeps old pages) stays in the log. Every
process that has the store open looks for such intents about once a second, and one of them goes on: file locks, which
the operating system takes from a process that ends, say who is at work.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from router_sdk.erasing import WRITTEN_S, Eraser, StillWritingError
from router_sdk.errors import (
    FAULTS,
    ChampionMovedError,
    CorruptArtifactError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    UnknownVersionError,
)
from router_sdk.learning.pace import Every
from router_sdk.store.coordination import finish_intent, low_water, note_consumers, pending_intents
from router_sdk.store.erasure import Erasure, erase_session
from router_sdk.store.identity import new_id
from router_sdk.store.retention import (
    before_of_size,
    begin_archive,
    go_on_archiving,
)
from router_sdk.store.stretches import StillReadError
from router_sdk.waiting import until_ended

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.config import RouterConfig
    from router_sdk.engine import Connection
    from router_sdk.experiments.serving import ServingArms
    from router_sdk.learning.learner import Learner
    from router_sdk.routing.context import Sessions
    from router_sdk.store import Store
    from router_sdk.store.coordination import Intent
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry
    from router_sdk.training.trainer import Trainer

_HEARTBEAT_S = 60.0
_RETENTION_S = 3_600.0
_COURTESY_S = 0.005
_DAY_S = 86_400.0
_MB = 1_000_000

_log = logging.getLogger(__name__)


class Upkeep:
    """The keeper of one router's store.

    Args:
        store: The log, and the folder beside it.
        config: Retention.
        eraser: Erases what was forgotten beyond the tables.
        sessions: What the process remembers of sessions: who acted, and to which arm each came.
        learner: Who saves the folds.
        registry: The versions.
        promoter: Who lets a version serve.
        trainer: Who fits.
        go_on_importing: Finishes an import that was cut off.
    """

    def __init__(
        self,
        store: Store,
        config: RouterConfig,
        eraser: Eraser,
        sessions: Iterable[Sessions | ServingArms],
        learner: Learner,
        registry: Registry,
        promoter: Promoter,
        trainer: Trainer,
        go_on_importing: Callable[[Intent], None],
    ) -> None:
        self._store, self._config, self._eraser, self._sessions = store, config, eraser, tuple(sessions)
        self._learner, self._registry, self._promoter, self._trainer = learner, registry, promoter, trainer
        self._go_on_importing = go_on_importing
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._process = new_id()
        self._noted: dict[str, int] = {}
        self.lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._tidied = False
        self._heartbeat = Every(_HEARTBEAT_S, at_once=True)
        self._retention, self._extension = Every(_RETENTION_S, at_once=True), Every(_HEARTBEAT_S, at_once=True)
        self._again_at, self._pause_s = 0.0, 1.0

    # -- about once a second, on the learner's thread

    def look(self) -> None:
        """Say that this process is there, and begin in the background whatever is due."""
        cursors = self._learner.folding.saved_cursors()
        if self._heartbeat.due() or cursors != self._noted:
            self._note(cursors)
            self._noted = cursors
        with self.lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            now = time.monotonic()
            pending = now >= self._again_at and bool(self._pending())
            keeps_less = self._config.retention_days is not None or self._config.retention_mb is not None
            retention = keeps_less and self._retention.due()
            extension = self._extension.due()
            if pending or retention or extension or not self._tidied:
                due = (self._extend if extension else None, self._retain if retention else None)
                self._thread = threading.Thread(target=self._work, args=due, name="router-upkeep", daemon=True)
                self._thread.start()

    def _note(self, cursors: Mapping[str, int]) -> None:
        self._store.writer.transact(lambda connection, seq: note_consumers(connection, self._process, cursors))

    def _pending(self) -> list[Intent]:
        return self._store.reader.query(pending_intents)

    def _work(self, *due: Callable[[], object] | None) -> None:
        pause_s = 1.0
        for work in (self._tidy, *due, self._settle):
            try:
                if work is not None and not self._closed:
                    work()
            except StillWritingError as error:  # meanwhile nobody may make younger what is to grow old
                pause_s = max(pause_s, WRITTEN_S)
                _log.warning("the store's upkeep goes on in a minute: %s", error)
            except TimeoutError:  # it is not cut off: who logged it is at work
                pause_s = max(pause_s, min(60.0, 2.0 * self._pause_s))
            except FAULTS as error:
                pause_s = max(pause_s, min(60.0, 2.0 * self._pause_s))
                _log.warning("the store's upkeep is tried again: %s: %s", type(error).__name__, error)
        self._pause_s, self._again_at = pause_s, time.monotonic() + pause_s

    def _tidy(self) -> None:
        """Delete what killed processes left."""
        if not self._tidied:
            self._tidied = True
            self._store.snapshots.tidy()
            self._registry.tidy()

    def _extend(self) -> None:
        """Where the log is cut into stretches, see that the next one is there."""

        def extend(connection: Connection, seq: int) -> None:
            if (stretches := connection.stretches()) is not None:
                stretches.extend(seq)

        if self._store.reader.query(lambda connection: connection.stretches()) is not None:
            try:
                self._store.writer.transact(extend)
            except StoreBusyError as error:  # there is time: the one that is filled is cut when it is half full
                _log.info("the log is cut in a minute: %s", error)

    def _retain(self) -> None:
        config = self._config
        if config.retention_days is not None:
            stretches = self._store.reader.query(lambda connection: connection.stretches())
            slack_s = 0.0 if stretches is None else stretches.span_s
            self.archive(time.time() - config.retention_days * _DAY_S, slack_s)
        if config.retention_mb is not None:
            most = int(config.retention_mb * _MB)
            before = self._store.reader.query(lambda connection: before_of_size(connection, most))
            if before is not None:
                self.archive(before)

    def _settle(self) -> None:
        """Finish what was cut off, oldest first."""
        elsewhere: TimeoutError | None = None
        for intent in self._pending():
            try:
                self._finish(intent)
            except TimeoutError as error:
                elsewhere = error
        if elsewhere is not None:
            raise elsewhere

    def _give_up(self, intent: Intent, error: Exception) -> None:
        """Nobody could ever finish it, and what comes after it waits; nothing is lost by leaving it."""
        _log.error("%s, logged at %.0f, is given up: %s", intent.kind, intent.at, error)
        self._store.writer.transact(lambda connection, seq: finish_intent(connection, intent.number))

    def _finish(self, intent: Intent) -> None:
        if intent.kind == "forget":
            with self._alone(timeout_s=0.0):
                self._eraser.erase(intent.number, Erasure.of(intent.body))
        elif intent.kind == "archive":
            with self._alone(timeout_s=0.0):
                try:
                    self._go_on_archiving(intent)
                except StillReadError as error:
                    raise TimeoutError(str(error)) from error
        else:
            try:
                self._promote(intent) if intent.kind == "promote" else self._go_on_importing(intent)
            except CorruptArtifactError as error:
                self._give_up(intent, error)

    def _may_go_on(self) -> bool:
        """Between two pieces of an archive: who records goes first."""
        time.sleep(_COURTESY_S)
        return not self._closed

    @contextmanager
    def _alone(self, timeout_s: float) -> Iterator[None]:
        """One process at a time erases or archives; raises ``TimeoutError`` after so many seconds."""
        with self._store.engine.lease("upkeep", timeout_s):
            yield

    # -- forget

    def forget(self, session_id: str, tenant: str | None) -> int:
        """Erase the payload of a tenant's session wherever it is, see ``Router.forget``."""
        intent, erasure = erase_session(self._store.writer, session_id, self._store.privacy, tenant)
        for sessions in self._sessions:
            sessions.forget(tenant, session_id)
        try:
            with self._alone(timeout_s=self._config.store_timeout_seconds):
                for one in self._pending():  # in order: each works on files that the one before has left whole
                    if one.kind == "archive":
                        with suppress(StillReadError):  # its file is whole
                            self._go_on_archiving(one, lambda: self._may_go_on() or True)
                    elif one.kind == "forget":
                        try:
                            found = self._eraser.erase(one.number, Erasure.of(one.body))
                        except StillWritingError as error:
                            _log.warning("%s", error)
                            found = error.erasure
                        erasure = found if one.number == intent else erasure
        except TimeoutError as error:
            raise StoreUnavailableError(
                "the session's payload is erased from the log; another process is at work on the other files, and "
                "erases it there, too"
            ) from error
        return len(erasure.decisions)

    # -- archive

    def archive(self, before: float, slack_s: float = 0.0) -> tuple[int, Path | None]:
        """Move decisions older than ``before`` out of the log, once what they taught is in a snapshot everywhere.

        Those that go in no whole stretch of the log are so much older, in seconds: what was deleted row by row would
        never go whole.
        """
        self._store.writer.flush()
        self._learner.drain()
        self._learner.resave()
        self._note(self._learner.folding.saved_cursors())
        cursor = self._learner.folding.saved
        others = self._store.reader.query(lambda connection: low_water(connection, self._process))
        cursor = cursor if others is None else min(cursor, others)
        try:
            with self._alone(timeout_s=self._config.store_timeout_seconds):
                for left in self._pending():
                    if left.kind == "archive":  # a reader kept what it moved from leaving the log
                        self._go_on_archiving(left)
                number = begin_archive(self._store.writer, before, cursor, before - slack_s)
                (intent,) = (one for one in self._pending() if one.number == number)
                return self._go_on_archiving(intent)
        except StillReadError as error:
            _log.warning("%s", error)
            return error.moved
        except TimeoutError as error:
            raise StoreUnavailableError("another process erases or archives; try again") from error

    def _go_on_archiving(self, intent: Intent, rest: Callable[[], bool] | None = None) -> tuple[int, Path | None]:
        try:
            return go_on_archiving(self._store.writer, self._store.engine, intent, rest or self._may_go_on)
        except CorruptArtifactError as error:  # its file's name leads elsewhere
            self._give_up(intent, error)
            return 0, None

    # -- promote

    def _promote(self, intent: Intent) -> None:
        """Let a version serve that passed the gate before its process ended, unless none serves here."""
        if not self._config.fits:
            return
        told = intent.body
        name, number, after = str(told["strategy"]), int(told["version"]), int(told["after"])
        with self._trainer.turns.alone():
            if intent.number not in {one.number for one in self._pending()}:
                return
            try:
                self._promoter.promote_fitted(name, number, str(told["reason"]), after=after, intent=intent.number)
            except (ChampionMovedError, UnknownVersionError) as error:
                _log.info("version %d of %s stays a candidate: %s", number, name, error)
                self._store.writer.transact(lambda connection, seq: finish_intent(connection, intent.number))

    # -- the end

    def status(self) -> dict[str, object]:
        """What is not finished, as JSON values."""
        return {"unfinished": [{"kind": one.kind, "since": one.at} for one in self._pending()]}

    def leave(self) -> None:
        """This process reads the log no more."""
        try:
            self._note({})
        except StoreError as error:  # in an hour nobody will expect it back
            _log.debug("the end is not noted: %s", error)

    def close(self) -> None:
        """Stop between two steps; what is left is left to whoever comes next."""
        self._closed = True
        with self.lock:
            thread = self._thread
        if thread is not None:
            until_ended(thread)

    def after_fork(self) -> None:
        """In a child: another process, with nothing running."""
        self._start()
