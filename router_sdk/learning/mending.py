"""A fold that failed is brought to where it would stand without the events that hurt it.

An update that raised may have been half applied. So a second state like the fold's begins at the newest snapshot, reads
the log again, and is saved after each piece. A piece that cannot be learnt and saved is halved until one event is left:
that one is a dead letter, and of its decision this fold learns nothing more, here and wherever the log is replayed.
Then the fold takes over what the second state has learnt.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS, EncoderUnavailableError, StoreError
from router_sdk.learning.fold import hurt_by, one_core
from router_sdk.private_files import DRAFT, private_folder
from router_sdk.records.record import blame
from router_sdk.store.events import Refusal

if TYPE_CHECKING:
    from router_sdk.learning.fold import Fold, Foldable
    from router_sdk.records import Example
    from router_sdk.store import Store
    from router_sdk.store.tail import Batch

MOST_IN_A_ROW = 8
"""Events in a row that are dead letters; where one more cannot be learnt, it is not the events' fault."""

NOT_THE_EVENTS_FAULT = (OSError, MemoryError, StoreError, EncoderUnavailableError)
"""What the machine lacks, or the process."""

_log = logging.getLogger(__name__)


class BeyondMendingError(Exception):
    """No event is to blame: the fold is set aside."""


class CannotForgetError(Exception):
    """The state would go on to remember what was erased."""


class Mending:
    """One fold being mended. Nothing of the fold changes before ``hand_over``.

    Args:
        fold: Which.
        state: A state that has learnt nothing, like the fold's.
        folder: Where it is saved.
        cursor: Position in the log up to which ``state`` has learnt.
        anew: Whether it began where the log begins, so that it remembers nothing that was erased.

    Attributes:
        cursor: Position in the log up to which it has learnt.
    """

    def __init__(self, fold: Fold, state: Foldable, folder: Path, cursor: int, *, anew: bool) -> None:
        self._fold, self._state, self._folder, self._anew = fold, state, folder, anew
        self.cursor = cursor
        self._refused = dict(fold.refused)
        self._learnt = min(fold.learnt, cursor)
        self._found: list[Refusal] = []
        self._unsure: list[Refusal] = []  # they may be the fold's fault, as long as nothing was learnt after them
        self._saves = 0
        self._kept = folder
        self._keep()

    def take(self, batch: Batch) -> None:
        """Learn what can be learnt of the log's next piece.

        Raises:
            BeyondMendingError: if no event is to blame.
            CannotForgetError: if it remembers what was erased.
        """
        if batch.fresh_agents:
            try:
                self._state.forget_agents(batch.fresh_agents)
            except FAULTS as fault:
                raise BeyondMendingError(f"it cannot forget an agent: {blame(fault)}") from fault
        if batch.forgotten and not self._anew:
            try:
                self._state.forget_examples(batch.forgotten)
            except FAULTS as fault:
                raise CannotForgetError(blame(fault)) from fault
        if batch.fresh_agents or batch.forgotten:
            self._keep()
        self._learn(batch.examples)
        self.cursor = batch.upto

    def hand_over(self) -> list[Refusal]:
        """Let the fold go on from here; the events that it learns nothing from."""
        fold = self._fold
        fold.state.load(self._kept)
        fold.cursor, fold.refused, fold.learnt, fold.torn = self.cursor, self._refused, self._learnt, False
        return [*self._found, *self._unsure]

    def _learn(self, examples: Sequence[Example]) -> None:
        wanted = [example for example in examples if not hurt_by(self._refused, example)]
        if not wanted:
            return
        fault = self._tried(wanted)
        if fault is None:
            self._found += self._unsure
            self._unsure, self._learnt = [], wanted[-1].seq
            return
        self._state.load(self._kept)
        cuts = [i for i in range(1, len(wanted)) if wanted[i].seq != wanted[i - 1].seq]
        if cuts:
            middle = cuts[len(cuts) // 2]
            self._learn(wanted[:middle])
            self._learn(wanted[middle:])
        else:
            self._refuse(wanted[0], fault)

    def _tried(self, examples: Sequence[Example]) -> BaseException | None:
        """Learn and save; what came in between."""
        try:
            with one_core():
                self._state.learn(examples)
            self._keep()
        except NOT_THE_EVENTS_FAULT as fault:
            raise BeyondMendingError(blame(fault)) from fault
        except FAULTS as fault:
            return fault
        return None

    def _refuse(self, example: Example, fault: BaseException) -> None:
        in_a_row = sum(self._learnt < seq < example.seq for seq in self._refused.values())
        if in_a_row >= MOST_IN_A_ROW:
            for refusal in self._unsure:
                del self._refused[refusal.decision_id]
            raise BeyondMendingError(f"it learns from nothing any more: {blame(fault)}") from fault
        fold = self._fold
        _log.error("%s learns nothing of decision %s", fold.name, example.decision_id, exc_info=fault)
        self._refused[example.decision_id] = example.seq
        reason = f"{fold.name} cannot learn from it: {blame(fault)}"
        self._unsure.append(Refusal(fold.fingerprint, fold.name, example.decision_id, example.seq, reason))

    def _keep(self) -> None:
        """Save the state: from here on the next piece is tried."""
        folder, before = self._folder / str(self._saves), self._kept
        folder.mkdir()
        self._saves += 1
        self._state.save(folder)
        self._kept = folder
        if before != self._folder:
            shutil.rmtree(before)


@contextmanager
def mending(store: Store, fold: Fold, *, anew: bool) -> Iterator[Mending]:
    """Mend a fold, beginning at its newest snapshot, or ``anew``: at the beginning of the log.

    Raises:
        BeyondMendingError: if there can be no second state like it.
    """
    with draft_folder(store) as folder:
        try:
            state = fold.begin()
        except FAULTS as fault:
            raise BeyondMendingError(f"no second one like it can be made: {blame(fault)}") from fault
        try:
            found = 0 if anew else store.snapshots.restore(fold.name, fold.mark, state.load, fold.start)
            yield Mending(fold, state, folder, found or fold.start, anew=anew)
        finally:
            state.close()


@contextmanager
def draft_folder(store: Store) -> Iterator[Path]:
    """For what is saved on the way from one state to another: ``forget`` looks there, should this process be killed."""
    beside = None if store.read_only else private_folder(store.folder / "snapshots")
    folder = Path(tempfile.mkdtemp(prefix=DRAFT, dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
