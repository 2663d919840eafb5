"""Figures beyond their thresholds become alerts: told once an episode, which ends well behind the threshold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.learning.drift import TEXT
from router_sdk.learning.pace import Every
from router_sdk.records import DEFAULT_TASK_TYPE, Alert
from router_sdk.spelling import counted
from router_sdk.store.events import update_health

if TYPE_CHECKING:
    from router_sdk.learning.drift import Drift
    from router_sdk.learning.performance import Performance
    from router_sdk.loop_settings import DriftConfig
    from router_sdk.plugins import PluginRegistry
    from router_sdk.store import Store

EVERY_S = 5.0
"""Time between two looks."""
LEAST = 20
"""Updates, or outcomes of an agent, from which a share of them says something."""
BEYOND_CHANCE = 4.0
"""Standard errors by which rewards must have fallen: where one looks again and again, and nothing changes, that comes
about once in some 300,000 outcomes."""
BEHIND = 0.8
"""Share of the threshold below which a figure must fall for its episode to end."""

_log = logging.getLogger(__name__)

_Key = tuple[str, str | None]


class Figure(NamedTuple):
    """What is compared with a threshold.

    Attributes:
        name: As in ``Alert``.
        subject: As in ``Alert``.
        value: What it is now.
        threshold: Beyond which an episode begins.
        words: What to say of it.
        begins: Whether it is beyond.
        lasts: Whether it is not yet well behind.
        since: The log's time at which that was noticed; None where the log does not tell.
    """

    name: str
    subject: str | None
    value: float
    threshold: float
    words: str
    begins: bool
    lasts: bool
    since: float | None = None


class Alerts:
    """Looks at the figures from time to time, on the learner's thread.

    Args:
        config: The thresholds.
        store: The log, for how updates went.
        performance: How the routing does.
        drift: What changed.
        plugins: Who is told.
        more: Figures from elsewhere.
    """

    def __init__(
        self,
        config: DriftConfig,
        store: Store,
        performance: Performance,
        drift: Drift,
        plugins: PluginRegistry,
        more: Callable[[], Iterable[Figure]] = tuple,
    ) -> None:
        self._config, self._store, self._plugins = config, store, plugins
        self._performance, self._drift, self._more = performance, drift, more
        self._raised: dict[_Key, Alert] = {}
        self._due = Every(EVERY_S, at_once=True)

    def look(self, *, now: bool = False) -> None:
        """Tell of what began since the last look; unless it is to be ``now``, some seconds lie between two."""
        if not self._config.enabled or not (now or self._due.due()):
            return
        before, self._raised = self._raised, self._current()
        for key in self._raised.keys() - before.keys():
            _log.info("%s", self._raised[key].words)
            self._plugins.notify("on_drift", alert=self._raised[key])
        for key in before.keys() - self._raised.keys():
            _log.info("over: %s", before[key].words)

    def status(self) -> list[dict[str, Any]]:
        """The alerts of this moment as JSON values, the oldest first; any thread may ask."""
        if not self._config.enabled:
            return []
        return [alert.to_dict() for alert in sorted(self._current().values(), key=lambda one: (one.since, one.name))]

    def _current(self) -> dict[_Key, Alert]:
        raised, found = self._raised, {}
        for figure in self._figures():
            key = (figure.name, figure.subject)
            known = raised.get(key)
            if figure.begins or (known is not None and figure.lasts):
                since = known.since if known is not None else figure.since or time.time()
                found[key] = Alert(*key, figure.value, figure.threshold, since, figure.words)
        return found

    def _figures(self) -> Iterator[Figure]:
        yield from self._more()
        yield from self._of_updates()
        yield from self._of_rewards()
        report = self._drift.report()
        for name, record in report["agents"].items():
            yield from self._of_agent(name, record)
        for name, told, what, unit in (
            ("prediction_drift", report["predictions"], _other_favourites, "nats"),
            ("input_drift", report["inputs"], _other_tasks, "standard deviations"),
        ):
            for subject, one in told.items():
                if one["differs"]:
                    words = f"{what(subject)}: {one['value']:.2f} {unit} apart, the limit is {one['limit']:.2f}"
                    yield Figure(name, subject, one["value"], one["limit"], words, True, True, one["since"])

    def _of_updates(self) -> Iterator[Figure]:
        share, slow = self._config.failed_updates, self._config.slow_updates_ms
        count, failed, mean_ms = self._store.reader.query(update_health)
        if count < LEAST:
            return
        if share is not None:
            words = f"{failed:.1%} of the newest {count:,} updates failed, see router status"
            yield Figure("failed_updates", None, failed, share, words, *_above(failed, share))
        if slow is not None:
            words = f"an update takes {mean_ms:,.0f} ms on average"
            yield Figure("slow_updates", None, mean_ms, slow, words, *_above(mean_ms, slow))

    def _of_rewards(self) -> Iterator[Figure]:
        least = self._config.improvement_rate
        rate, errors = self._performance.improvement()
        if least is not None and rate is not None:
            words = f"the last 100 outcomes earned {-rate:.1%} less than the 100 before"
            begins = rate < least and errors < -BEYOND_CHANCE
            yield Figure("improvement_rate", None, rate, least, words, begins, rate < BEHIND * least)

    def _of_agent(self, name: str, record: dict[str, Any]) -> Iterator[Figure]:
        most, threshold = self._config.agent_failures, self._config.residual_threshold
        failures = record["failures"]
        if most is not None and record["outcomes"] >= LEAST:
            words = f"{name} failed {failures:.0%} of its newest {counted(record['outcomes'], 'task')}"
            yield Figure("agent_failures", name, failures, most, words, *_above(failures, most))
        if threshold is not None and record["changed"]:
            words = (
                f"{name} does {record['direction']} than was foretold of it: {record['residual']:+.2f} reward lately"
            )
            yield Figure("residual_change", name, record["residual"], 0.0, words, True, True, record["since"])


def _other_favourites(task_type: str) -> str:
    which = "all tasks" if task_type == DEFAULT_TASK_TYPE else f"tasks of the type {task_type}"
    return f"on {which} the router favours other agents than before"


def _other_tasks(source: str) -> str:
    if source == TEXT:
        return "tasks have other words, or features, than before"
    return f"tasks are about other things than before, as {source} reads them"


def _above(value: float, threshold: float) -> tuple[bool, bool]:
    return value > threshold, value > BEHIND * threshold
