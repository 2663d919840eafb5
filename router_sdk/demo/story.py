"""The main job, end to end: route, take outcomes as they come, learn meanwhile, and see whether it helped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from router_sdk.demo.adaptation import LOOKS, Watch
from router_sdk.demo.contenders import HeuristicAlone
from router_sdk.demo.dataset_stream import dataset_stream
from router_sdk.demo.datasets import read_dataset
from router_sdk.demo.feedback import Delivery, FeedbackLoop
from router_sdk.demo.report import DemoReport
from router_sdk.demo.sessions import marketing_mix_stream
from router_sdk.demo.settings import DemoConfig
from router_sdk.demo.stream import Phase, Stream
from router_sdk.demo.summary import Trace, summarise
from router_sdk.errors import FitError, InvalidInputError
from router_sdk.plugins import FIRST_PARTY, PluginRegistry
from router_sdk.router import Router
from router_sdk.strategy import Strategy

Progress = Callable[[str, float], None]
"""Called with what is going on and the share of the stream that is done, in [0, 1]."""

REPORT_EVERY = 100
RETRAIN_EVERY = 300
"""Fresh examples that make a fit due: few enough to see some, enough for the gate to judge them."""
LOOK_S = 0.2

LEARN_EVERY = 10
"""Tasks after which the stream waits for the learner. Real agents take seconds, so that a learner keeps up; this stream
plays hours in seconds, and would otherwise show how fast the machine is instead of how well the router learns."""


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
