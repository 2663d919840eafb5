"""The folds and their view of the log: moved on, saved, restored, replaced. One thread at a time, at a pace."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS, RouterClosedError, RouterError, let_end
from router_sdk.learning.fold import Fold, apply_all
from router_sdk.learning.mending import BeyondMendingError, CannotForgetError, draft_folder, mending
from router_sdk.learning.pace import BATCH, rest_s
from router_sdk.learning.restoring import restore, unheeded, wanted
from router_sdk.records.record import blame
from router_sdk.rewards import RewardMark, reward_name
from router_sdk.spelling import counted
from router_sdk.store.events import LearningEvent, Refusal, write_refusals
from router_sdk.store.quarantine import Ranges, below
from router_sdk.store.snapshots import fingerprint

if TYPE_CHECKING:
    from router_sdk.store import Store
    from router_sdk.store.tail import Batch, LogTail

_NOBODY = 2**62
"""Position of the last one where there is none."""
_LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


class Folding:
    """All folds of one router.

    Args:
        store: The log.
        folds: What to move on.
        mark: What turns outcomes into rewards, with its fingerprint.
        enabled: False restores what was learnt and stays there.

    Attributes:
        lock: Held while the folds' states change; whoever else changes one takes it.
        ahead: Called with a position before anything up to it is learnt, for who must be asked before it is told.
    """

    def __init__(self, store: Store, folds: Sequence[Fold], mark: RewardMark, *, enabled: bool) -> None:
        self._store, self._folds, self._mark, self._enabled = store, tuple(folds), mark, enabled
        self._refusals: list[Refusal] = []
        self._again_at, self._pause_s = 0.0, 0.0
        self._stuck: dict[str, str] = {}
        self.lock = threading.RLock()
        self._tail: LogTail | None = store.tail(mark.reward)
        self._views: dict[Ranges, LogTail] = {}
        self.ahead: Callable[[int], None] = lambda upto: None

    @property
    def tail(self) -> LogTail:
        """The view of the log; a child's own is opened at first use. Ask with the lock held: who forks closes it."""
        if self._tail is None:
            self._tail = self._store.tail(self._mark.reward)
        return self._tail

    @property
    def cursor(self) -> int:
        """Position up to which every fold has learnt that still learns."""
        return min((fold.cursor for fold in self._folds if fold.aside is None), default=_NOBODY)

    @property
    def saved(self) -> int:
        """Position up to which every fold is in a snapshot that still learns."""
        return min(self.saved_cursors().values(), default=_NOBODY)

    def __getitem__(self, name: str) -> Fold:
        return next(fold for fold in self._folds if fold.name == name)

    @property
    def folds(self) -> Sequence[Fold]:
        """All of them."""
        return self._folds

    def saved_cursors(self) -> dict[str, int]:
        """Position up to which each fold's state is in a snapshot; one that was set aside holds nobody up."""
        return {fold.name: fold.saved for fold in self._folds if fold.aside is None}

    def status(self) -> dict[str, object]:
        """Where the folds stand, as JSON values."""
        return {
            "cursors": {fold.name: fold.cursor for fold in self._folds},
            "snapshots": {fold.name: fold.saved for fold in self._folds},
            "broken": [fold.name for fold in self._folds if fold.aside is not None],
            "faults": {fold.name: fold.aside for fold in self._folds if fold.aside is not None},
            "refused": {fold.name: len(fold.refused) for fold in self._folds if fold.refused},
            "unheeded": self._stuck | {fold.name: why for fold in self._folds if (why := unheeded(self._store, fold))},
        }

    def to_head(
        self, kind: str, most: int, moved: Callable[[], None], rest: Callable[[float], None]
    ) -> list[LearningEvent]:
        """Learn up to where the log ends now.

        Args:
            kind: What the learning events are called.
            most: Log positions in a batch.
            moved: Called after each batch that changed something.
            rest: Called between two batches with a courteous pause, in seconds.
        """
        events: list[LearningEvent] = []
        with self.lock:
            head = self.tail.head()
        while behind := self._behind(head):
            started = time.monotonic()
            changed = False
            for folds in behind:
                batch, told = self._advance(folds, head, most, kind)
                events += told
                changed |= len(batch.columns) > 0 or bool(batch.fresh_agents)
            if changed:
                moved()
            if (backlog := head - self.cursor) > 0:
                rest(rest_s(time.monotonic() - started, backlog))
        return events

    def _behind(self, head: int) -> list[list[Fold]]:
        """The folds that have still to learn something up to there; together those that leave the same out."""
        groups: dict[Ranges, list[Fold]] = {}
        for fold in self._folds:
            if fold.aside is None and fold.cursor < head:
                groups.setdefault(fold.left_out, []).append(fold)
        return list(groups.values())

    def _advance(self, folds: Sequence[Fold], head: int, most: int, kind: str) -> tuple[Batch, list[LearningEvent]]:
        """Move folds that leave the same out on by one batch, and mend those that it hurt."""
        cursor = min(fold.cursor for fold in folds)
        self.ahead(min(head, cursor + most))
        with self.lock:
            batch = self.view(folds[0].left_out).read(cursor, head, most)
            events = apply_all(folds, batch, kind)
        for fold in folds:
            if fold.torn:
                self._mend(fold, batch.upto)
        return batch, events

    def view(self, left_out: Ranges) -> LogTail:
        """The log without what is left out."""
        if not left_out:
            return self.tail
        if left_out not in self._views:
            self._views[left_out] = self._store.tail(self._mark.reward, left_out)
        return self._views[left_out]

    def look(self) -> None:
        """What stands before the folds' cursors was not all read here."""
        with self.lock:
            for view in self._opened():
                view.look()

    def restore_all(self) -> None:
        """Load each fold's snapshot."""
        for fold in self._folds:
            restore(self._store, fold)

    # -- quarantines

    def heed(self, moved: Callable[[], None], rest: Callable[[float], None]) -> list[LearningEvent]:
        """See to it that what is quarantined by now teaches nothing, and what was lifted counts again.

        A fold that is beyond where that begins goes back: a second one begins at the newest snapshot that is still
        right, learns the log again aside, and takes its place in one step. Where that fails, it is tried again after a
        pause that grows to a minute, and the fold goes on as it is.

        Args:
            moved: Called where anything changed.
            rest: Called between two batches with how long the one took, in seconds.
        """
        events: list[LearningEvent] = []
        due = time.monotonic() >= self._again_at
        for fold in self._folds:
            left_out = wanted(self._store, fold)
            if fold.aside is not None or below(left_out, fold.cursor) == below(fold.left_out, fold.cursor):
                fold.left_out = left_out
                self._stuck.pop(fold.name, None)
            elif due:
                events += self._go_back(fold, rest)
                moved()
        with self.lock:
            for left_out in self._views.keys() - {fold.left_out for fold in self._folds}:
                self._views.pop(left_out).close()
        return events

    def _go_back(self, fold: Fold, rest: Callable[[float], None]) -> list[LearningEvent]:
        started = time.monotonic()
        try:
            beside = fold.beside()
            try:
                restore(self._store, beside)
                events = self._catch_up(beside, fold.cursor, rest)
                if beside.aside is not None:
                    raise BeyondMendingError(beside.aside)
                with draft_folder(self._store) as folder:
                    beside.state.save(folder)
                    with self.lock:
                        fold.take_over(beside, folder)
            finally:
                beside.state.close()
        except RouterClosedError:
            raise
        except FAULTS as fault:
            let_end(fault)
            self._pause_s = min(_LONGEST_PAUSE_S, max(1.0, 2.0 * self._pause_s))
            self._again_at = time.monotonic() + self._pause_s
            self._stuck[fold.name] = f"it cannot go back, and is what it was: {blame(fault)}"
            _log.exception("%s goes on with what is quarantined, or without what was lifted", fold.name)
            return []
        self._pause_s = 0.0
        self._stuck.pop(fold.name, None)
        samples = sum(event.samples for event in events)
        took_ms = (time.monotonic() - started) * 1_000
        told = (samples, fold.cursor, took_ms, samples)
        _log.warning("%s went back to %d, and learnt %s again", fold.name, fold.saved, counted(samples, "example"))
        back = LearningEvent(fold.name, "quarantine", *told, error=fold.unheeded, model_version=fold.model_version)
        return [back] if fold.journalled else []

    def _catch_up(
        self, fold: Fold, head: int, rest: Callable[[float], None] = lambda seconds: None
    ) -> list[LearningEvent]:
        """Have a fold that does not serve yet learn the log up to a position."""
        events: list[LearningEvent] = []
        while self._enabled and fold.cursor < head and fold.aside is None:
            started = time.monotonic()
            _, told = self._advance([fold], head, BATCH, "replay")
            events += told
            if fold.cursor < head:
                rest(time.monotonic() - started)  # half of the time: what serves meanwhile is not what shall
        return events

    def replace(self, fold: Fold, swap: Callable[[], None]) -> list[LearningEvent]:
        """Have a new fold learn what the one of its name knows, then put it there and ``swap`` in one step."""
        replaced = self[fold.name]
        self._save(replaced)  # a rollback starts from there
        events = self._catch_up(fold, replaced.cursor)
        with self.lock:
            swap()  # where it raises, everything is as it was
            self._folds = tuple(fold if old is replaced else old for old in self._folds)
        return events

    def take_in(self, folds: Sequence[Fold]) -> list[LearningEvent]:
        """Have more folds learn what the others know, and go on with them from there."""
        events: list[LearningEvent] = []
        for fold in folds:
            restore(self._store, fold)
            events += self._catch_up(fold, self.cursor)
        with self.lock:
            self._folds = (*self._folds, *folds)
        return events

    def take_out(self, folds: Sequence[Fold]) -> None:
        """Go on without these."""
        with self.lock:
            self._folds = tuple(fold for fold in self._folds if fold not in folds)

    def save(self, *, anew: bool = False, others: bool = False) -> None:
        """Snapshot every fold that has learnt since its last one; ``anew``: those that have not, too.

        With ``others``, one of which another process has saved a later state, as it would be here, is as good as saved.

        A fold whose state cannot be saved is mended, or set aside; that is said in ``status``, and raises nothing.

        Raises:
            RouterError: if the store cannot be written.
        """
        faults: list[Exception] = []
        if not self._mark.holds:
            self._disown()
        for fold in self._folds:
            if anew:
                fold.saved = 0
            try:
                if not (others and self._saved_elsewhere(fold)):
                    self._save(fold)
            except RouterClosedError as fault:  # the next start learns it from the log
                faults.append(fault)
            except Exception as fault:  # the others are saved all the same
                _log.exception("the state of %s is not saved", fold.name)
                faults.append(fault)
        if faults:
            raise faults[0]

    def _saved_elsewhere(self, fold: Fold) -> bool:
        found = self._store.snapshots.newest(fold.name, fold.mark, fold.saved, fold.cursor) if self._enabled else 0
        fold.saved = max(fold.saved, found)
        return found > 0

    def _disown(self) -> None:
        """The reward changed while it was in use: no reward gives these states, so the next start replays the log."""
        name = reward_name(self._mark.reward)
        _log.warning(
            "the reward %s changed while it was in use; what it depends on must stay as it was at the start", name
        )
        self._mark = RewardMark(self._mark.reward)
        for fold in self._folds:
            fold.fingerprint = fingerprint(fold.fingerprint, secrets.token_hex(16))

    def _save(self, fold: Fold) -> None:
        mended = False
        stores: tuple[type[Exception], ...] = (RouterError, OSError, MemoryError, *self._store.engine.errors)
        while fold.cursor > fold.saved and not fold.torn and fold.aside is None and self._enabled:
            self.tell()
            try:
                with self.lock:
                    self._store.snapshots.save(fold.name, fold.mark(fold.cursor), fold.cursor, fold.state.save)
            except stores:  # the store's trouble
                raise
            except FAULTS as fault:
                _log.exception("the state of %s cannot be saved", fold.name)
                if mended:
                    fold.set_aside(f"it cannot be saved: {blame(fault)}")
                else:
                    self._mend(fold, fold.cursor)
                    mended = True
            else:
                fold.saved = fold.cursor

    def _mend(self, fold: Fold, upto: int) -> None:
        """Bring a fold that failed to where it would stand without what hurt it, or set it aside."""
        try:
            try:
                self._refusals += self._mended(fold, upto, anew=False)
            except CannotForgetError as fault:
                _log.error("%s cannot forget what was erased, and learns anew from the log: %s", fold.name, fault)
                self._refusals += self._mended(fold, upto, anew=True)
        except RouterClosedError:
            raise
        except BeyondMendingError as fault:
            fold.set_aside(str(fault))
        except FAULTS as fault:
            _log.exception("%s cannot be mended", fold.name)
            fold.set_aside(f"it cannot be mended: {blame(fault)}")
        fold.torn = False
        try:
            self.tell()
        except RouterError as fault:
            _log.warning("what %s cannot learn from is a dead letter later: %s", fold.name, fault)

    def _mended(self, fold: Fold, upto: int, *, anew: bool) -> list[Refusal]:
        with mending(self._store, fold, anew=anew) as work:
            try:
                while work.cursor < upto:
                    with self.lock:
                        work.take(self.view(fold.left_out).read(work.cursor, upto, BATCH))
            except BeyondMendingError:
                with self.lock:
                    self._refusals += work.hand_over()
                raise
            with self.lock:
                return work.hand_over()

    def tell(self) -> None:
        """Log what folds cannot learn from, before any state is saved that goes without it."""
        if self._refusals and self._enabled and not self._store.read_only:
            write_refusals(self._store.writer, self._refusals)
            self._refusals = []

    def close(self) -> None:
        """Close the views of the log."""
        for view in self._opened():
            view.close()
        self._views = {}

    def _opened(self) -> list[LogTail]:
        return [*([] if self._tail is None else [self._tail]), *self._views.values()]

    def reopen(self) -> None:
        """Open a new view, after ``close``."""
        self._tail = self._store.tail(self._mark.reward)

    def after_fork(self) -> None:
        """In a child, after ``close``: a lock that nobody holds, and a view of its own once it learns."""
        self.lock, self._tail = threading.RLock(), None
