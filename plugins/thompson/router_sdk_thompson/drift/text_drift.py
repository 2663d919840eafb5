"""Notices that an agent changed where texts decide: by what they foretold of it, and by its record whatever the text.

A posterior over words learns of a fall so quickly that its own surprise may stay small. The record is a moving average
(Roberts, 1959), which does not look at the text, so it takes more surprise than one over a single type of task: what
an agent is given changes as the policy learns.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from router_sdk.numerics.change_detection import bernoulli_residual
from router_sdk_thompson.drift.detectors import MISFIT, Detector, new_detector, restored_detector, threshold_of
from router_sdk_thompson.drift.fading import KEPT

if TYPE_CHECKING:
    from collections.abc import Collection

    from router_sdk_thompson.config import ThompsonConfig

MEMORY = 200.0
"""Outcomes that a record is made of at most."""


class TextDrift:
    """Two change detectors for each agent.

    Args:
        config: Which detectors, and how soon they call a change.
    """

    def __init__(self, config: ThompsonConfig) -> None:
        self._config = config
        self._by_text: dict[str, Detector] = {}
        self._by_record: dict[str, Detector] = {}
        self._records: dict[str, list[float]] = {}

    def update(self, agent: str, reward: float, by_text: float) -> bool:
        """Take one outcome in; True where the agent is no longer what it was.

        Args:
            agent: Who acted.
            reward: What came of it, in [0, 1].
            by_text: Reward less what the text foretold, in standard deviations.
        """
        threshold = threshold_of(self._config)
        if threshold is None:
            return False
        if agent not in self._records:
            self._by_text[agent], self._by_record[agent] = new_detector(self._config), new_detector(self._config)
            self._records[agent] = [self._config.prior_mass, self._config.prior_mean]
        record = self._records[agent]
        residual = bernoulli_residual(reward, record[1])
        fell = self._by_record[agent].update(residual, MISFIT * threshold) and residual < 0.0
        changed = self._by_text[agent].update(by_text, MISFIT * threshold) or fell
        count = min(record[0], KEPT) if changed else record[0]
        record[:] = min(count + 1.0, MEMORY), record[1] + (reward - record[1]) / (count + 1.0)
        return changed

    @property
    def alarms(self) -> dict[str, int]:
        """Changes found so far, by agent; who never changed is left out."""
        found = {name: self._by_text[name].alarms + self._by_record[name].alarms for name in self._records}
        return {name: count for name, count in found.items() if count}

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            if self._records.pop(name, None):
                del self._by_text[name], self._by_record[name]

    def state(self) -> dict[str, Any]:
        """What ``restored`` reads."""
        return {
            name: [self._by_text[name].state(), self._by_record[name].state(), record]
            for name, record in self._records.items()
        }

    @classmethod
    def restored(cls, state: dict[str, Any], config: ThompsonConfig) -> TextDrift:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a number is out of range.
            TypeError: if the state is not of that form.
        """
        watch = cls(config)
        for name, (by_text, by_record, (count, rate)) in state.items():
            if not (isfinite(count) and count >= 0.0 and 0.0 <= rate <= 1.0):
                raise ValueError("a record must be a count and a rate")
            watch._by_text[name] = restored_detector(config, by_text)
            watch._by_record[name] = restored_detector(config, by_record)
            watch._records[name] = [float(count), float(rate)]
        return watch
