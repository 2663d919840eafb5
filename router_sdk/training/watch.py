"""What a version earns once it serves: compared with what came before, after every outcome, until it is proven.

The gate judges a version by what was known when it was made. What it does with the requests that come then is watched
here: the rewards of the chain from its first request on, against those of the newest outcomes before it. What served
before goes on beside it, as a shadow, so that a fall that both would have shared is not the version's. One that earns
less is rolled back, and stays in quarantine until a person lets it serve again.

Where an experiment runs, what its challengers earn says nothing of the version, and is left out. A version that has won
one was compared on real tasks already, and is not watched.

All of it is read off the log, so that a restart changes nothing and every process on the store comes to the same
conclusion; the first one acts on it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_sdk.errors import ChampionMovedError, RouterError
from router_sdk.evaluation.earnings import LEAST, Baseline, Earned, Verdict, compare, gain_bounds
from router_sdk.store.quarantine import quarantined
from router_sdk.store.registry import ROLLBACK, ROLLBACK_BY_ITSELF, WON
from router_sdk.training.shadow import Shadow

if TYPE_CHECKING:
    from router_sdk.routing.agents import Members
    from router_sdk.routing.chain import Chain, Stage
    from router_sdk.store.registry import Champion
    from router_sdk.training.fit import FitServices
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry

LOOK_BACK = 50_000
"""Log positions before a version among which these are looked for."""
PIECE = 2_048
"""Log positions that the shadow goes on at one look, at most."""
EVERY = 32
"""Log positions between two looks, where outcomes come fast."""

_BEFORE = """
SELECT d.seq FROM decisions d WHERE d.seq > ? AND d.seq < ? AND d.source = 'routed' AND d.explored = 0
  AND (d.arm IS NULL OR instr(d.arm || '|', '/champion|') > 0)
  AND EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id) ORDER BY d.seq DESC LIMIT ?"""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Probation:
    """One version that serves on trial.

    Attributes:
        champion: The entry of the history with which it came.
        before: What was earned before it.
        shadow: What served before it.
        proven: Whether enough was seen of it.
        verdict: What was concluded last.
        gain: Bounds of what is earned beyond what came before, see ``gain_bounds``, once it has ended.
    """

    champion: Champion
    before: Baseline
    shadow: Shadow | None = None
    proven: bool = False
    verdict: Verdict | None = None
    gain: tuple[float, float] | None = None

    def bounds(self, alpha: float) -> tuple[float, float] | None:
        """The same as of now."""
        if self.shadow is None or not self.shadow.earned:
            return self.gain
        return gain_bounds(self.before, list(self.shadow.earned.values()), alpha)

    def end(self, alpha: float) -> None:
        """The shadow is needed no more."""
        if self.shadow is not None:
            self.gain = self.bounds(alpha)
            self.shadow.close()
            self.shadow = None


class Watch:
    """Watches every version that no person chose, from its promotion until it is proven.

    Args:
        services: The log, its reader, the encoders, and the settings.
        registry: The versions.
        chain: Who proposes.
        members: The agents.
        promoter: Who lets a version serve.
    """

    def __init__(
        self, services: FitServices, registry: Registry, chain: Chain, members: Members, promoter: Promoter
    ) -> None:
        self._services, self._config = services, services.config.watch
        self._registry, self._chain, self._members, self._promoter = registry, chain, members, promoter
        self._enabled = self._config.enabled and services.config.learns and services.config.fits
        promoter.keeps_retired = self._enabled
        self._on_probation: dict[str, Probation] = {}
        self._looked = -1

    def look(self, least: int = 1) -> None:
        """Go on with what came since, and roll back what earns less. Called on the learner's thread.

        Args:
            least: Log positions since the last look below which it is too early for another one.
        """
        cursor = self._services.learner.folding.cursor
        if not self._enabled or cursor < self._looked + least:
            return
        self._looked = cursor
        for stage in self._chain.stages:
            self._look(stage, cursor)
            if (retired := self._promoter.retired.pop(stage.name, None)) is not None:
                retired[0].strategy.close()  # nobody watches what came after it

    def _look(self, stage: Stage, cursor: int) -> None:
        champion = self._registry.champion(stage.name)
        known = self._on_probation.get(stage.name)
        if known is None or known.champion.token != champion.token or not self._heeds(stage.name, known):
            if known is not None:
                known.end(self._config.alpha)
            self._on_probation[stage.name] = known = self._begun(stage, champion)
        if known.shadow is None or champion.version != stage.model_version:
            return
        heard = known.shadow.follow(cursor, PIECE, self._members.roster)
        since = list(known.shadow.earned.values())[: self._config.outcomes]
        if heard and since:
            known.verdict = verdict = compare(known.before, since, self._config)
            if verdict.fallen is not None:
                self._roll_back(stage.name, champion, verdict.fallen)
            known.proven = verdict.fallen is None and len(since) >= self._config.outcomes
        if known.proven or known.shadow.fault is not None:
            known.end(self._config.alpha)

    def _roll_back(self, strategy: str, champion: Champion, why: str) -> None:
        assert champion.version is not None
        try:
            done = self._promoter.roll_back(strategy, champion.version, why, after=champion.token)
        except ChampionMovedError as error:  # another process was faster, or a person
            _log.info("%s", error)
            return
        if done and self._config.quarantine and champion.seq is not None:
            reason = f"{ROLLBACK_BY_ITSELF} from {champion.version}"
            self._promoter.quarantines.add(strategy, champion.seq, reason=reason, actor="watch")

    def _heeds(self, strategy: str, known: Probation) -> bool:
        """Whether the shadow, where there is one, has learnt nothing of what is quarantined by now."""
        if known.shadow is None:
            return True
        ranges = self._services.store.reader.query(lambda connection: quarantined(connection, strategy))
        return known.shadow.heeds(ranges)

    # -- how a probation begins

    def _begun(self, stage: Stage, champion: Champion) -> Probation:
        """A version's probation, from its start; without a shadow where there is nothing to watch, or to compare."""
        start = champion.seq
        told = champion.version is None or champion.pinned or champion.reason.startswith((ROLLBACK, WON))
        if told or start is None:
            return Probation(champion, Baseline(()))
        begun = Probation(champion, Baseline(self._earned_before(start)))
        if begun.before.outcomes >= LEAST:
            begun.shadow = self._shadow(stage, champion, start)
        return begun

    def _shadow(self, stage: Stage, champion: Champion, start: int) -> Shadow | None:
        """What served before: as it was retired here, or, after a restart, from its files and its snapshot."""
        services = self._services
        kept = self._promoter.retired.pop(stage.name, None)
        try:
            if kept is None:
                number = self._registry.previous(stage.name, champion.version)
                version = None if number is None else self._registry.version(stage.name, number)
                found, fold = self._promoter.aside(stage, version)
                found.strategy.warm_up()
                kept = found, fold
            return Shadow(*kept, start, services.learner.folding, services.encoders, services.store.reader)
        except (RouterError, OSError) as error:
            _log.warning("version %s of %s is not watched: %s", champion.version, stage.name, error)
            return None

    def _earned_before(self, start: int) -> list[Earned]:
        """The newest outcomes of decisions before a position, explored ones left out."""
        told = (start - LOOK_BACK, start, self._config.outcomes)
        seqs = self._services.store.reader.query(
            lambda connection: [seq for (seq,) in connection.execute(_BEFORE, told).fetchall()]
        )
        folding = self._services.learner.folding
        with folding.lock:
            examples = folding.tail.newest(seqs, loaded=False)
        return [
            Earned(one.task_type, one.reward) for one in examples if one.reward is not None and one.source == "routed"
        ]

    # -- what is told, and the end

    def status(self) -> Mapping[str, Any]:
        """How the versions on probation do, by strategy, as JSON values.

        ``gain`` are bounds of what is earned beyond what came before, see ``gain_bounds``.
        """
        told: dict[str, Any] = {}
        for strategy, one in list(self._on_probation.items()):
            if (verdict := one.verdict) is not None:
                bounds = one.bounds(self._config.alpha)
                told[strategy] = {
                    "version": one.champion.version,
                    "proven": one.proven,
                    "outcomes": verdict.outcomes,
                    "mean": round(verdict.mean, 4),
                    "expected": round(verdict.expected, 4),
                    "gain": None if bounds is None else [round(bound, 4) for bound in bounds],
                    "differing": round(verdict.differing, 4),
                }
        return told

    def close(self) -> None:
        """Close what is kept. Called on the learner's thread, or when that has ended."""
        for one in self._on_probation.values():
            one.end(self._config.alpha)
        self._on_probation.clear()
        for stage, _ in self._promoter.retired.values():
            stage.strategy.close()
        self._promoter.retired.clear()

    def after_fork(self) -> None:
        """In a child: connections and encoders are the parent's; the watch begins anew."""
        self._on_probation, self._looked = {}, -1
        self._promoter.retired = {}
