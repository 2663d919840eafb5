"""What a version earns once it serves: compared with what came before, after every outcome, until it is proven.

The gate judges a version by what was known when it was made. What it does with the requests that come then is watched
here: the rewards of the chain, from the version's first request on, against those of the newest outcomes before it,
task type by task type, and agent by agent. A version that earns less is rolled back, and stays in quarantine until a
person lets it serve again.

All of it is read off the log, so that a restart changes nothing and every process on the store comes to the same
conclusion; the first one acts on it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router_sdk.errors import ChampionMovedError
from router_sdk.evaluation.earnings import LEAST, Baseline, Earned, Verdict, compare, gain_bounds
from router_sdk.store.registry import ROLLBACK

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from router_sdk.routing.chain import Chain
    from router_sdk.store.registry import Champion
    from router_sdk.training.fit import FitServices
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry

LOOK_BACK = 50_000
"""Log positions before a version among which these are looked for."""
PIECE = 5_000
"""Log positions that are read at one look."""
EVERY = 32
"""Log positions between two looks, where outcomes come fast."""

_BEFORE = """
SELECT d.seq FROM decisions d WHERE d.seq > ? AND d.seq < ? AND d.source = 'routed' AND d.explored = 0
  AND EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id) ORDER BY d.seq DESC LIMIT ?"""
_SINCE = """
SELECT d.seq FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
WHERE o.seq > ?1 AND o.seq <= ?2 AND d.seq >= ?3 AND d.source = 'routed' AND d.explored = 0
UNION SELECT d.seq FROM decisions d WHERE d.seq > ?1 AND d.seq <= ?2 AND d.seq >= ?3 AND d.source = 'routed'
  AND d.explored = 0 AND EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.seq < d.seq)"""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Probation:
    """One version that serves on trial.

    Attributes:
        strategy: Whose.
        champion: The entry of the history with which it came.
        before: What was earned before it.
        heard: Position in the log up to which outcomes were read.
        since: What was earned under it, by position of the decision, in the order of the first outcomes.
        verdict: What was concluded last.
    """

    strategy: str
    champion: Champion
    before: Baseline
    heard: int
    since: dict[int, Earned] = field(default_factory=dict)
    verdict: Verdict | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to compare it with."""
        return self.before.outcomes >= LEAST


class Watch:
    """Watches every version that no person chose, from its promotion until it is proven.

    Args:
        services: The log, its reader, and the settings.
        registry: The versions.
        chain: Who proposes.
        promoter: Who lets a version serve.
    """

    def __init__(self, services: FitServices, registry: Registry, chain: Chain, promoter: Promoter) -> None:
        self._store, self._learner, self._config = services.store, services.learner, services.config.watch
        self._registry, self._chain, self._promoter = registry, chain, promoter
        self._enabled = self._config.enabled and services.config.learns and services.config.fits
        self._on_probation: dict[str, Probation] = {}
        self._looked = -1

    def look(self, least: int = 1) -> None:
        """Read what came since, and roll back what earns less. Called on the learner's thread.

        Args:
            least: Log positions since the last look below which it is too early for another one.
        """
        cursor = self._learner.folding.cursor
        if not self._enabled or cursor < self._looked + least:
            return
        self._looked = cursor
        for stage in self._chain.stages:
            if stage.model_version is not None:
                self._look(stage.name, stage.model_version)

    def _look(self, strategy: str, version: int) -> None:
        champion, known = self._registry.champion(strategy), self._on_probation.get(strategy)
        if known is None or known.champion.token != champion.token:
            self._on_probation[strategy] = known = self._begun(strategy, champion)
        if champion.version != version or not known.begun or len(known.since) >= self._config.outcomes:
            return
        if self._read(known):
            known.verdict = verdict = compare(known.before, list(known.since.values()), self._config)
            if verdict.fallen is not None:
                try:
                    self._promoter.roll_back(strategy, version, verdict.fallen, after=champion.token)
                except ChampionMovedError as error:  # another process was faster, or a person
                    _log.info("%s", error)

    def _begun(self, strategy: str, champion: Champion) -> Probation:
        """A version's probation, from its start; what came before it is read once."""
        start = champion.seq
        if start is None or champion.pinned or champion.reason.startswith(ROLLBACK):
            return Probation(strategy, champion, Baseline(()), 0)
        earned = self._earned(
            lambda connection: connection.execute(_BEFORE, (start - LOOK_BACK, start, self._config.outcomes)).fetchall()
        )
        return Probation(strategy, champion, Baseline(earned.values()), start - 1)

    def _read(self, probation: Probation) -> bool:
        """Read the next piece of the log; whether it says anything of the version."""
        start, head = probation.champion.seq, self._learner.folding.cursor
        upto = min(head, probation.heard + PIECE)
        if upto <= probation.heard:
            return False
        told = (probation.heard, upto, start)
        found = self._earned(lambda connection: connection.execute(_SINCE, told).fetchall())
        probation.heard = upto
        probation.since |= found
        return bool(found)

    def _earned(self, query: Callable[[sqlite3.Connection], list[tuple[int]]]) -> dict[int, Earned]:
        seqs = [seq for (seq,) in self._store.reader.query(query)]
        if not seqs:
            return {}
        with self._learner.folding.lock:
            examples = self._learner.folding.tail.newest(seqs, loaded=False)
        return {
            one.decision_seq: Earned(one.task_type, one.agent, one.reward)
            for one in examples
            if one.reward is not None and one.source == "routed"
        }

    def status(self) -> dict[str, Any]:
        """How the versions on probation do, by strategy, as JSON values; ``gain`` are bounds, see ``gain_bounds``."""
        told = {}
        for strategy, one in self._on_probation.items():
            verdict, since = one.verdict, list(one.since.values())
            if verdict is not None and since:
                told[strategy] = {
                    "version": one.champion.version,
                    "proven": len(since) >= self._config.outcomes,
                    "outcomes": verdict.outcomes,
                    "mean": round(verdict.mean, 4),
                    "expected": round(verdict.expected, 4),
                    "gain": [round(bound, 4) for bound in gain_bounds(one.before, since, self._config.alpha)],
                }
        return told
