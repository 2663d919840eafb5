"""Replay what was learnt worst more often."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.replay.buffer import DEFAULT_CAPACITY, ReplayDraw, S, category_of
from router_sdk.replay.reservoir import ReservoirBuffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALLEST = 1e-6
"""Added to every priority, so that nothing is never replayed."""


class PrioritizedBuffer(ReservoirBuffer[S]):
    """Draws in proportion to priority: usually the loss that a sample had when it was last trained on.

    Schaul et al., "Prioritized Experience Replay", ICLR 2016, the proportional variant: ``P(i) = p_i^alpha / Σ
    p^alpha`` with importance weights ``(N P(i))^-beta``, divided by the largest. What was never trained on has the
    largest priority seen. The paper keeps a sliding window; here the reservoir decides what is kept,
    because a window would forget what replay is there to preserve.

    Args:
        capacity: Most samples kept.
        alpha: How much priority matters, in [0, 1]; 0 draws each alike.
        beta: How much of the bias that this brings the weights correct, in [0, 1].
        balanced: Give all categories the same room.
        category: What category a sample is of.
        seed: Another seed keeps another sample.

    Raises:
        InvalidConfigError: if ``capacity`` is below 1, or ``alpha`` or ``beta`` outside [0, 1].
    """

    def __init__(
        self,
        capacity: int = DEFAULT_CAPACITY,
        *,
        alpha: float = 0.6,
        beta: float = 0.4,
        balanced: bool = False,
        category: Callable[[S], Hashable] = category_of,
        seed: int = 0,
    ) -> None:
        super().__init__(capacity, balanced=balanced, category=category, seed=seed)
        if not (0.0 <= alpha <= 1.0 and 0.0 <= beta <= 1.0):
            raise InvalidConfigError(f"replay buffer: alpha and beta must lie in [0, 1], got {alpha} and {beta}")
        self.alpha, self.beta = alpha, beta
        self._raised: dict[str, float] = {}
        self._largest = 1.0
        self._table: tuple[list[S], NDArray[np.float64]] | None = None
        self._places: dict[str, int] = {}

    def add_samples(self, samples: Iterable[S]) -> None:
        """Offer samples; one that is new or corrected gets the largest priority."""
        for sample in samples:
            self._offer(sample)
            if sample.decision_id in self._samples:
                self._raised[sample.decision_id] = self._largest
        self._table = None

    def _drop(self, decision_id: str) -> None:
        super()._drop(decision_id)
        self._raised.pop(decision_id, None)  # who comes may be who goes
        self._table = None

    def update_priorities(self, decision_ids: Sequence[str], priorities: Iterable[float]) -> None:
        """Note how badly these were learnt, such as by their losses; decisions no longer kept are ignored.

        Raises:
            InvalidInputError: if a priority is negative or not finite, or there are not as many as ids.
        """
        import numpy as np

        given = np.fromiter(priorities, dtype=np.float64)
        if len(given) != len(decision_ids) or not np.all(np.isfinite(given)) or (given < 0.0).any():
            raise InvalidInputError("replay buffer: give each decision a finite priority of at least 0")
        for decision_id, priority in zip(decision_ids, given.tolist(), strict=True):
            if decision_id in self._samples:
                raised = self._raised[decision_id] = (priority + SMALLEST) ** self.alpha
                self._largest = max(self._largest, raised)
                if self._table is not None:
                    self._table[1][self._places[decision_id]] = raised

    def sample(self, n: int, rng: np.random.Generator) -> ReplayDraw[S]:
        """Draw ``n`` samples with replacement, one from each of ``n`` strata of equal mass, as the paper does.

        Empty where the buffer is.
        """
        import numpy as np

        kept, raised = self._listed()
        if not kept:
            return ReplayDraw((), np.ones(0))
        chances = raised / raised.sum()
        strata = (np.arange(n) + rng.random(n)) / max(n, 1)
        drawn = np.minimum(np.searchsorted(np.cumsum(chances), strata, side="right"), len(kept) - 1)
        weights = (len(kept) * chances[drawn]) ** -self.beta
        return ReplayDraw(tuple(kept[i] for i in drawn), weights / weights.max(initial=SMALLEST))

    def _listed(self) -> tuple[list[S], NDArray[np.float64]]:
        """The samples and their raised priorities in one order, kept until the content changes."""
        import numpy as np

        if self._table is None:
            self._places = {decision_id: place for place, decision_id in enumerate(self._samples)}
            raised = [self._raised[decision_id] for decision_id in self._samples]
            self._table = (list(self._samples.values()), np.array(raised, dtype=np.float64))
        return self._table
