"""Notices that an agent no longer does what it did, and that other agents are asked for than before."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.refit import Model
    from router_sdk_bert.head.rows import Names, Row


RECORD = 0.99
"""What an outcome in the running record still counts for after the next one."""
LOWEST, HIGHEST = 0.05, 0.98
"""Chances of success are taken to lie between these."""
FALL = 0.5
"""What a changed agent's chances are taken to have fallen to, as a share."""


class Watch(NamedTuple):
    """What is kept of one agent.

    Attributes:
        evidence: That it fell, in nats.
        since: Position in the log from which on it speaks for a fall.
        good: Discounted successes.
        seen: Discounted outcomes.
        alarms: Changes found so far.
    """

    evidence: float = 0.0
    since: int = 0
    good: float = 1.0
    seen: float = 2.0
    alarms: int = 0


def watch(before: Watch, expected: float, success: float, position: int) -> Watch:
    """Take one outcome in.

    Args:
        before: What was known.
        expected: Chance of success that the model gave, in [0, 1].
        success: How well it went, in [0, 1].
        position: The outcome's position in the log.
    """
    chance = min(max(min(expected, before.good / before.seen), LOWEST), HIGHEST)
    fallen = FALL * chance
    ratio = success * log(fallen / chance) + (1.0 - success) * log((1.0 - fallen) / (1.0 - chance))
    evidence = before.evidence + ratio
    since = before.since if before.evidence > 0.0 else position
    if evidence <= 0.0:
        evidence, since = 0.0, position
    return Watch(evidence, since, RECORD * before.good + success, RECORD * before.seen + 1.0, before.alarms)


def restarted(before: Watch) -> Watch:
    """After an alarm: nothing is known of the agent but how often it changed."""
    return Watch(alarms=before.alarms + 1)


SPAN = 5.0
"""Labels for each agent that count as of late."""
PRIOR = 1.0
"""Labels that are taken to have come as often as the model expects, for each agent."""


class Arrivals:
    """Discounted counts of labels.

    Attributes:
        counts: By the agent's code, shape ``(codes,)``.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(0)

    def note(self, code: int, agents: int) -> None:
        """Count one label.

        Args:
            code: Whose it is.
            agents: Of how many agents there are outcomes, so that what is late for few is not for many.
        """
        if code >= len(self.counts):
            self.counts = np.append(self.counts, np.zeros(code + 1 - len(self.counts)))
        self.counts *= 1.0 - 1.0 / (SPAN * max(agents, 1))
        self.counts[code] += 1.0

    def ratios(self, columns: NDArray[np.intp], known: Mapping[int, int]) -> NDArray[np.float64]:
        """How many times as often as the model expects each agent came up, shape ``(k,)``; 1 where nothing is known.

        Args:
            columns: Codes of the agents.
            known: Rows about each agent that the model was made from.
        """
        seen = np.array([known.get(code, 0) for code in columns.tolist()], dtype=np.float64)
        came = np.append(self.counts, np.zeros(max(int(columns.max()) + 1 - len(self.counts), 0)))[columns]
        expected = came.sum() * seen / max(seen.sum(), 1.0)
        ratios: NDArray[np.float64] = (came + PRIOR) / (expected + PRIOR)
        return ratios

    def forget(self, code: int) -> None:
        """Drop an agent's count."""
        if code < len(self.counts):
            self.counts[code] = 0.0


KNOWN = 10
"""Rows about an agent at the last refit from which a task of its that goes elsewhere is a surprise."""


class Watches:
    """What is kept of each agent to notice that it changed.

    Args:
        config: The head's configuration.

    Attributes:
        by_code: Evidence by the agent's code.
        arrivals: How often each is asked for.
    """

    def __init__(self, config: HeadConfig) -> None:
        self._config = config
        self.by_code: dict[int, Watch] = {}
        self.arrivals = Arrivals()

    def alarms(self, row: Row, model: Model | None, names: Names, known: Mapping[int, int]) -> dict[int, int]:
        """Who turns out to have changed: positions in the log from which on that shows, by code.

        Args:
            row: A new outcome.
            model: What was expected.
            names: Codes of the agents.
            known: Rows about each agent that the model was made from.
        """
        threshold, found = self._config.change_threshold, {}
        if threshold is None or model is None or row.synthetic:
            return {}
        for code, expected, success in self._surprises(row, model, names, known):
            now = watch(self.by_code.get(code, Watch()), expected, success, row.seq)
            if now.evidence > threshold:
                found[code] = now.since
                now = restarted(now)
            self.by_code[code] = now
        if row.labelled:
            self.arrivals.note(names.code(row.label), len(known))
        return found

    def forget(self, code: int) -> None:
        """Drop what is kept of an agent."""
        self.by_code.pop(code, None)
        self.arrivals.forget(code)

    def _surprises(
        self, row: Row, model: Model, names: Names, known: Mapping[int, int]
    ) -> list[tuple[int, float, float]]:
        """Whom a row tests: code, chance that was expected, and success."""
        odds = model.surface.odds(row.vector)
        if row.labelled and self._config.labels == "exclusive":
            odds += np.log(self.arrivals.ratios(model.columns, known))
        if self._config.labels == "exclusive":
            chances = np.exp(odds - odds.max())
            chances /= chances.sum()
        else:
            chances = 1.0 / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0)))
        chance_of = dict(zip(model.columns.tolist(), chances.tolist(), strict=True))
        if not row.labelled:
            acted = names.code(row.agent)
            return [(acted, chance_of.get(acted, 1.0), row.reward or 0.0)]
        right = names.code(row.label)
        favourite = int(model.columns[int(np.argmax(odds))])
        if favourite == right:
            return [(right, chance_of[right], 1.0)]
        if known.get(right, 0) < KNOWN or self._config.labels == "independent":
            # Nobody can be blamed for a task of somebody that the model could not know.
            return []
        return [(favourite, chance_of[favourite], 0.0), (right, 1.0, 0.0)]
