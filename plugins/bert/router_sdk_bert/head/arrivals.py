"""How often each agent is the one that was asked for of late, against how often the model saw it.

When some agents' tasks stop coming and others' start, a model expects too much of the former and too little of the
latter though no agent does anything else than before. Its chances are corrected for that as for any shift of labels
(Saerens, Latinne and Decaestecker, 2002), with the frequencies counted rather than estimated, since labels are seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

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
