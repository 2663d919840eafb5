"""Which version serves: one reference is swapped between two requests, here and in every process on the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from router_sdk.errors import GateRefusedError, RouterError, UnknownVersionError
from router_sdk.routing.chain import Chain, Stage
from router_sdk.store.versions import alias_token
from router_sdk.training.registry import Registry, twin

if TYPE_CHECKING:
    from router_sdk.learning.fold import Fold
    from router_sdk.records import ModelVersion
    from router_sdk.routing.members import Members
    from router_sdk.training.attempt import FitServices

_log = logging.getLogger(__name__)


class Promoter:
    """Puts versions into the chain.

    Args:
        services: The log, the learner who brings a version up to date, and the plugins who are told.
        registry: The versions.
        chain: Who proposes.
        members: The agents.
        fold_of: Makes the fold of a stage.
    """

    def __init__(
        self,
        services: FitServices,
        registry: Registry,
        chain: Chain,
        members: Members,
        fold_of: Callable[[Stage], Fold],
    ) -> None:
        self._store, self._learner, self._plugins = services.store, services.learner, services.plugins
        self._registry, self._chain, self._members, self._fold_of = registry, chain, members, fold_of
        self._token = self._store.reader.query(alias_token)
        self._lock = threading.RLock()

    def promote(self, strategy: str, number: int, *, reason: str = "by hand", force: bool = False) -> ModelVersion:
        """Let a version serve.

        Args:
            strategy: Whose.
            number: Which version.
            reason: For the history.
            force: Although the gate refused it.

        Raises:
            UnknownVersionError: if there is none of that number.
            GateRefusedError: if the gate refused it.
            CorruptArtifactError: if its files are damaged; what serves goes on.
        """
        version = self._registry.version(strategy, number)
        if not (version.passed or force):
            raise GateRefusedError(
                f"version {number} of {strategy!r} was refused ({version.reason}); force=True lets it serve anyway"
            )
        self._serve(strategy, version, reason if version.passed else f"{reason}, against the gate")
        self._plugins.notify("on_promotion", strategy=strategy, version=number)
        return version

    def rollback(self, strategy: str) -> int | None:
        """Let the version before serve again; None where that is the strategy as it is without any fit.

        Raises:
            UnknownVersionError: if what serves was never fitted.
        """
        current = self._chain.stage(strategy).model_version
        served = self._registry.champions(strategy)[::-1]
        if current is None or current not in served:
            raise UnknownVersionError(f"no fitted version of {strategy!r} serves: there is nothing to go back from")
        number = [None, *served][served.index(current)]  # what served when the current one first came
        version = None if number is None else self._registry.version(strategy, number)
        self._serve(strategy, version, f"rollback from {current}")
        self._plugins.notify("on_rollback", strategy=strategy, version=number)
        return number

    def follow(self) -> None:
        """Serve what another process promoted. Called on the learner's thread."""
        token = self._store.reader.query(alias_token)
        if token == self._token or not self._lock.acquire(blocking=False):
            return
        try:
            self._token = token
            for stage in self._chain.stages:
                served = self._registry.champions(stage.name)
                if served and served[0] != stage.model_version:
                    number = served[0]
                    version = None if number is None else self._registry.version(stage.name, number)
                    self._swap(stage, version, self._learner.replace_here)
        except RouterError:
            _log.exception("what another process promoted cannot be served here")
        finally:
            self._lock.release()

    def _serve(self, strategy: str, version: ModelVersion | None, reason: str) -> None:
        with self._lock:
            self._swap(self._chain.stage(strategy), version, self._learner.replace)
            self._registry.crown(strategy, None if version is None else version.version, reason)
            self._token = self._store.reader.query(alias_token)

    def _swap(
        self, stage: Stage, version: ModelVersion | None, replace: Callable[[Fold, Callable[[], None]], None]
    ) -> None:
        """Load a version aside, bring it up to date, and put it into the chain in one step."""
        strategy = twin(stage.strategy)
        fresh = Stage(strategy, None if version is None else version.version)
        fold = self._fold_of(fresh)
        if version is not None:
            self._registry.load(strategy, version)
            fold.cursor = fold.saved = version.upto
        self._learner.folding.restore(fold)
        strategy.prepare(self._members.roster.available)

        def swap() -> None:
            strategy.prepare(self._members.roster.available)
            self._chain.replace(fresh)

        replace(fold, swap)

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self._lock = threading.RLock()
