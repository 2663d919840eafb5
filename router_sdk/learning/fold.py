"""What the learner folds the log into: anything with a state that can be saved, restored and moved on."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from router_sdk.isolation import FAULTS, let_end
from router_sdk.records.record import blame
from router_sdk.rewards import RewardMark
from router_sdk.store.journal import LearningEvent
from router_sdk.store.snapshots import fingerprint

if TYPE_CHECKING:
    from router_sdk.learning.performance import Performance
    from router_sdk.learning.tenant_states import TenantStates
    from router_sdk.records import Example
    from router_sdk.rewards import RewardFunction
    from router_sdk.store.tail import Batch
    from router_sdk.strategy import Strategy

_log = logging.getLogger(__name__)


class Foldable(Protocol):
    """The part of a strategy that the learner needs; ``Performance`` has it too."""

    def learn(self, examples: Sequence[Example]) -> None:
        """Move on."""

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what was learnt of these agents."""

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop memories of these decisions."""

    def save(self, folder: Path) -> None:
        """Write the state."""

    def load(self, folder: Path) -> None:
        """Read the state."""


class Fold:
    """A foldable with its place in the log.

    Args:
        name: Under which its snapshots are kept.
        state: What is folded into.
        fingerprint: Everything the state depends on besides the log.
        journalled: Whether its updates are learning events.
        model_version: Fitted version whose state this is, or None.

    Attributes:
        cursor: Position in the log up to which it has learnt.
        saved: Cursor of its newest snapshot.
        broken: An update raised: the state may be torn, so it is not saved; a restart replays the log instead.
    """

    def __init__(
        self,
        name: str,
        state: Foldable,
        fingerprint: str,
        *,
        journalled: bool = True,
        model_version: int | None = None,
    ) -> None:
        self.name = name
        self.state = state
        self.fingerprint = fingerprint
        self.journalled = journalled
        self.model_version = model_version
        self.cursor = 0
        self.saved = 0
        self.broken = False

    def apply(self, batch: Batch, kind: str) -> LearningEvent | None:
        """Move on by one batch; what stands before the cursor was learnt already.

        Returns:
            What happened, or None where there was nothing to learn.
        """
        if batch.upto <= self.cursor:
            return None
        examples = batch.examples
        if examples and examples[0].seq <= self.cursor:
            examples = [example for example in examples if example.seq > self.cursor]
        started = time.perf_counter()
        error: str | None = None
        try:
            if batch.fresh_agents:
                self.state.forget_agents(batch.fresh_agents)
            if batch.forgotten:
                self.state.forget_examples(batch.forgotten)
            if examples:
                self.state.learn(examples)
        except FAULTS as fault:
            let_end(fault)
            error = blame(fault)
            self.broken = True
            _log.exception("%s failed to learn, and goes on", self.name)
        self.cursor = batch.upto
        if not examples and error is None:
            return None
        duration_ms = (time.perf_counter() - started) * 1_000
        return LearningEvent(
            self.name,
            kind,
            len(examples),
            self.cursor,
            duration_ms,
            len(batch.examples),
            error=error,
            model_version=self.model_version,
        )


def apply_all(folds: Sequence[Fold], batch: Batch, kind: str) -> list[LearningEvent]:
    """Move every fold on by one batch, and return what is to be journalled; one that fails stops no other."""
    applied = [(fold, fold.apply(batch, kind)) for fold in folds]
    return [event for fold, event in applied if event is not None and fold.journalled]


def strategy_fold(strategy: Strategy, model_version: int | None, *surroundings: str) -> Fold:
    """The fold of a strategy; its snapshots count as long as its settings and ``surroundings`` stay the same."""
    version = () if model_version is None else (f"version {model_version}",)
    mark = fingerprint(strategy.name, str(strategy.state_version), repr(strategy.config), *surroundings, *version)
    return Fold(strategy.name, strategy, mark, model_version=model_version)


def tenants_fold(strategy: Strategy, states: TenantStates, *surroundings: str, journalled: bool) -> Fold:
    """The fold of the tenants' states of a strategy, which are never fitted."""
    mark = fingerprint(strategy_fold(strategy, None, *surroundings).fingerprint, "tenants", str(states.most))
    return Fold(f"{strategy.name}.tenants", states, mark, journalled=journalled)


def performance_fold(performance: Performance, reward: RewardFunction) -> Fold:
    """The fold of the performance report."""
    mark = fingerprint(performance.name, str(performance.state_version), RewardMark(reward).text)
    return Fold(performance.name, performance, mark, journalled=False)
