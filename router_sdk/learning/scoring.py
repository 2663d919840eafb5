"""Quality scores come into the log: what was said of executions is read, scored, and written down as what it is."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, InvalidConfigError, let_end
from router_sdk.records import Outcome
from router_sdk.records.outcome import SCORER
from router_sdk.rewards.discriminator import Discriminator
from router_sdk.rewards.quality import Execution, FeedbackScorer, QualityScorer, Score, ensemble
from router_sdk.store.scores import (
    MOST_PARTS,
    count_scores,
    executions_behind,
    given_behind,
    note_scored,
    scored_executions,
    scored_up_to,
)

if TYPE_CHECKING:
    from router_sdk.loop_settings import QualityConfig
    from router_sdk.plugins import PluginRegistry
    from router_sdk.store import Store
    from router_sdk.store.copying import LoggedPart
    from router_sdk.store.rows import Entry

BUILT_IN = (FeedbackScorer.name, Discriminator.name)

_PIECE = 256
"""Outcomes that are looked through at a time."""
_MOST_SCORED = 2_000
"""Newest scored examples that scorers are fitted on."""
_GROWTH = 0.2
_LEAST_GROWTH = 20
"""A scorer is fitted anew once there are so many more scored examples, as a share and at least."""
_SAME = 1e-6

_log = logging.getLogger(__name__)


class Scoring:
    """Scores what the log holds and nobody judged, from where it came to the last time.

    Each set of scorers that can score has a place of its own in the log, and begins at the start: what is set up late
    scores what is there. Two processes that score the same write it once.

    Args:
        config: Which scorers.
        store: The log.
        plugins: Who brings further scorers, and who is told of outcomes.

    Raises:
        InvalidConfigError: if a scorer is unknown, or of no use with the texts that the store keeps.
    """

    def __init__(self, config: QualityConfig, store: Store, plugins: PluginRegistry) -> None:
        self._store, self._plugins = store, plugins
        built_in = (FeedbackScorer(config.signals), Discriminator(config.least_scored))
        known: dict[str, QualityScorer] = {**{one.name: one for one in built_in}, **plugins.quality_scorers}
        unknown = [name for name in config.scorers if name not in known]
        if unknown:
            raise InvalidConfigError(f"quality.scorers: there is no {', '.join(unknown)}; there are {sorted(known)}")
        self._scorers = [known[name] for name in config.scorers]
        blind = [one.name for one in self._scorers if one.needs_text and store.privacy.hides_texts]
        if blind:
            raise InvalidConfigError(
                f"quality.scorers: {', '.join(blind)} reads texts, and privacy={store.privacy.mode!r} keeps none"
            )
        self._waits = {one.name: "it is not fitted yet" for one in self._scorers if one.learns}
        self._fitted_on = self._fresh = self._seen = 0
        self._failed: set[str] = set()
        self._observed = plugins.implements("on_outcome")
        self.lock = threading.RLock()

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()

    def look(self, *, everything: bool = False) -> int:
        """Score what came since the last look, a piece or all of it, and return how many scores were written."""
        if not self._scorers or self._store.read_only:
            return 0
        with self.lock:
            self._fit_where_due()
            written, going = 0, True
            while going:
                count, going = self._piece()
                written += count
                going = going and everything
        return written

    def status(self) -> dict[str, Any]:
        """Which scorers there are, why one says nothing yet, and how much each has said, as JSON values."""
        names = [one.name for one in self._scorers]
        said = self._store.reader.query(count_scores) if names else {}
        return {"scorers": names, "waits": dict(self._waits), "failed": sorted(self._failed), "said": said}

    # -- scorers that learn

    def _fit_where_due(self) -> None:
        """Fit those that learn where enough was said since."""
        if not self._waits and not any(one.learns for one in self._scorers):
            return
        counted, self._seen = self._store.reader.query(lambda connection: given_behind(connection, self._seen))
        self._fresh += counted
        if self._fitted_on and self._fresh < max(_LEAST_GROWTH, _GROWTH * self._fitted_on):
            return
        if not self._fresh:
            return
        scored = self._store.reader.query(lambda connection: scored_executions(connection, _MOST_SCORED))
        self._fitted_on, self._fresh = max(len(scored), 1), 0
        for one in self._scorers:
            if one.learns:
                try:
                    waits = one.fit(scored)
                except FAULTS as error:
                    let_end(error)
                    waits = f"it could not be fitted: {type(error).__name__}: {error}"
                    _log.exception("quality scorer %s could not be fitted", one.name)
                self._waits.pop(one.name, None)
                if waits is not None:
                    self._waits[one.name] = waits

    # -- a piece of the log

    def _piece(self) -> tuple[int, bool]:
        """Score a piece; how many scores were written, and whether more is waiting."""
        ready = [one for one in self._scorers if one.name not in self._waits]
        if not ready:
            return 0, False
        names = "+".join(one.name for one in ready)
        query = self._store.reader.query
        cursor = query(lambda connection: scored_up_to(connection, names))
        found, upto = query(lambda connection: executions_behind(connection, cursor, _PIECE))
        if upto == cursor:
            return 0, False
        told: list[tuple[str, Outcome]] = []
        entries: list[Entry] = []
        for execution, newest in found:
            if execution.signals.quality is None and len(execution.parts) <= MOST_PARTS:
                outcome = self._scored(execution, ready, newest)
                if outcome is not None:
                    told.append((execution.decision_id, outcome))
                    entries.append(self._entry(execution, outcome, names))
        self._store.append_all(entries)
        note_scored(self._store.writer, names, upto)
        if self._observed:
            for decision_id, outcome in told:
                self._plugins.notify("on_outcome", decision_id=decision_id, outcome=outcome)
        return len(told), True

    def _scored(self, execution: Execution, scorers: list[QualityScorer], newest: LoggedPart | None) -> Outcome | None:
        """What the scorers say together, where that is new."""
        scores = {one.name: score for one in scorers if (score := self._asked(one, execution)) is not None}
        score = ensemble(scores) if scores else None
        if score is None:
            return None
        actor = SCORER + "+".join(scores)
        said = None if newest is None or newest.outcome.actor != actor else newest.outcome.quality
        if said is not None and abs(said - score.value) < _SAME:
            return None
        judges = any(one.origin != "signal" for one in scorers if one.name in scores)
        origin = "judge" if judges else "signal"
        return Outcome(quality=score.value, origin=origin, actor=actor, reason=score.reason)

    def _asked(self, scorer: QualityScorer, execution: Execution) -> Score | None:
        """What a scorer says; one that raises, or says no number in [0, 1], says nothing."""
        try:
            score = scorer.score(execution)
            if score is not None and not (0.0 <= score.value <= 1.0 and 0.0 < score.weight < math.inf):
                raise ValueError(f"a score must lie in [0, 1], and weigh more than 0: {score!r:.200}")
        except FAULTS as error:
            let_end(error)
            if scorer.name not in self._failed:
                _log.exception("quality scorer %s failed", scorer.name)
            self._failed.add(scorer.name)
            return None
        return score

    def _entry(self, execution: Execution, outcome: Outcome, names: str) -> Entry:
        """The part as the log takes it: for the same that was said it is taken once."""
        outcome_id = f"{SCORER}{names}:{execution.decision_id}:{execution.newest}"
        told = (execution.decision_id, outcome, outcome.signals())
        return self._store.entry(*told, outcome_id=outcome_id, tenant=execution.task.tenant)
