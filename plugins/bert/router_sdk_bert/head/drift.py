"""Notices that an agent no longer does what it did, and that other agents are asked for than before.

When some agents' tasks stop coming and others' start, a model expects too much of the former and too little of the
latter though no agent does anything else than before. Its chances are corrected for that as for any shift of labels
(Saerens, Latinne and Decaestecker, 2002), with the frequencies counted rather than estimated, since labels are seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_sdk.numerics.change_detection import BernoulliCusum
from router_sdk_bert.head.rows import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.refit import Model
    from router_sdk_bert.head.rows import Names, Row

SPAN = 5.0
"""Labels for each agent that count as of late."""
PRIOR = 1.0
"""Labels that are taken to have come as often as the model expects, for each agent."""
KNOWN = 10
"""Rows about an agent at the last refit from which a task of its that goes elsewhere is a surprise."""


class LabelShift:
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


class DriftDetector:
    """What is kept of each agent to notice that it changed.

    Args:
        config: The head's configuration.

    Attributes:
        by_code: Evidence by the agent's code.
        label_shift: How often each is asked for.
    """

    def __init__(self, config: HeadConfig) -> None:
        self._config = config
        self.by_code: dict[int, BernoulliCusum] = {}
        self.label_shift = LabelShift()

    def alarms(
        self, row: Row, model: Model | None, names: Names, known: Mapping[int, int], *, exclusive: bool
    ) -> dict[int, int]:
        """Who turns out to have changed: positions in the log from which on that shows, by code.

        Args:
            row: A new outcome.
            model: What was expected.
            names: Codes of the agents.
            known: Rows about each agent that the model was made from.
            exclusive: Whether the model takes exactly one agent to be right.
        """
        threshold, found = self._config.change_threshold, {}
        if threshold is None or model is None or row.synthetic:
            return {}
        for code, expected, success in self._surprises(row, model, names, known, exclusive=exclusive):
            now = self.by_code.get(code, BernoulliCusum()).updated(expected, success, row.seq)
            if now.evidence > threshold:
                found[code] = now.since
                now = now.restarted()
            self.by_code[code] = now
        if row.labelled:
            self.label_shift.note(names.code(row.label), len(known))
        return found

    def forget(self, code: int) -> None:
        """Drop what is kept of an agent."""
        self.by_code.pop(code, None)
        self.label_shift.forget(code)

    def _surprises(
        self, row: Row, model: Model, names: Names, known: Mapping[int, int], *, exclusive: bool
    ) -> list[tuple[int, float, float]]:
        """Whom a row tests: code, chance that was expected, and success."""
        odds = model.logistic.odds(row.vector)
        if row.labelled and exclusive:
            odds += np.log(self.label_shift.ratios(model.columns, known))
        if exclusive:
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
        if known.get(right, 0) < KNOWN or not exclusive:
            # Nobody can be blamed for a task of somebody that the model could not know, but for what it did itself.
            acted = UNKNOWN if row.agent is None else names.code(row.agent)
            failed = row.reward is not None and acted in chance_of and acted != right
            return [(acted, chance_of[acted], row.reward or 0.0)] if failed else []
        return [(favourite, chance_of[favourite], 0.0), (right, 1.0, 0.0)]
