"""Which version serves: one reference is swapped between two requests, here and in every process on the store.

The log is asked first and told first: the alias moves in the log and the reference here in one step, so that this
process never serves what the log does not say, and a step that fails changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from router_sdk.errors import (
    CorruptArtifactError,
    GateRefusedError,
    NotTrainableError,
    RouterError,
    UnknownVersionError,
)
from router_sdk.learning.restoring import restore
from router_sdk.routing.chain import Chain, Stage
from router_sdk.store.registry import GATE, QUARANTINED, ROLLBACK, ROLLBACK_BY_ITSELF, WATCH, alias_token, set_champion
from router_sdk.training.quarantine import Quarantines
from router_sdk.training.registry import Registry, stage_of, twin
from router_sdk.training.triggering import trainable

if TYPE_CHECKING:
    from router_sdk.learning.fold import Fold
    from router_sdk.records import ModelVersion
    from router_sdk.routing.agents import Members
    from router_sdk.store.quarantine import Position
    from router_sdk.store.registry import Champion
    from router_sdk.training.fit import FitServices

BY_HAND = "by hand"
SEPARATE = (
    "with tenancy='separate' no fitted version serves, because one is made from all tenants' examples; use 'shared' or "
    "'prior', or a router for each tenant"
)
_LONGEST_PAUSE_S = 60.0

Replace = Callable[["Fold", Callable[[], None]], None]
"""Puts a fold in the place of the one of its name, and calls another piece of work in the same step."""

_log = logging.getLogger(__name__)


class Promoter:
    """Puts versions into the chain.

    Args:
        services: The log, the learner who brings a version up to date, and the plugins who are told.
        registry: The versions.
        chain: Who proposes.
        members: The agents.
        fold_of: Makes the fold of a stage.

    Attributes:
        behind: For each strategy that cannot serve here what the log says it should: why.
        quarantines: What teaches nothing.
        retired: What served of a strategy last, with its fold, where ``keeps_retired``; whoever takes it
            out closes it.
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
        self._fits = services.config.fits
        self._token = -1
        self._again_at, self._pause_s = 0.0, 0.0
        self.lock = threading.RLock()
        self.behind: dict[str, str] = {}
        self.quarantines = Quarantines(self._store, chain, self._learner)
        self.keeps_retired = False
        self.retired: dict[str, tuple[Stage, Fold]] = {}

    # -- by hand

    def promote(
        self,
        strategy: str,
        number: int,
        *,
        reason: str = BY_HAND,
        force: bool = False,
        pin: bool = True,
        actor: str | None = None,
    ) -> ModelVersion:
        """Let a version serve because a person says so.

        Args:
            strategy: Whose.
            number: Which version.
            reason: For the history.
            force: Although the gate refused it.
            pin: Whether it stays until a person says otherwise; False lets the next fit replace it.
            actor: Who says so.

        Raises:
            UnknownVersionError: if there is none of that number, or its files were given up.
            GateRefusedError: if the gate refused it, or it was rolled back by itself.
            CorruptArtifactError: if its files are damaged; what serves goes on.
            NotTrainableError: if each tenant has a state of its own, and nothing else serves.
        """
        version = self._registry.version(strategy, number)
        against = "" if version.passed else f"was refused ({version.reason})"
        if QUARANTINED in version.aliases:
            against = "was rolled back by itself, see router versions"
        if against and not force:
            raise GateRefusedError(
                f"version {number} of {strategy!r} {against}; --force (in Python force=True) lets it serve anyway"
            )
        why = f"{reason}, although it {against}" if against else reason
        self._serve(strategy, version, why, pinned=pin, actor=actor)
        self._plugins.notify("on_promotion", strategy=strategy, version=number)
        return version

    def rollback(
        self,
        strategy: str,
        chosen: int | None = None,
        to_seq: Position | None = None,
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int | None:
        """Let the version before serve again, and stay; None where that is the strategy as it is without any fit.

        With ``to_seq`` what came behind that position is quarantined for it first, so that what serves again learns
        nothing of it; of a strategy that was never fitted, that is all.

        Args:
            strategy: Whose.
            chosen: A version that served before, in the place of the one before; 0 is the strategy without any fit.
            to_seq: Position of the log.
            reason: For the history.
            actor: Who says so.

        Raises:
            UnknownVersionError: if what serves was never fitted, or the version that was chosen never served.
            GateRefusedError: if that one is in quarantine.
            InvalidInputError: if nothing came behind ``to_seq``, or the version that was chosen serves already.
        """
        current = self._registry.champion(strategy).version
        why = ROLLBACK + ("" if current is None else f" from {current}") + ("" if reason is None else f": {reason}")
        behind = None if to_seq is None else self.quarantines.position(to_seq, "to_seq")
        if behind is not None and current is None and chosen is None:
            self.quarantines.add(strategy, behind, reason=why, actor=actor)
            return None
        if chosen is None:
            number = self._registry.previous(strategy, current)
        else:
            number = self._registry.served(strategy, chosen)
        version = None if number is None else self._registry.version(strategy, number)
        added = None if behind is None else self.quarantines.add(strategy, behind, reason=why, actor=actor)
        try:
            self._serve(strategy, version, why, pinned=True, actor=actor)
        except BaseException:
            if added is not None:  # a step that fails changes nothing
                self.quarantines.lift(added, reason=f"the {why} failed", actor=actor)
            raise
        self._plugins.notify("on_rollback", strategy=strategy, version=number)
        return number

    def pin(self, strategy: str, number: int | None, actor: str | None = None) -> int | None:
        """Keep what serves, or let another version serve and keep that, until ``unpin``.

        Raises:
            UnknownVersionError: if there is none of that number.
            NotTrainableError: if no fit could ever replace what serves.
        """
        if number is not None and number != self._registry.champion(strategy).version:
            return self.promote(strategy, number, reason="pinned by hand", actor=actor).version
        if not self._fits:
            raise NotTrainableError(SEPARATE)
        current = self._replaceable(strategy).version
        set_champion(self._store.writer, strategy, current, "pinned by hand", pinned=True, actor=actor)
        return current

    def _replaceable(self, strategy: str) -> Champion:
        """What serves, of a strategy whose fits could replace it, or that an earlier release let be pinned."""
        stage, current = self._chain.stage(strategy), self._registry.champion(strategy)
        if current.version is None and not current.pinned and not trainable(stage.strategy):
            raise NotTrainableError(
                f"{strategy!r} learns online only: no fit ever replaces it, so that there is nothing to pin; to keep "
                "outcomes from teaching it, see router.models.quarantine"
            )
        return current

    def unpin(self, strategy: str, actor: str | None = None) -> None:
        """Let fits replace what serves again.

        Raises:
            NotTrainableError: if no fit could ever replace it.
        """
        current = self._replaceable(strategy)
        if current.pinned:
            writer, number = self._store.writer, current.version
            set_champion(writer, strategy, number, "unpinned by hand", pinned=False, actor=actor)

    # -- by itself

    def promote_fitted(self, strategy: str, number: int, reason: str, *, after: int, intent: int) -> None:
        """Let a version serve that has just passed the gate.

        Args:
            strategy: Whose.
            number: Which version.
            reason: For the history.
            after: The history's token that it was judged against.
            intent: What this fulfils.

        Raises:
            ChampionMovedError: if what serves was changed since.
        """
        version = self._registry.version(strategy, number)
        self._serve(strategy, version, reason, after=after, intent=intent, actor=GATE)
        self._plugins.notify("on_promotion", strategy=strategy, version=number)

    def roll_back(self, strategy: str, number: int, reason: str, *, after: int) -> bool:
        """Let what served before a version serve again, and put the version into quarantine.

        Called on the learner's thread. Where the files of what served before are lost, what served before that does.

        Args:
            strategy: Whose.
            number: Which version.
            reason: For the history.
            after: The history's token under which it serves.

        Returns:
            False where somebody else is at work on what serves: then it may be tried again.

        Raises:
            ChampionMovedError: if what serves was changed since.
        """
        if not self.lock.acquire(blocking=False):
            return False
        try:
            target = self._registry.previous(strategy, number)
            words = f"{ROLLBACK_BY_ITSELF} from {number}: {reason}"
            serve = partial(self._serve, strategy, reason=words, after=after, quarantine=number, actor=WATCH)
            serve = partial(serve, replace=self._learner.replace_here)
            while target is not None:
                try:
                    serve(self._registry.version(strategy, target))
                    break
                except (CorruptArtifactError, UnknownVersionError) as error:
                    _log.error("version %d of %s cannot serve again: %s", target, strategy, error)
                    target = self._registry.previous(strategy, target)
            else:
                serve(None)
        finally:
            self.lock.release()
        _log.warning("%s: %s", strategy, words)
        self._plugins.notify("on_rollback", strategy=strategy, version=target)
        return True

    def follow(self) -> None:
        """Serve what the log says, should another process have moved an alias. Called on the learner's thread.

        What cannot be served now is tried again, after a pause that grows to a minute.
        """
        now = time.monotonic()
        if not self._fits or now < self._again_at or not self.lock.acquire(blocking=False):
            return
        try:
            token = self._store.reader.query(alias_token)
            if token == self._token and not self.behind:
                return
            self.behind = {}
            for stage in self._chain.stages:
                self._follow(stage)
            self._token = token
            self._pause_s = min(_LONGEST_PAUSE_S, max(1.0, 2.0 * self._pause_s)) if self.behind else 0.0
            self._again_at = now + self._pause_s
        finally:
            self.lock.release()

    def _follow(self, stage: Stage) -> None:
        wanted = self._registry.champion(stage.name)
        if wanted.token == 0 or wanted.version == stage.model_version:
            return
        try:
            version = None if wanted.version is None else self._registry.version(stage.name, wanted.version)
            self._swap(stage, version, self._learner.replace_here)
        except (RouterError, OSError) as error:
            remedy = "promote another version, or roll back" + ("; it is pinned, no fit replaces it" * wanted.pinned)
            self.behind[stage.name] = f"version {wanted.version} cannot be served here: {error}; {remedy}"
            _log.error("%s: %s", stage.name, self.behind[stage.name])

    # -- the swap

    def _serve(
        self,
        strategy: str,
        version: ModelVersion | None,
        reason: str,
        *,
        pinned: bool = False,
        after: int | None = None,
        intent: int | None = None,
        quarantine: int | None = None,
        actor: str | None = None,
        replace: Replace | None = None,
    ) -> None:
        if not self._fits:
            raise NotTrainableError(SEPARATE)
        number = None if version is None else version.version
        writer, alias = self._store.writer, {"after": after, "intent": intent, "quarantine": quarantine}

        def tell() -> None:
            set_champion(writer, strategy, number, reason, pinned=pinned, actor=actor, **alias)

        with self.lock:
            self._swap(self._chain.stage(strategy), version, replace or self._learner.replace, tell)
            self.behind.pop(strategy, None)

    def _swap(
        self,
        stage: Stage,
        version: ModelVersion | None,
        replace: Replace,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring a version up to date aside, and put it into the chain and the log in one step."""
        fresh, fold = self.aside(stage, version)
        strategy, old = fresh.strategy, self._learner.folding[stage.name]
        try:

            def swap() -> None:
                strategy.prepare(self._members.roster.available)
                tell()
                self._chain.replace(fresh)

            replace(fold, swap)
        except BaseException:
            strategy.close()
            raise
        self._retire(stage, old)

    def _retire(self, stage: Stage, fold: Fold) -> None:
        """Keep what served until now for who asks for it, or close it."""
        kept = self.retired.pop(stage.name, None)
        if kept is not None:
            kept[0].strategy.close()
        if self.keeps_retired:
            self.retired[stage.name] = stage, fold
        else:
            stage.strategy.close()

    def aside(self, stage: Stage, version: ModelVersion | None) -> tuple[Stage, Fold]:
        """A version beside what serves, in the state in which it served last, and how far that has learnt.

        Raises:
            UnknownVersionError: if its files were given up.
            CorruptArtifactError: if they are damaged.
        """
        strategy = twin(stage.strategy)
        found = stage_of(strategy, version)
        fold = self._fold_of(found)
        try:
            if version is not None:
                self._registry.load(strategy, version)
                fold.begin_at(version.upto, version.left_out)
            restore(self._store, fold)
            strategy.prepare(self._members.roster.available)
        except BaseException:
            strategy.close()
            raise
        return found, fold

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()
