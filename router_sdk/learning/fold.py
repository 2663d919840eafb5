"""What the learner folds the log into: anything with a state that can be saved, restored and moved on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from router_sdk.errors import FAULTS, let_end
from router_sdk.records import ExampleColumns
from router_sdk.records.record import blame
from router_sdk.store.events import LearningEvent
from router_sdk.store.quarantine import Ranges, above, below, union
from router_sdk.store.snapshots import fingerprint

if TYPE_CHECKING:
    from router_sdk.learning.calibration import Calibration
    from router_sdk.learning.drift import Drift
    from router_sdk.learning.performance import Performance
    from router_sdk.learning.strategy_selection import StrategySelection
    from router_sdk.learning.tenant_states import TenantStates
    from router_sdk.records import Example
    from router_sdk.rewards import RewardMark
    from router_sdk.store.tail import Batch
    from router_sdk.strategy import Strategy

EVERYTHING = 2**62
"""A position that no log reaches."""
_LATELY = 0.1
"""Weight of the newest batch in what a position takes to learn."""

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
        """Read the state, in place of what is there."""

    def close(self) -> None:
        """End what was begun in the background."""


@runtime_checkable
class ByColumns(Protocol):
    """What learns from columns, too: every strategy, ``Performance``, ``Calibration`` and ``Drift``."""

    def learn_columns(self, columns: ExampleColumns) -> None:
        """Move on, as ``learn(columns.examples)`` would."""


class Fold:
    """A foldable with its place in the log.

    Args:
        name: Under which its snapshots are kept.
        state: What is folded into.
        begin: Makes a state like it that has learnt nothing of the log beyond ``start``.
        fingerprint: Everything the state depends on besides the log.
        journalled: Whether its updates are learning events.
        model_version: Fitted version whose state this is, or None.
        strategy: Whose state this is, so that quarantines count; None leaves nothing out.

    Attributes:
        start: Position in the log at which it begins: what came before is in its fitted version.
        cursor: Position in the log up to which it has learnt.
        saved: Cursor of its newest snapshot.
        left_out: Positions that it has learnt nothing of, and will not.
        unheeded: Why it still holds what is quarantined, or lacks what was lifted or archived; None where it does not.
        torn: Whether an update raised, so that the state may hold half of it; it is mended before anything else.
        aside: Why it learns no more and is not saved; None as long as it does. The next start tries again.
        refused: Decisions that hurt it, and the position from which on it learns nothing of them.
        learnt: Position of the newest event that it learnt.
        cost_s: What a position of the log takes to learn, in seconds of processor time, of late.
        frozen_at: Position from which on nothing is learnt, though what is forgotten goes; None where it learns on.
    """

    def __init__(
        self,
        name: str,
        state: Foldable,
        begin: Callable[[], Foldable],
        fingerprint: str,
        *,
        journalled: bool = True,
        model_version: int | None = None,
        strategy: str | None = None,
    ) -> None:
        self.name = name
        self.state = state
        self.begin = begin
        self.fingerprint = fingerprint
        self.journalled = journalled
        self.model_version = model_version
        self.strategy = strategy
        self.start = self.cursor = self.saved = 0
        self.left_out: Ranges = ()
        self._fitted_without: Ranges = ()
        self.unheeded: str | None = None
        self.torn = False
        self.aside: str | None = None
        self.refused: dict[str, int] = {}
        self.learnt = 0
        self.cost_s = 0.0
        self.frozen_at: int | None = None

    def begin_at(self, position: int, left_out: Ranges = ()) -> None:
        """It has learnt up to there without some positions, once and for all: that is in its fitted version."""
        self.start = self.cursor = self.saved = position
        self.left_out = self._fitted_without = below(left_out, position)

    def beside(self) -> Fold:
        """A second one like it that has learnt nothing since its start.

        Raises:
            StrategyError: if there can be none.
        """
        other = Fold(
            self.name,
            self.begin(),
            self.begin,
            self.fingerprint,
            journalled=self.journalled,
            model_version=self.model_version,
            strategy=self.strategy,
        )
        other.begin_at(self.start, self._fitted_without)
        other.frozen_at = self.frozen_at
        return other

    def take_over(self, other: Fold, folder: Path) -> None:
        """Go on as another one that was saved into a folder."""
        self.state.load(folder)
        self.cursor, self.saved, self.left_out = other.cursor, other.saved, other.left_out
        self.refused, self.learnt, self.unheeded = other.refused, other.learnt, other.unheeded

    def leaving_out(self, quarantined: Ranges) -> Ranges:
        """What it is to leave out where so much is quarantined: what its version has learnt, it has learnt."""
        frozen = () if self.frozen_at is None else ((self.frozen_at, EVERYTHING),)
        return union((*self._fitted_without, *above(quarantined, self.start), *frozen))

    def mark(self, cursor: int, left_out: Ranges | None = None) -> str:
        """Fingerprint of its snapshot at a position: of all that its state depends on, what is left out too."""
        passed = below(self.left_out if left_out is None else left_out, cursor)
        return fingerprint(self.fingerprint, repr(passed)) if passed else self.fingerprint

    def set_aside(self, reason: str) -> None:
        """Let it learn no more, and the others go on."""
        self.aside = reason
        _log.error("%s learns no more, and what it knows is not saved: %s", self.name, reason)

    def learns(self, example: Example) -> bool:
        """Whether an example is for it: behind its cursor, and of no decision that hurt it."""
        return example.seq > self.cursor and not hurt_by(self.refused, example)

    def apply(self, batch: Batch, kind: str) -> LearningEvent | None:
        """Move on by one batch; what stands before the cursor was learnt already.

        Returns:
            What happened, or None where there was nothing to learn.
        """
        if batch.upto <= self.cursor or self.torn or self.aside is not None:
            return None
        columns = batch.columns
        known = len(columns) and columns.seq[0] <= self.cursor
        if known or (self.refused and not self.refused.keys().isdisjoint(columns.decision_id)):
            columns = ExampleColumns.of([example for example in columns.examples if self.learns(example)])
        started, spent = time.perf_counter(), time.thread_time()
        error: str | None = None
        try:
            if batch.fresh_agents:
                self.state.forget_agents(batch.fresh_agents)
            if batch.forgotten:
                self.state.forget_examples(batch.forgotten)
            if len(columns):
                teach(self.state, columns)
        except FAULTS as fault:
            let_end(fault)
            error = blame(fault)
            self.torn = True
            _log.exception("%s failed to learn", self.name)
        else:
            passed, self.cursor = batch.upto - self.cursor, batch.upto
            self.learnt = columns.seq[-1] if len(columns) else self.learnt
            cost_s = (time.thread_time() - spent) / passed
            self.cost_s += _LATELY * (cost_s - self.cost_s) if self.cost_s else cost_s
        if not len(columns) and error is None:
            return None
        duration_ms = (time.perf_counter() - started) * 1_000
        return LearningEvent(
            self.name,
            kind,
            len(columns),
            batch.upto,
            duration_ms,
            len(batch.columns),
            error=error,
            model_version=self.model_version,
        )


def teach(state: Foldable, columns: ExampleColumns) -> None:
    """Let a state learn a batch: from its columns where it can, unless its ``learn`` was overridden since."""
    offers = ({"learn", "learn_columns"} & vars(kind).keys() for kind in type(state).__mro__)
    newest = next(filter(None, offers), set())
    if isinstance(state, ByColumns) and "learn_columns" in newest and "learn" not in vars(state):
        state.learn_columns(columns)
    else:
        state.learn(columns.examples)


def hurt_by(refused: Mapping[str, int], example: Example) -> bool:
    """Whether an example is of a decision that a fold learns nothing of any more, from a position on."""
    since = refused.get(example.decision_id)
    return since is not None and example.seq >= since


def apply_all(folds: Sequence[Fold], batch: Batch, kind: str) -> list[LearningEvent]:
    """Move every fold on by one batch, and return what is to be journalled; one that fails stops no other."""
    with one_core():
        applied = [(fold, fold.apply(batch, kind)) for fold in folds]
    return [event for fold, event in applied if event is not None and fold.journalled]


def one_core() -> AbstractContextManager[object]:
    """Keeps BLAS to one thread for a while.

    What is learnt online is small. On a busy machine a second thread of BLAS costs more than it brings, because each
    product waits until that thread is scheduled, too: an update of ten milliseconds took seconds. The number of threads
    is the process's, so it is set for as short as an update takes, and put back; where another thread of the program
    holds a limit of its own, that one stands.
    """
    from threadpoolctl import get_cached_controller  # where nothing is learnt, nobody looks for libraries

    limit: AbstractContextManager[object] = get_cached_controller().limit(limits=1, user_api="blas")
    return limit


def strategy_fold(
    strategy: Strategy, model_version: int | None, begin: Callable[[], Strategy], *surroundings: str
) -> Fold:
    """The fold of a strategy; its snapshots count as long as its settings and ``surroundings`` stay the same."""
    version = () if model_version is None else (f"version {model_version}",)
    mark = _mark(strategy, *surroundings, *version)
    return Fold(strategy.name, strategy, begin, mark, model_version=model_version, strategy=strategy.name)


def _mark(strategy: Strategy, *surroundings: str) -> str:
    return fingerprint(strategy.name, str(strategy.state_version), repr(strategy.config), *surroundings)


def tenants_fold(strategy: Strategy, states: TenantStates, *surroundings: str, journalled: bool) -> Fold:
    """The fold of the tenants' states of a strategy, which are never fitted."""
    mark = fingerprint(_mark(strategy, *surroundings), "tenants", str(states.most))
    name, begin = f"{strategy.name}.tenants", states.begun_again
    return Fold(name, states, begin, mark, journalled=journalled, strategy=strategy.name)


def performance_fold(performance: Performance, mark: RewardMark) -> Fold:
    """The fold of the performance report."""
    own = fingerprint(performance.name, str(performance.state_version), mark.text)
    return Fold(performance.name, performance, type(performance), own, journalled=False)


def report_fold(report: Calibration | Drift | StrategySelection, mark: RewardMark) -> Fold:
    """The fold of what confidences came to, of what changed, or of which strategy is asked first."""
    own = fingerprint(report.name, str(report.state_version), mark.text, *report.settings)
    return Fold(report.name, report, report.begun_again, own, journalled=False)
