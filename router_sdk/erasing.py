"""What was forgotten, out of every copy: archives, exports, running fits, versions, snapshots, and what no table names.

The log itself is erased first, by ``store.erasure``; every step here may be done again, in whatever process goes on.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import StoreUnavailableError
from router_sdk.exchange.exporting import erase_from_exports
from router_sdk.learning.calibration import CALIBRATION
from router_sdk.learning.drift import DRIFT
from router_sdk.learning.performance import PERFORMANCE
from router_sdk.learning.strategy_selection import SELECTION
from router_sdk.records.record import blame
from router_sdk.store.artifacts import DAMAGED, archives, clear
from router_sdk.store.coordination import continue_intent, finish_intent
from router_sdk.store.erasure import Erasure, add_to_erasure, empty_write_ahead_log
from router_sdk.store.retention import archived_decisions, erase_from_archive
from router_sdk.training.registry import Registry, twin

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.learning.learner import Learner
    from router_sdk.store import Store
    from router_sdk.store.snapshots import Snapshot
    from router_sdk.strategy import Strategy
    from router_sdk.training.trainer import Trainer

_PAUSE_S = 0.005
_WRITING_S = 2.0
"""How long forget waits for who is writing a state."""
_KILLED_S = 60.0
"""Who takes longer was killed."""
WRITTEN_S = _KILLED_S + 5.0
"""After which whatever was half written is whole, or its writer was killed."""

_log = logging.getLogger(__name__)


class StillWritingError(StoreUnavailableError):
    """A process is writing a state, or was when it was killed: what no table names is deleted in a minute."""

    def __init__(self, erasure: Erasure, left: Sequence[str]) -> None:
        super().__init__(f"{', '.join(left)[:200]} may be half written; forget goes on in a minute")
        self.erasure = erasure


class Eraser:
    """Erases beyond the tables.

    Args:
        store: The log, and the folder beside it.
        reached: Whose memories are reached, by the name of their snapshots.
        learner: Who saves the folds.
        registry: The versions.
        trainer: Who fits.
        strategy_of: Makes a strategy that is not in the chain, for its versions; None where it is not installed.
    """

    def __init__(
        self,
        store: Store,
        reached: Callable[[], Mapping[str, Strategy]],
        learner: Learner,
        registry: Registry,
        trainer: Trainer,
        strategy_of: Callable[[str], Strategy | None],
    ) -> None:
        self._store, self._reached, self._learner = store, reached, learner
        self._registry, self._trainer, self._strategy_of = registry, trainer, strategy_of

    def erase(self, intent: int, erasure: Erasure) -> Erasure:
        """Go on where the tables end. Every step may be done again."""
        store = self._store
        for archive in archives(store.folder):
            erasure = add_to_erasure(store.writer, intent, erasure, archived_decisions(archive, erasure))
            erase_from_archive(archive, erasure.decisions)
        erase_from_exports(store.exports, erasure.decisions)
        if erasure.decisions:
            self._learner.drain()  # what serves has forgotten: what is copied from now on holds nothing of it
        self._erase_fits(all_of_them=bool(erasure.decisions))
        if erasure.decisions:
            self._erase_versions(erasure)
            self._learner.resave()
            self._erase_snapshots(erasure)
            self._erase_strangers(erasure)
        nameless = erasure._replace(sessions=())._asdict()  # what is left to do is to empty the write-ahead log
        store.writer.transact(lambda connection, seq: continue_intent(connection, intent, nameless))
        empty_write_ahead_log(store.writer)
        store.writer.transact(lambda connection, seq: finish_intent(connection, intent))
        return erasure

    def _erase_fits(self, *, all_of_them: bool) -> None:
        """Copies that fits made of what serves, and of texts: a running one is stopped, an interrupted one deleted.

        Of a pre-training nobody but itself knows yet what it is taught.
        """
        fits = self._store.folder / "fits"
        folders = sorted(fits.glob("*" if all_of_them else "*-pretrain"))
        if folders:
            self._trainer.turns.interrupt()
        for folder in folders:
            try:
                with self._trainer.turns.alone():
                    shutil.rmtree(folder, ignore_errors=True)
            except TimeoutError as error:
                raise StoreUnavailableError(
                    f"{folder.name} runs in another process, and holds copies until it ends; they are deleted then"
                ) from error

    def _erase_versions(self, erasure: Erasure) -> None:
        for name in self._registry.strategies():
            strategy = self._named(name)
            if strategy is None:
                raise StoreUnavailableError(
                    f"versions of {name!r} may remember what was erased, and it is not installed here: a process "
                    "where it is finishes this"
                )
            self._registry.forget(strategy, erasure.decisions)
        self._store.parts.sweep()

    def _erase_snapshots(self, erasure: Erasure) -> None:
        """Old snapshots may be all that is left of an archived past, and folds go back to them: they are written anew.

        So are those of strategies that others run, where they are installed. Of a state that nobody can write anew
        (that of tenants, say) what this process has just saved is left.
        """
        snapshots = self._store.snapshots
        numbers = {CALIBRATION, DRIFT, PERFORMANCE, SELECTION}  # and nothing else
        old = [one for one in snapshots.before(erasure.seq) if one.strategy.partition("@")[0] not in numbers]
        snapshots.discard([one for one in old if not self._written_anew(one, erasure)])

    def _written_anew(self, snapshot: Snapshot, erasure: Erasure) -> bool:
        """Whether a snapshot was, without what was erased; whatever a strategy raises, else nothing of it is left."""
        strategy = self._named(snapshot.strategy)
        if strategy is None:
            return False
        try:
            fresh = twin(strategy)
        except Exception as error:  # it is made of something else than a configuration and services
            _log.info("a snapshot of %s cannot be written anew, and is deleted: %s", snapshot.strategy, blame(error))
            return False

        def fill(folder: Path) -> None:
            fresh.forget_examples(erasure.decisions)
            fresh.save(folder)

        try:
            self._store.snapshots.rewrite(snapshot, fresh.load, fill)
        except Exception as error:
            _log.warning("a snapshot of %s cannot be written anew, and is deleted: %s", snapshot.strategy, error)
            return False
        finally:
            fresh.close()
        return True

    def _erase_strangers(self, erasure: Erasure) -> None:
        """What no table names may hold it, too: damaged states, and what a killed process was writing."""
        clear(self._store.folder / DAMAGED)
        deadline = time.monotonic() + _WRITING_S
        while left := (
            self._store.snapshots.tidy(older_than_s=_KILLED_S)
            + self._registry.tidy(older_than_s=_KILLED_S)
            + self._store.leadership.withdraw(erasure.seq, _KILLED_S)
        ):
            if time.monotonic() > deadline:
                raise StillWritingError(erasure, left)
            time.sleep(_PAUSE_S)

    def _named(self, name: str) -> Strategy | None:
        """The strategy of that name, of this router or as an installed plugin brings it."""
        return self._reached().get(name) or self._strategy_of(name)
