"""One contestant on one stream: route, take outcomes as they come, learn meanwhile, and note what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.demo.stream import Delivery, FeedbackLoop, Phase, Stream
from router_sdk.errors import FitError, NotTrainableError
from router_sdk.router import Router

if TYPE_CHECKING:
    from router_sdk.training.fit import Fit

ROUTER = "router"
"""The whole chain as it is shipped."""
LEARNING_OFF = "learning off"
"""The same chain, which learns from no outcome, and does not explore either, since it would be for nothing."""

LOOKS = 4
"""How often the stream is interrupted to ask about the probes, at least once a phase; once more when all is over."""
RETRAIN_EVERY = 450
"""Fresh examples that make a fit in the background due: few enough to see one, enough for the gate to judge it."""
ONLY_BY_COUNT = ("quality_drop", "drift")
"""Triggers that are switched off: a fit takes as long as some hundred tasks do here, and these start several."""
LOOK_S = 0.2
LEARN_EVERY = 10
"""Tasks after which the stream waits for the learner. Real agents take seconds, so that a learner keeps up; this stream
plays weeks in seconds, and would otherwise show how fast the machine is instead of how well the router learns."""
TELL_EVERY = 25

Tell = Callable[[float, str], None]
"""Told the share of the stream that is played, in [0, 1], and what is going on."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who plays.

    Attributes:
        name: What to call it.
        chain: Names of its strategies.
        learning: Whether it learns; who does not, does not explore.
    """

    name: str
    chain: tuple[str, ...]
    learning: bool = True


def contestants(chain: Sequence[str]) -> tuple[Contestant, ...]:
    """The chain, each of its strategies alone, and the chain with learning off."""
    alone = [Contestant(f"{name} alone", (name,)) for name in chain] if len(chain) > 1 else []
    return (
        Contestant(ROUTER, tuple(chain)),
        *alone,
        Contestant(LEARNING_OFF, tuple(chain), learning=False),
    )


@dataclass(frozen=True, slots=True)
class FitMark:
    """One fit.

    Attributes:
        at: Tasks played when it ended.
        strategy: Whose.
        reason: Why it was started.
        state: How it ended.
        version: What came of it, or None.
        seconds: How long it took.
        before: What the gate compares, of what served, on the held-out examples; None where nothing was judged.
        after: The same of the new version.
        held_out: Examples that were held out.
        fine_tuned: Whether the encoder moved, beside the head.
        words: What decided.
    """

    at: int
    strategy: str
    reason: str
    state: str
    version: int | None
    seconds: float
    before: float | None
    after: float | None
    held_out: int
    fine_tuned: bool
    words: str

    @classmethod
    def of(cls, fit: Fit, at: int) -> FitMark:
        """What is to be noted of a fit that has ended."""
        version = fit.version
        metrics: Mapping[str, object] = {} if version is None else version.metrics
        before, after = (_value(metrics.get(side)) for side in ("before", "after"))
        seconds, held_out = metrics.get("duration_s"), metrics.get("held_out")
        return cls(
            at=at,
            strategy=fit.strategy,
            reason=fit.reason,
            state=fit.state,
            version=None if version is None else version.version,
            seconds=seconds if isinstance(seconds, float) else 0.0,
            before=before,
            after=after,
            held_out=held_out if isinstance(held_out, int) else 0,
            fine_tuned=version is not None and version.fine_tuned,
            words=fit.words,
        )


def _value(figures: object) -> float | None:
    value = figures.get("value") if isinstance(figures, Mapping) else None
    return value if isinstance(value, float) else None


@dataclass(slots=True)
class Trace:
    """What one contestant did with each task of a stream, in order, and what else is to be told.

    Attributes:
        agents: Whom it chose; None for no agent.
        strategies: Which strategy answered.
        explored: Whether another than the favourite was drawn.
        route_ns: Time of each ``route``, in nanoseconds.
        fitting: Whether a fit was running.
        fits: The fits, in the order in which they ended.
        probed: Whether the favourite of each probe is right, after so many tasks, by kind of probe.
        confidence: Mean confidence on the probes, after so many tasks.
        events: Counts of what is in the log.
        feedback: How many outcomes came back in which way.
    """

    agents: list[str | None] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    explored: list[bool] = field(default_factory=list)
    route_ns: list[int] = field(default_factory=list)
    fitting: list[bool] = field(default_factory=list)
    fits: list[FitMark] = field(default_factory=list)
    probed: dict[str, list[tuple[int, tuple[bool, ...]]]] = field(default_factory=dict)
    confidence: list[tuple[int, float]] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, int] = field(default_factory=dict)


def play(
    stream: Stream,
    contestant: Contestant,
    store: Path,
    *,
    seed: int = 0,
    tell: Tell = lambda share, words: None,
) -> Trace:
    """Play a stream on a real router, with a store on disk and the asynchronous learner.

    Args:
        stream: What is played.
        contestant: Who plays.
        store: The router's SQLite file.
        seed: Of the router, and of the fate of each outcome.
        tell: Told how far it is.

    Raises:
        UnknownStrategyError: if a strategy is not installed.
    """
    playing = _Playing(stream, contestant, store, seed, tell)
    try:
        playing.pretrain()
        for number, phase in enumerate(stream.phases, start=1):
            playing.play(phase)
            if not stream.background_fits and number == len(stream.phases) // 2:
                playing.fit()
        return playing.end()
    finally:
        playing.router.close()


class _Playing:
    def __init__(self, stream: Stream, contestant: Contestant, store: Path, seed: int, tell: Tell) -> None:
        self._stream, self._contestant, self._tell = stream, contestant, tell
        self._total = sum(len(phase.items) for phase in stream.phases)
        self._trace = Trace()
        self._feedback = FeedbackLoop(np.random.default_rng([seed, 1]))
        self._seen: Fit | None = None
        self._probes = stream.probes if contestant.name == ROUTER else {}
        still: dict[str, Any] = {} if contestant.learning else {"epsilon": 0.0}
        self.router = Router(
            agents=stream.agents,
            strategies=[(name, stream.strategy.get(name, {})) for name in contestant.chain],
            store=store,
            seed=seed,
            learning=contestant.learning,
            retrain=stream.background_fits,
            retrain_interval=RETRAIN_EVERY,
            retrain_cooldown_seconds=0.0,
            triggers={"off": ONLY_BY_COUNT},
            batch_events=self._total * 10,  # it learns when the stream waits for it, wherever it is played
            batch_seconds=3_600.0,
            **still,
        )

    def pretrain(self) -> None:
        """Fit a first version from what lies in the past, where there is any and a strategy is fitted."""
        past = self._stream.past
        if not past:
            return
        try:
            fit = self.router.models.pretrain([task for task, _ in past], [label for _, label in past], wait=False)
        except NotTrainableError:
            return
        self._watch(fit, f"pre-training on {len(past):,} synthetic turns")

    def play(self, phase: Phase) -> None:
        """Route a phase's tasks while their outcomes drift in; at its end, wait until all is learnt."""
        router, trace, models = self.router, self._trace, self.router.models
        looks = max(1, LOOKS // len(self._stream.phases))
        look_every = max(1, -(-len(phase.items) // looks))
        for number, item in enumerate(phase.items):
            now = len(trace.agents)
            if number % look_every == 0:
                self._look(now)
            trace.fitting.append(models.newest_fit is not None and models.newest_fit.running)
            before = perf_counter_ns()
            decision = router.route(item.task)
            trace.route_ns.append(perf_counter_ns() - before)
            trace.agents.append(decision.agent)
            trace.strategies.append(decision.strategy)
            trace.explored.append(decision.explored)
            self._feedback.send(decision, item.outcome(decision.agent), now)
            for delivery in self._feedback.due(now):
                self._record(delivery)
            if now % LEARN_EVERY == LEARN_EVERY - 1:
                router.flush()
            self._note(models.newest_fit)
            if now % TELL_EVERY == 0:
                self._tell(now / self._total, phase.name)
        for delivery in self._feedback.due():
            self._record(delivery)
        router.flush()
        if models.newest_fit is not None:
            self._watch(models.newest_fit, "a fit")

    def fit(self) -> None:
        """Fit each strategy that can be, and wait for it."""
        if not self._contestant.learning:
            return
        for name in self._contestant.chain:
            with suppress(NotTrainableError):
                self._watch(self.router.models.retrain(name), f"a fit of {name}")

    def end(self) -> Trace:
        """What came of it."""
        trace = self._trace
        self._look(len(trace.agents))
        statistics = self.router.statistics()
        trace.events = {
            "decisions": len(trace.agents),
            "outcome messages": self._feedback.messages,
            "examples": int(statistics["total_examples"]),
            "updates": int(statistics["total_updates"]),
        }
        trace.feedback = dict(self._feedback.kinds)
        return trace

    def _watch(self, fit: Fit, words: str) -> None:
        """Wait for a fit, telling how far it is, and note how it ended."""
        while fit.running:
            self._tell(len(self._trace.agents) / self._total, f"{words}: {fit.words}")
            with suppress(TimeoutError, FitError):
                fit.wait(LOOK_S)
        self._note(fit)

    def _note(self, fit: Fit | None) -> None:
        """Note how a fit ended, once."""
        if fit is not None and not fit.running and fit is not self._seen:
            self._seen = fit
            self._trace.fits.append(FitMark.of(fit, len(self._trace.agents)))

    def _look(self, now: int) -> None:
        """Ask about tasks that the router never learns from: nothing is logged, learnt or explored."""
        sure = []
        for name, probes in self._probes.items():
            found = [self.router.evaluate([task], [label]) for task, label in probes]
            self._trace.probed.setdefault(name, []).append((now, tuple(one.accuracy == 1.0 for one in found)))
            sure += [one.mean_confidence for one in found if one.mean_confidence is not None]
        if sure:
            self._trace.confidence.append((now, float(np.mean(sure))))

    def _record(self, delivery: Delivery) -> None:
        """Record by the decision while the caller has it, by its id when all that is left is a note of it."""
        decision = delivery.decision
        self.router.record(decision.decision_id if delivery.late else decision, delivery.outcome)
