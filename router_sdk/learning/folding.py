"""The folds and their view of the log: moved on, saved, restored, replaced. One thread at a time."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import RouterClosedError, StrategyError
from router_sdk.isolation import FAULTS
from router_sdk.learning.cadence import BATCH, rest_s
from router_sdk.learning.fold import Fold, apply_all
from router_sdk.records.record import blame
from router_sdk.rewards import RewardMark, reward_name
from router_sdk.store.snapshots import fingerprint

if TYPE_CHECKING:
    from router_sdk.rewards import RewardFunction
    from router_sdk.store import Store
    from router_sdk.store.journal import LearningEvent

_log = logging.getLogger(__name__)


class Folding:
    """All folds of one router.

    Args:
        store: The log.
        folds: What to move on.
        reward: Turns outcomes into rewards.
        enabled: False restores what was learnt and stays there.

    Attributes:
        lock: Held while the folds' states change; whoever else changes one takes it.
        tail: The view of the log.
    """

    def __init__(self, store: Store, folds: Sequence[Fold], reward: RewardFunction, *, enabled: bool) -> None:
        self._store, self._folds, self._reward, self._enabled = store, tuple(folds), reward, enabled
        self._reward_mark = RewardMark(reward)
        self.lock = threading.RLock()
        self.tail = store.tail(reward)

    @property
    def cursor(self) -> int:
        """Position up to which every fold has learnt."""
        return min(fold.cursor for fold in self._folds)

    @property
    def saved(self) -> int:
        """Position up to which every fold is in a snapshot."""
        return min(fold.saved for fold in self._folds)

    def __getitem__(self, name: str) -> Fold:
        return next(fold for fold in self._folds if fold.name == name)

    def fingerprints(self) -> set[str]:
        """Of the folds, under which their states are saved."""
        return {fold.fingerprint for fold in self._folds}

    def saved_cursors(self) -> dict[str, int]:
        """Position up to which each fold's state is in a snapshot."""
        return {fold.name: fold.saved for fold in self._folds}

    def status(self) -> dict[str, object]:
        """Where the folds stand, as JSON values."""
        return {
            "cursors": {fold.name: fold.cursor for fold in self._folds},
            "snapshots": self.saved_cursors(),
            "broken": [fold.name for fold in self._folds if fold.broken],
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
        while (cursor := self.cursor) < head:
            started = time.monotonic()
            with self.lock:
                batch = self.tail.read(cursor, head, most)
                events += apply_all(self._folds, batch, kind)
            if batch.examples or batch.fresh_agents:
                moved()
            if batch.upto < head:
                rest(rest_s(time.monotonic() - started, head - batch.upto))
        return events

    def restore_all(self) -> None:
        """Load each fold's snapshot."""
        for fold in self._folds:
            self.restore(fold)

    def restore(self, fold: Fold) -> None:
        """Load a fold's newest snapshot, if that is newer than where it stands."""
        found = self._store.snapshots.restore(fold.name, fold.fingerprint, fold.state.load, fold.cursor)
        if found:
            fold.cursor = fold.saved = found

    def replace(self, fold: Fold, swap: Callable[[], None]) -> list[LearningEvent]:
        """Have a new fold learn what the one of its name knows, then put it there and ``swap`` in one step."""
        replaced, events = self[fold.name], []
        self._save(replaced)  # a rollback starts from there
        while self._enabled and fold.cursor < replaced.cursor:
            with self.lock:
                batch = self.tail.read(fold.cursor, replaced.cursor, BATCH)
                events += apply_all([fold], batch, "replay")
        with self.lock:
            swap()  # where it raises, everything is as it was
            self._folds = tuple(fold if old is replaced else old for old in self._folds)
        return events

    def save(self, *, anew: bool = False) -> None:
        """Snapshot every fold that has learnt since its last one; ``anew``: those that have not, too."""
        faults: list[Exception] = []
        if not self._reward_mark.holds:
            self._disown()
        for fold in self._folds:
            if anew:
                fold.saved = 0
            try:
                self._save(fold)
            except RouterClosedError as fault:  # the next start learns it from the log
                faults.append(fault)
            except FAULTS as fault:  # the others are saved all the same
                _log.exception("the state of %s is not saved", fold.name)
                faults.append(fault if isinstance(fault, Exception) else StrategyError(f"{fold.name}: {blame(fault)}"))
        if faults:
            raise faults[0]

    def _disown(self) -> None:
        """The reward changed while it was in use: no reward gives these states, so the next start replays the log."""
        name = reward_name(self._reward)
        _log.warning(
            "the reward %s changed while it was in use; what it depends on must stay as it was at the start", name
        )
        self._reward_mark = RewardMark(self._reward)
        for fold in self._folds:
            fold.fingerprint = fingerprint(fold.fingerprint, secrets.token_hex(16))

    def _save(self, fold: Fold) -> None:
        if fold.cursor > fold.saved and not fold.broken and self._enabled:
            with self.lock:
                self._store.snapshots.save(fold.name, fold.fingerprint, fold.cursor, fold.state.save)
            fold.saved = fold.cursor

    def close(self) -> None:
        """Close the view of the log."""
        self.tail.close()

    def reopen(self) -> None:
        """Open a new view, after ``close``."""
        self.tail = self._store.tail(self._reward)

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds, and a view of its own."""
        self.lock = threading.RLock()
        self.reopen()
