"""The main job, end to end: route, take outcomes as they come, learn meanwhile, and see whether it helped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from router_sdk.demo.datasets import dataset_stream, read_dataset
from router_sdk.demo.marketing_mix import marketing_mix_stream
from router_sdk.demo.report import Adaptation, DemoReport, FitMark, Latency, Trace, summarise
from router_sdk.demo.stream import Delivery, FeedbackLoop, Phase, Probe, Stream, StreamItem
from router_sdk.demo.table import MAX_BAD_LINES
from router_sdk.errors import FitError, InvalidInputError
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.plugins import FIRST_PARTY, PluginRegistry
from router_sdk.router import Router
from router_sdk.strategy import Strategy

if TYPE_CHECKING:
    from router_sdk.training.fit import Fit

LOOKS = 6
"""How often each phase is interrupted to ask about the probes."""

Progress = Callable[[str, float], None]
"""Called with what is going on and the share of the stream that is done, in [0, 1]."""
REPORT_EVERY = 100
RETRAIN_EVERY = 300
"""Fresh examples that make a fit due: few enough to see some, enough for the gate to judge them."""
LOOK_S = 0.2
LEARN_EVERY = 10
"""Tasks after which the stream waits for the learner. Real agents take seconds, so that a learner keeps up; this stream
plays hours in seconds, and would otherwise show how fast the machine is instead of how well the router learns."""


class DemoConfig(BaseModel):
    """Configuration of ``run_demo``; unknown keys are errors.

    Args:
        data: A JSONL or CSV file of tasks to play instead of the scenario.
        mapping: Where its text and label stand, where the usual names do not find them.
        split: Play only rows whose ``split`` column says so.
        warm_start: Labelled texts per agent that are given away as examples before the stream starts.
        max_tasks: Longest stream that is drawn from the file.
        max_bad_lines: Malformed lines that are set aside before the file is refused.
        sessions: Sessions of the scenario, over both of its phases.
        past_sessions: Synthetic sessions of the scenario to pre-train on, where a strategy of the chain is fitted.
        strictness: Of the scenario's second analyst, in [0, 1].
        strategies: The chain; None takes those of bert, thompson and heuristic that can serve here.
        seed: Of the stream, the router and the fate of each outcome.
        store: SQLite file to keep, which must not exist yet; None plays in a temporary folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Path | None = None
    mapping: ColumnMapping | None = None
    split: str | None = None
    warm_start: int = Field(default=20, ge=0)
    max_tasks: int = Field(default=10_000, ge=1)
    max_bad_lines: int = Field(default=MAX_BAD_LINES, ge=0)
    sessions: int = Field(default=240, ge=20)
    past_sessions: int = Field(default=100, ge=0)
    strictness: float = Field(default=1.0, ge=0.0, le=1.0)
    strategies: tuple[str, ...] | None = None
    seed: int = Field(default=0, ge=0)
    store: Path | None = None


class HeuristicAlone:
    """Ranks tasks with the heuristic strategy and nothing else; it neither explores nor learns.

    Args:
        stream: Whose agents and rules to use.
    """

    def __init__(self, stream: Stream) -> None:
        settings: Mapping[str, object] = stream.strategy.get("heuristic", {})
        self._router = Router(
            agents=stream.agents, strategies=[("heuristic", settings)], store=":memory:", learning=False
        )

    def choices(self, items: Sequence[StreamItem]) -> list[str | None]:
        """The favourite for each task; None where it says that no agent fits."""
        ranked = (self._router.rank(item.task, top_k=1) for item in items)
        return [found[0].agent if found else None for found in ranked]

    def close(self) -> None:
        """Release the router."""
        self._router.close()


@dataclass(slots=True)
class Watch:
    """Asks the router about tasks that it never learns from, and notes what fits do.

    Args:
        router: Whom to ask; nothing is logged, learnt or explored.
        probes: Tasks with their right agents, by the kind of session they come from.
    """

    router: Router
    probes: Mapping[str, Sequence[Probe]]
    accuracy: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    confidence: list[tuple[int, float]] = field(default_factory=list)
    fits: list[FitMark] = field(default_factory=list)
    _seen: Fit | None = None

    def look(self, now: int) -> None:
        """Note the accuracy after ``now`` tasks."""
        sure = []
        for name, probes in self.probes.items():
            found = self.router.evaluate([task for task, _ in probes], [label for _, label in probes])
            self.accuracy.setdefault(name, []).append((now, found.accuracy))
            if found.mean_confidence is not None:
                sure.append(found.mean_confidence)
        if sure:
            self.confidence.append((now, float(np.mean(sure))))

    def note_fit(self, now: int, fit: Fit | None) -> None:
        """Note how a fit ended, once."""
        if fit is None or fit.running or fit is self._seen:
            return
        self._seen = fit
        version = fit.version
        seconds = 0.0 if version is None else float(version.metrics.get("duration_s", 0.0))
        number = None if version is None else version.version
        self.fits.append(FitMark(now, fit.reason, fit.state, number, seconds, fit.words))

    def report(self, route_ns: Sequence[int], fitting: Sequence[bool]) -> Adaptation:
        """Sum up."""
        times, busy = np.array(route_ns) / 1e3, np.array(fitting, dtype=bool)
        return Adaptation(
            accuracy={name: tuple(points) for name, points in self.accuracy.items()},
            confidence=tuple(self.confidence),
            fits=tuple(self.fits),
            idle=_latency(times[~busy]),
            during_fits=_latency(times[busy]),
        )


def _latency(times: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Latency | None:
    if not len(times):
        return None
    p50, p99 = np.percentile(times, [50.0, 99.0])
    return Latency(len(times), float(p50), float(p99), float(times.max()))


def run_demo(config: DemoConfig, progress: Progress = lambda words, share: None) -> DemoReport:
    """Play the demonstration on a real router, with a store on disk and the asynchronous learner.

    Args:
        config: What to play.
        progress: Told how far it is.

    Raises:
        InvalidInputError: if the data file cannot serve, or ``config.store`` exists already.
        UnknownStrategyError: if a strategy of the chain is not installed.
    """
    started = time.perf_counter()
    if config.store is not None and config.store.exists():
        raise InvalidInputError(f"{config.store}: exists already; the demonstration needs a store of its own")
    progress("preparing the stream", 0.0)
    chain = config.strategies or installed_chain()
    stream = load_stream(config, words=needs_words(chain))
    with tempfile.TemporaryDirectory(prefix="router-demo-", ignore_cleanup_errors=True) as folder:
        story = Story(stream, chain, config, config.store or Path(folder) / "router.db", progress)
        try:
            story.pretrain()
            for phase in stream.phases:
                story.play(phase)
            return story.report(time.perf_counter() - started)
        finally:
            story.close()


def load_stream(config: DemoConfig, *, words: bool) -> Stream:
    """The stream that a configuration asks for: a file's tasks, or the scenario's.

    Args:
        config: What to play.
        words: Whether the scenario's states are told in words, too, and synthetic sessions lie in the past.

    Raises:
        InvalidInputError: if the data file cannot serve.
    """
    if config.data is None:
        return marketing_mix_stream(
            config.sessions,
            strictness=config.strictness,
            seed=config.seed,
            past_sessions=config.past_sessions if words else 0,
            words=words,
        )
    dataset = read_dataset(config.data, mapping=config.mapping, split=config.split, max_bad_lines=config.max_bad_lines)
    return dataset_stream(dataset, warm_start=config.warm_start, max_tasks=config.max_tasks, seed=config.seed)


def installed_chain() -> tuple[str, ...]:
    """Those of the first-party strategies that are installed."""
    known = PluginRegistry.load().strategies
    return tuple(name for name in FIRST_PARTY if name in known)


def needs_words(chain: Sequence[str]) -> bool:
    """Whether a strategy of the chain is fitted; such a one reads texts."""
    known = PluginRegistry.load().strategies
    return any(name in known and known[name].fit is not Strategy.fit for name in chain)


class Story:
    """One router on one stream.

    Args:
        stream: What is played.
        chain: Names of the strategies.
        config: How.
        store: The router's SQLite file.
        progress: Told how far it is.
    """

    def __init__(
        self, stream: Stream, chain: Sequence[str], config: DemoConfig, store: Path, progress: Progress
    ) -> None:
        self._stream = stream
        self._config = config
        self._progress = progress
        self._total = sum(len(phase.items) for phase in stream.phases)
        self._trace = Trace()
        self._feedback = FeedbackLoop(np.random.default_rng([config.seed, 1]))
        self._router = Router(
            agents=stream.agents,
            strategies=[(name, stream.strategy.get(name, {})) for name in chain],
            store=store,
            seed=config.seed,
            retrain_interval=RETRAIN_EVERY,
            retrain_cooldown_seconds=0.0,
        )
        self._heuristic = HeuristicAlone(stream)
        self._watch = Watch(self._router, stream.probes if needs_words(chain) else {})

    def pretrain(self) -> None:
        """Fit a first version from the sessions of the past, where there are any."""
        past = self._stream.past
        if not past:
            return
        fit = self._router.models.pretrain([task for task, _ in past], [label for _, label in past], wait=False)
        while fit.running:
            self._progress(f"pre-training on {len(past):,} synthetic turns: {fit.words}", 0.0)
            with suppress(TimeoutError, FitError):
                fit.wait(LOOK_S)
        self._watch.note_fit(0, fit)

    def play(self, phase: Phase) -> None:
        """Route a phase's tasks while their outcomes drift in; at its end, wait until all is learnt."""
        router, trace, watch = self._router, self._trace, self._watch
        look_every = max(1, len(phase.items) // LOOKS)
        for number, item in enumerate(phase.items):
            now = len(trace.agents)
            if number % look_every == 0:
                watch.look(now)
            trace.fitting.append(router.models.newest_fit is not None and router.models.newest_fit.running)
            before = time.perf_counter_ns()
            decision = router.route(item.task)
            trace.route_ns.append(time.perf_counter_ns() - before)
            trace.agents.append(decision.agent)
            trace.strategies.append(decision.strategy)
            trace.explored.append(decision.explored)
            self._feedback.send(decision, item.outcome(decision.agent), now)
            for delivery in self._feedback.due(now):
                self._record(delivery)
            if now % LEARN_EVERY == LEARN_EVERY - 1:
                router.flush()
            watch.note_fit(now, router.models.newest_fit)
            if now % REPORT_EVERY == 0:
                self._progress(phase.name, now / self._total)
        trace.heuristic += self._heuristic.choices(phase.items)
        for delivery in self._feedback.due():
            self._record(delivery)
        router.flush()
        if (fit := router.models.newest_fit) is not None:
            with suppress(FitError):
                fit.wait()
        watch.note_fit(len(trace.agents), router.models.newest_fit)
        watch.look(len(trace.agents))

    def report(self, seconds: float) -> DemoReport:
        """What came of it."""
        self._progress("summing up", 1.0)
        statistics = self._router.statistics()
        return summarise(
            self._stream,
            self._trace,
            seconds=seconds,
            seed=self._config.seed,
            events={
                "decisions": len(self._trace.agents),
                "outcome messages": self._feedback.messages,
                "examples": int(statistics["total_examples"]),
                "updates": int(statistics["total_updates"]),
            },
            feedback=self._feedback.kinds,
            notes=self._stream.notes,
            adaptation=self._watch.report(self._trace.route_ns, self._trace.fitting),
        )

    def close(self) -> None:
        """Close both routers."""
        self._heuristic.close()
        self._router.close()

    def _record(self, delivery: Delivery) -> None:
        """Record by the decision while the caller has it, by its id when all that is left is a note of it."""
        decision = delivery.decision
        self._router.record(decision.decision_id if delivery.late else decision, delivery.outcome)
