"""Compares every outcome with what was expected, agent by agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.head.arrivals import Arrivals
from router_sdk_bert.head.drift import Watch, restarted, watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_sdk_bert.head.names import Names
    from router_sdk_bert.head.refit import Model
    from router_sdk_bert.head.rows import Row
    from router_sdk_bert.head.settings import HeadConfig

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
