"""Figures for Prometheus, correct with any number of workers.

What a worker counts itself (requests, decisions, outcomes, its queue) is kept in files of all workers together, by
``prometheus_client``'s own means; what the store knows (updates, fits, rollbacks, drift) is asked of it when somebody
scrapes. No label holds what callers make up: sessions, tenants and ids are none.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter as Counted
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from router_sdk import Decision, Outcome, Router
    from router_sdk_server.gateway.upstreams import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_UPSTREAM_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
_MOST_LABELS = 1_000
"""Sets of labels beyond which decisions are counted as of other agents."""
_STALE_S = 5.0

disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, which nothing reads


class Metrics:
    """What one worker counts.

    Args:
        folder: Where all workers count together; None where there is one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("router_requests", "Requests answered.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "router_request_seconds", "Time to answer.", ["path"], registry=registry, buckets=_SECONDS
        )
        self._decisions = Counter(
            "router_decisions", "Decisions.", ["agent", "strategy", "arm", "explored"], registry=registry
        )
        self._outcomes = Counter("router_outcomes", "Outcomes on disk.", ["origin"], registry=registry)
        self._unlogged = Gauge(
            "router_unlogged_decisions",
            "Decisions that were answered and not logged, because the queue was full.",
            multiprocess_mode="sum",
            registry=registry,
        )
        self._queue = Gauge(
            "router_queue_decisions",
            "Decisions that wait for the disk.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._lag = Gauge(
            "router_learner_lag_events",
            "Events that the slowest worker has not learnt yet.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._attempts = Counter(
            "router_upstream_attempts", "Agents asked by the gateway.", ["agent", "result"], registry=registry
        )
        self._first_bytes = Histogram(
            "router_upstream_first_byte_seconds",
            "Time to an upstream's first byte.",
            ["agent"],
            registry=registry,
            buckets=_UPSTREAM_SECONDS,
        )
        self._tokens = Counter("router_upstream_tokens", "Tokens told.", ["agent", "kind"], registry=registry)
        self._cost = Counter("router_upstream_cost_usd", "US dollars, as far as known.", ["agent"], registry=registry)
        self._known: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        self._of_the_store: list[Metric] = []
        self._asked_at = -_STALE_S

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        found = self._known.get((path, str(status)))
        if found is None:
            found = (self._requests.labels(path, str(status)), self._seconds.labels(path))
            self._known[path, str(status)] = found
        found[0].inc()
        found[1].observe(seconds)

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Decisions were made."""
        for decision in decisions:
            labels = (
                decision.agent or "",
                decision.strategy,
                decision.arm or "",
                "true" if decision.explored else "false",
            )
            found = self._known.get(labels)
            if found is None:
                if len(self._known) >= _MOST_LABELS:
                    labels = ("(other)", *labels[1:])
                found = self._known[labels] = self._decisions.labels(*labels)
            found.inc()

    def recorded(self, outcome: Outcome, count: int) -> None:
        """So many outcomes are on disk."""
        self._outcomes.labels(outcome.origin or "").inc(count)

    def upstream(
        self, agent: str, result: str, first_byte_s: float | None, usage: Usage | None, cost_usd: float | None
    ) -> None:
        """An agent was asked by the gateway.

        Args:
            agent: Who.
            result: ``answered``, ``failed``, ``refused`` (the request), ``cut_off`` or ``cancelled``.
            first_byte_s: Time to its first byte, where there was one.
            usage: Its tokens, where it told.
            cost_usd: What it cost, where that is known.
        """
        self._attempts.labels(agent, result).inc()
        if first_byte_s is not None:
            self._first_bytes.labels(agent).observe(first_byte_s)
        if usage is not None:
            self._tokens.labels(agent, "input").inc(usage.input - usage.cached)
            self._tokens.labels(agent, "cached_input").inc(usage.cached)
            self._tokens.labels(agent, "output").inc(usage.output)
        if cost_usd is not None:
            self._cost.labels(agent).inc(cost_usd)

    def look(self, router: Router) -> None:
        """Note how long a worker's queue is, and how far behind the log it has learnt."""
        backlog = router.backlog()
        self._queue.set(float(backlog["waiting"]))
        self._unlogged.set(float(backlog["unlogged"]))
        self._lag.set(float(backlog["lag"]))

    def text(self, router: Router) -> bytes:
        """All figures, in Prometheus's text format."""
        self.look(router)
        scraped = CollectorRegistry()
        scraped.register(_Found(self._store_figures(router)))
        return self.counted() + generate_latest(scraped)

    def counted(self) -> bytes:
        """What all workers have counted, in the same format."""
        registry = self._registry
        if self._folder is not None:
            self._forget_the_dead()
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        told: bytes = generate_latest(registry)
        return told

    def _forget_the_dead(self) -> None:
        """A worker that was killed has no queue any more; what it counted stays."""
        assert self._folder is not None
        for file in self._folder.glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                with suppress(OSError):
                    mark_process_dead(pid, path=str(self._folder))  # type: ignore[no-untyped-call]
            except OSError:
                continue

    def _store_figures(self, router: Router) -> list[Metric]:
        with self._lock:
            if time.monotonic() - self._asked_at >= _STALE_S:
                self._of_the_store = list(store_figures(router))
                self._asked_at = time.monotonic()
            return self._of_the_store


class _Found:
    """Figures that are known already, as a collector."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def store_figures(router: Router) -> Iterator[Metric]:
    """What the store knows, equal in every worker that has learnt as much of it."""
    told, status = router.statistics(), router.status(last=1)
    counters = {
        "router_updates": ("Updates of what was learnt.", told["total_updates"]),
        "router_updates_failed": ("Updates that failed.", told["failed_updates"]),
        "router_samples_processed": ("Outcomes that were learnt.", told["samples_processed"]),
        "router_rollbacks": ("Times that a version was taken back.", told["rollbacks"]),
        "router_gate_violations": ("Candidates refused, and rollbacks by itself.", told["violations"]),
        "router_dead_letters": ("What was refused, and kept with the reason.", status["store"]["dead_letters"]),
    }
    for name, (words, value) in counters.items():
        yield CounterMetricFamily(name, words, value=float(value))
    fits = CounterMetricFamily("router_fits", "Fits that ended.", labels=["state"])
    for state, count in (
        ("promoted", told["retrain_count"]),
        ("refused", told["refused_fits"]),
        ("failed", told["failed_fits"]),
    ):
        fits.add_metric([state], float(count))
    yield fits
    changes = CounterMetricFamily("router_champion_changes", "Times that what serves changed.", labels=["strategy"])
    serving = GaugeMetricFamily("router_serving_version", "Version that serves; 0 is without any.", labels=["strategy"])
    for stage in status["strategies"]:
        changes.add_metric([stage["name"]], float(len(router.models.history(stage["name"]))))
        serving.add_metric([stage["name"]], float(stage["model_version"] or 0))
    yield from (changes, serving)
    gauges = {
        "router_update_mean_seconds": ("Mean time of an update.", _over(told["avg_update_time_ms"], 1_000)),
        "router_model_score": ("Mean reward of the last 100 outcomes.", told["current_model_score"]),
        "router_improvement_rate": ("Relative to the 100 before.", told["improvement_rate"]),
        "router_outcomes_pending": ("Outcomes that wait for their decision.", status["store"]["pending"]),
        "router_agents_available": ("Agents that get traffic.", len(status["agents"]["available"])),
        "router_alerts": ("Figures beyond their threshold.", len(status["alerts"])),
        "router_broken_learners": ("Folds that cannot go on.", len(status["learner"]["broken"])),
    }
    for name, (words, value) in gauges.items():
        if value is not None:  # unknown is not zero
            yield GaugeMetricFamily(name, words, value=float(value))
    saved = GaugeMetricFamily("router_saved_usd", "US dollars less than a baseline.", labels=["baseline"])
    for baseline, found in told["savings"].items():
        if found["saved_usd"] is not None:
            saved.add_metric([baseline], found["saved_usd"])
    yield saved
    drift = GaugeMetricFamily("router_drift", "Whether tasks, choices or agents are not as they were.", labels=["of"])
    for of, name in (("choices", "prediction_drift"), ("tasks", "input_drift"), ("agents", "residual_change")):
        drift.add_metric([of], float(bool(status["drift"].get(name))))
    yield drift
    scores = CounterMetricFamily("router_quality_scores", "Scores where nobody judged.", labels=["scorer"])
    for scorer in status["quality"]["scorers"]:
        scores.add_metric([scorer], float(status["quality"]["said"].get(scorer, {"parts": 0})["parts"]))
    yield scores
    yield from _experiment_figures(router, status["experiments"])
    yield from _stream_figures(status["streams"])


def _experiment_figures(router: Router, now: Sequence[dict[str, Any]]) -> Iterator[Metric]:
    """How many experiments there were by verdict, and how far those are that run; names are those of who began them."""
    running = [one for one in now if one["status"] == "running"]
    yield GaugeMetricFamily("router_experiments_running", "Experiments that run.", value=float(len(running)))
    ended = CounterMetricFamily("router_experiments_ended", "Experiments that ended.", labels=["verdict"])
    for verdict, count in sorted(
        Counted(one.verdict for one in router.experiments.list() if one.verdict is not None).items()
    ):
        ended.add_metric([verdict], float(count))
    yield ended
    of_an_arm = ["experiment", "arm"]
    share = GaugeMetricFamily("router_experiment_share", "What an arm gets of the units.", labels=of_an_arm)
    units = GaugeMetricFamily("router_experiment_units", "Units of an arm that count.", labels=of_an_arm)
    needed = GaugeMetricFamily("router_experiment_units_needed", "Units until a verdict.", labels=["experiment"])
    behind = GaugeMetricFamily("router_experiment_arms_behind", "Arms that cannot serve here.", labels=["experiment"])
    for one in running:
        for arm, value in one["shares"].items():
            share.add_metric([one["name"], arm], value)
        for arm, value in (one["closed"] or {}).items():
            units.add_metric([one["name"], arm], float(value))
        if one["units_needed"] is not None:  # unknown is not zero
            needed.add_metric([one["name"]], float(one["units_needed"]))
        behind.add_metric([one["name"]], float(len(one["behind"])))
    yield from (share, units, needed, behind)


def _stream_figures(streams: Sequence[dict[str, Any]]) -> Iterator[Metric]:
    """How processes do on streams, together by stream; what one says that is not heard of any more is its last word."""
    behind = GaugeMetricFamily("router_stream_behind_messages", "Messages that are still to come.", labels=["stream"])
    rate = GaugeMetricFamily("router_stream_messages_per_second", "Over the last minute.", labels=["stream"])
    waiting = GaugeMetricFamily("router_stream_waiting", "Processes that cannot read it now.", labels=["stream"])
    for stream in sorted({one["stream"] for one in streams}):
        said = [one for one in streams if one["stream"] == stream]
        live = [one for one in said if one["state"] != "ended"]
        newest = max(said, key=lambda one: float(one["at"]))
        if newest["behind"] is not None:  # unknown is not zero
            behind.add_metric([stream], float(newest["behind"]))
        rate.add_metric([stream], float(sum(one["rate"] for one in live)))
        waiting.add_metric([stream], float(sum(one["state"] == "waiting" for one in live)))
    yield from (behind, rate, waiting)


def _over(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor
