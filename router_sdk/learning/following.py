"""Who learns for whom: one process leads and publishes what it learnt, the others take that over.

To learn the same in every process costs as many times as there are processes. So where outcomes come so fast that to
load a state costs less than to learn it, a process leaves them to the leader, for a moment: what it then takes
over is to the last bit what it would have learnt itself. Where few outcomes come, where settings differ, where a state
is dear to load, and where nobody leads, each process learns by itself. What anybody waits for (``flush``,
``learn_now``) is never left to another process.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS, RouterError, let_end
from router_sdk.learning.mending import draft_folder
from router_sdk.learning.pace import PATIENCE_S, PAUSE_S, PUBLISH_S
from router_sdk.store.artifacts import read_state
from router_sdk.store.events import refused_decisions
from router_sdk.store.leadership import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from router_sdk.learning.fold import Fold
    from router_sdk.learning.folding import Folding
    from router_sdk.store import Store

_TAKE_OVER_S = 0.01
"""What taking over is believed to cost, in processor time, before it was done."""
_WORTH_S = 0.05
"""Processor time that learning must take of a second before it is left to the leader: less is learnt at once."""
_LATELY = 0.3
"""Weight of the last time in what it is believed to cost."""
_DEAREST_S = 0.1
"""A state that takes longer to save is not published."""
_SHARE = 20.0
"""A leader rests so many times as long as publishing took."""
_APART_S = 60.0
"""How long a process learns a state by itself that is not published, or not as it would be here."""

_log = logging.getLogger(__name__)


class Following:
    """This process as leader or follower. Everything happens on the learner's thread.

    Args:
        store: Where the others are met.
        folding: What is learnt here.
        moved: Called after something was taken over.
    """

    def __init__(self, store: Store, folding: Folding, moved: Callable[[], None]) -> None:
        self._leadership, self._store, self._folding, self._moved = store.leadership, store, folding, moved
        self._saves: dict[str, float] = {}
        self._cost_s = _TAKE_OVER_S
        self.after_fork()

    def after_fork(self) -> None:
        """In a child: another process, which does not lead."""
        self._led = False
        self._publish_at = self._again_at = 0.0
        self._apart: set[str] = set()
        self._abreast_at = time.monotonic()

    def look(self) -> None:
        """Lead, where nobody does."""
        try:
            with self._folding.lock:  # nobody forks meanwhile
                self._led = not self._leadership.take()
        except RouterError as error:  # each learns by itself then
            self._led = False
            _log.info("who leads cannot be told: %s", error)

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._leadership.leads

    # -- as the leader

    @property
    def awaited(self) -> bool:
        """Whether other processes wait for what this one learns."""
        return self.leads and self._leadership.asked()

    def publish(self) -> None:
        """Let the others have what was learnt, where they asked for it and it is time."""
        if time.monotonic() < self._publish_at or not self.awaited:
            return
        started = time.monotonic()
        folds = [fold for fold in self._folding.folds if fold.aside is None and not fold.torn]
        cheap = [fold for fold in folds if self._saves.get(fold.name, 0.0) <= _DEAREST_S]
        marks = {fold.name: Mark(fold.cursor, fold.mark(fold.cursor)) for fold in cheap}

        def fill(folder: Path) -> None:
            with self._folding.lock:
                for fold in cheap:
                    began = time.thread_time()
                    (folder / fold.name).mkdir()
                    fold.state.save(folder / fold.name)
                    self._saves[fold.name] = time.thread_time() - began

        try:
            self._folding.tell()
            if marks:
                self._leadership.publish(marks, fill)
        except FAULTS as fault:  # what is wrong with a state is found out where its snapshot is saved
            let_end(fault)
            _log.warning("what was learnt is not published: %s", fault)
        self._publish_at = time.monotonic() + max(PUBLISH_S, _SHARE * (time.monotonic() - started))

    # -- as a follower

    @property
    def saved_for(self) -> bool:
        """Whether another process's snapshots stand for this one's."""
        return self._led and self._leadership.saves_for_all

    def abreast(self) -> None:
        """Everything up to the end of the log is learnt."""
        self._abreast_at = time.monotonic()

    def left_to_leader(self, head: int) -> bool:
        """Whether what waits is not to be learnt here now: it was taken over, or soon will be.

        Args:
            head: Where the log ends.
        """
        now = time.monotonic()
        waited = now - self._abreast_at
        if not self._led:
            return False
        if now >= self._again_at:
            self._apart.clear()
        behind = (head - self._folding.cursor) / max(waited, PAUSE_S) * PUBLISH_S  # by when something is published
        if not self._pays(dict.fromkeys(self._folding.folds, behind), _WORTH_S * PUBLISH_S):
            return False
        with suppress(RouterError):  # nobody hears it, and it is learnt here in a moment
            self._leadership.ask()
        return (self.take_over() and not self._apart) or waited < PATIENCE_S

    def take_over(self) -> bool:
        """Go on from what the leader published, where that is cheaper than to learn it; whether it was."""
        published = self._leadership.newest() if self._led else None
        if published is None:
            return False
        marks = published.marks
        for fold in self._folding.folds:
            cursor, mark = marks.get(fold.name, (0, ""))
            if mark != fold.mark(cursor):
                self._apart.add(fold.name)
                self._again_at = time.monotonic() + _APART_S
        ahead = {fold: marks[fold.name].cursor - fold.cursor for fold in self._folding.folds if self._fits(fold)}
        if not self._pays(ahead):
            return False
        self._folding.look()
        began = time.thread_time()
        try:
            with draft_folder(self._store) as folder:
                self._leadership.fetch(published, folder)
                for fold, positions in ahead.items():
                    if positions > 0 and fold.aside is None:
                        self._load(fold, marks[fold.name].cursor, folder)
        except (RouterError, OSError) as error:
            _log.info("what the leader published is learnt here: %s", error)
            return False
        self._cost_s += _LATELY * (time.thread_time() - began - self._cost_s)
        self.abreast()
        self._moved()
        return True

    def _fits(self, fold: Fold) -> bool:
        return fold.name not in self._apart

    def _pays(self, positions: Mapping[Fold, float], least_s: float = 0.0) -> bool:
        """Whether to take over these folds costs less than to learn so much of the log, and spares most of it."""
        costs = {fold: fold.cost_s * count for fold, count in positions.items() if fold.aside is None}
        spared = sum(cost for fold, cost in costs.items() if self._fits(fold))
        return spared > max(self._cost_s, least_s, 0.5 * sum(costs.values()))

    def _load(self, fold: Fold, cursor: int, folder: Path) -> None:
        refused = self._store.reader.query(lambda connection: refused_decisions(connection, fold.fingerprint, cursor))
        with self._folding.lock:
            read_state(folder / fold.name, fold.state.load)
            fold.cursor = cursor
            fold.refused, fold.learnt = refused
