"""What requests read of posteriors: scores from contiguous arrays, and how these are published without waiting.

A score needs one matrix-vector product per agent, and it is memory that such a product waits for. So what requests
read is single precision, which halves it; what learns is double. Where there are very many agents, the covariances of
all do not fit into a cache: then hope is estimated from their diagonals, which do, and the matrices of the most
promising few are read.

Arrays are published in two copies, of which one is read while the other catches up. A request never sees half an
update, and it never waits: it reads the newest finished copy. That copy is written again only two publications later,
which a request that was so slow has to notice, and ask again.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import DTypeLike, NDArray

LONG = 64
"""Agents beyond which only a short list's variances are computed."""
SHORT_LIST = 16
"""Agents in it."""
ANYWHERE: list[Any] = []
"""Stands for all places of a row."""
REACH = 2.0
"""Standard deviations by which hope exceeds the mean."""


class LinearSnapshot:
    """Means and covariances of many agents over one space of ``d`` features.

    Args:
        width: Number of features ``d``.
        ridge: Precision of the prior on each weight.
        offset: Score expected of an agent that nothing is known of.
        guess: Variance that is guessed for the noise.
        closer: Share of the asked-for standard deviations that counts.
        rows: Agents that there is room for.
        dtype: Type of the arrays' numbers.

    Attributes:
        strength: Precision of the prior on the weights of all features but the first, a constant: ``ridge`` at first.
        rows: Agent name to row. A removed agent leaves a row that the next new one takes.
        mean: Weights, shape ``(rows, d)``.
        sigma: Covariances before the noise, shape ``(rows, d, d)``.
        flat: The weights again, contiguous, and
        spread: the covariances' diagonals, shape ``(rows, d)``, and
        noises: the noise as an array; all three are kept up only where there are more rows than ``LONG``.
        count: Observations of each row. It and the noise are lists: each number is read and written by itself.
        noise: Variance of each agent's reward around its mean.
        crowded: Whether there are so many agents that ``among_many`` answers for ``scores``; kept up by ``catch_up``.
    """

    def __init__(
        self,
        width: int,
        ridge: float,
        offset: float,
        guess: float,
        closer: float = 1.0,
        rows: int = 1,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.ridge = self.strength = ridge
        self.offset, self.guess, self.closer = offset, guess, closer
        self._dtype = dtype
        self.rows: dict[str, int] = {}
        self._free: list[int] = []
        self._version = 0  # Counts changes of `rows`.
        self.crowded = False
        self._allocate(rows, width)

    def _allocate(self, rows: int, width: int) -> None:
        self.width = width
        # One block, so that one matrix-vector product gives variances and means together.
        self._block: NDArray[Any] = np.zeros((rows, width + 1, width), self._dtype)
        self.sigma, self.mean = self._block[:, :width], self._block[:, width]
        crowd = rows if rows > LONG else 0
        self.flat: NDArray[Any] = np.zeros((crowd, width), self._dtype)
        self.spread: NDArray[Any] = np.full((crowd, width), 1.0 / self.ridge, self._dtype)
        self.noises: NDArray[Any] = np.full(crowd, self.guess, self._dtype)
        self.count, self.noise = [0.0] * rows, [self.guess] * rows
        self._asked: tuple[Sequence[str], int, list[int], bool, int, NDArray[Any]] = ((), -1, [], False, 0, self._block)

    def scores(
        self, agents: Sequence[str], x: NDArray[Any], alpha: float, factor: float = 1.0
    ) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each agent's score at ``x``, the latter times ``alpha``.

        Agents beyond a short-list of the most promising get width 0 where there are very many.

        Args:
            agents: Whose.
            x: Features, shape ``(d,)``, or ``(d + 1,)`` with a 0 behind them, which saves a copy; of the arrays' own
                type: any other has them converted, which takes long.
            alpha: Standard deviations that doubt is worth.
            factor: What ``x`` is to be multiplied by.
        """
        asked, version, order, straight, used, products = self._asked
        if asked is not agents or version != self._version:
            order, straight, used, products = self._order(agents)
        width, offset = self.width, self.offset
        if len(x) == width:
            x = np.append(x, x.dtype.type(0.0))
        reach = alpha * self.closer * factor
        if 0 < used <= LONG:
            # Each row gives the covariance times x, and the mean's product behind it, which the 0 leaves out.
            found = products.dot(x[:width]).reshape(used, width + 1)
            means, variances = found[:, width].tolist(), found.dot(x).tolist()
            # The noise has an entry for each row that there is room for.
            pairs = zip(variances, self.noise)  # noqa: B905
            widths = [reach * sqrt(variance * noise) if variance > 0.0 else 0.0 for variance, noise in pairs]
        elif used:
            return self.among_many(agents, x, alpha, factor)[:2]
        else:
            means, widths = [], []
        if straight:
            return [offset + factor * mean for mean in means], widths
        # The prior answers for an agent without a row; it stands last, where -1 finds it.
        means.append(0.0)
        widths.append(reach * sqrt(self.guess * self.prior_variance(x)))
        return [offset + factor * means[row] for row in order], [widths[row] for row in order]

    def among_many(
        self, agents: Sequence[str], x: NDArray[Any], alpha: float, factor: float = 1.0
    ) -> tuple[list[float], list[float], list[int]]:
        """``scores``, and the positions of those who can be the best: a short list, and who has the highest mean.

        The short list is of those whose mean and bound promise most; the bound goes by the covariances' diagonals. Of
        nobody else is the width computed, but it is 0. Newcomers share the prior's width.
        """
        asked, version, order, straight, used, _ = self._asked
        if asked is not agents or version != self._version:
            order, straight, used, _ = self._order(agents)
        if not order:
            return [], [], []
        x, alpha = x[: self.width], alpha * self.closer * factor
        means = self.flat[:used].dot(x)
        means *= factor
        hopes = self.spread[:used].dot(x * x)
        hopes *= self.noises[:used]
        np.sqrt(hopes, out=hopes)
        hopes *= REACH * alpha
        hopes += means
        newcomers: list[int] = []
        if not straight:
            means, hopes = np.append(means, 0.0)[order], np.append(hopes, -np.inf)[order]
            newcomers = [place for place, row in enumerate(order) if row < 0]
        widths, first = [0.0] * len(order), max(len(order) - SHORT_LIST, 0)
        listed = hopes.argpartition(first)[first:].tolist()
        for place in listed:
            row = order[place]
            variance = self.noise[row] * float(self.sigma[row].dot(x).dot(x)) if row >= 0 else 0.0
            widths[place] = alpha * sqrt(variance) if variance > 0.0 else 0.0
        if newcomers:
            width = alpha * sqrt(self.guess * self.prior_variance(x))
            for place in newcomers:
                widths[place] = width
        best = np.flatnonzero(means == means.max()).tolist()
        return (self.offset + means.astype(np.float64)).tolist(), widths, sorted({*listed, *newcomers, *best})

    def _order(self, agents: Sequence[str]) -> tuple[list[int], bool, int, NDArray[Any]]:
        """Where the agents are, for their scores.

        Remembered, since requests mostly ask for the same agents.

        Returns:
            The agents' rows, -1 for one without; whether they are all rows from the first to the last; how many rows
            are in use; and those as one matrix.
        """
        version, rows = self._version, self.rows
        order = [rows.get(agent, -1) for agent in agents]
        used = len(rows) + len(self._free)
        found = order, order == list(range(used)), used, self._block[:used].reshape(-1, self.width)
        if isinstance(agents, tuple):
            self._asked = (agents, version, *found)
        return found

    def prior_variance(self, x: NDArray[Any]) -> float:
        """Variance of the score at ``x``, before the noise, of an agent that nothing is known of."""
        constant, square = float(x[0]) ** 2, float(x.dot(x))
        return constant / self.ridge + max(square - constant, 0.0) / self.strength

    def counts(self, agents: Iterable[str]) -> list[float]:
        """Observations of each agent."""
        rows, count = self.rows, self.count
        return [count[rows[agent]] if agent in rows else 0.0 for agent in agents]

    def catch_up(self, source: LinearSnapshot, touched: dict[int, list[NDArray[np.intp]]]) -> None:
        """Become like ``source``, which changed in these rows since the last time."""
        self.strength = source.strength
        if self._block.shape != source._block.shape:
            self._allocate(len(source.mean), source.width)
            touched = {row: [] for row in range(len(source.rows) + len(source._free))}
        for row in touched:
            self._block[row] = source._block[row]
            if len(self.flat):
                self.flat[row], self.spread[row] = source.flat[row], source.spread[row]
                self.noises[row] = source.noises[row]
            self.count[row], self.noise[row] = source.count[row], source.noise[row]
        if self._version != source._version:
            self.rows, self._free = dict(source.rows), list(source._free)
            self._version, self.crowded = source._version, len(self.rows) + len(self._free) > LONG


class Buffered(Protocol):
    """What can be brought up to date with its source."""

    def catch_up(self, source: Self, touched: dict[int, list[NDArray[np.intp]]]) -> None:
        """Copy the touched rows, or only the places listed for a row."""


M = TypeVar("M", bound=Buffered)


class DoubleBuffer(Generic[M]):
    """Two copies of one source.

    Args:
        make: Makes an empty copy.

    Attributes:
        changed: Whether anything was touched since the newest publication.
    """

    def __init__(self, make: Callable[[], M]) -> None:
        self._buffers = (make(), make())
        self._touched: tuple[dict[int, list[NDArray[np.intp]]], dict[int, list[NDArray[np.intp]]]] = ({}, {})
        self.changed = True
        self._next = 0

    def touch(self, row: int, places: NDArray[np.intp] | None) -> None:
        """Note that a row changed, at these places only or, with None, anywhere."""
        self.changed = True
        older, newer = self._touched
        if places is None:
            older[row] = newer[row] = ANYWHERE
            return
        for touched in (older, newer):
            if row not in touched:
                touched[row] = [places]
            elif touched[row] is not ANYWHERE:
                touched[row].append(places)

    def touch_all(self, rows: Iterable[int]) -> None:
        """Note that these rows changed anywhere."""
        for row in rows:
            self.touch(row, None)

    def publish(self, source: M) -> M:
        """Bring the older copy up to date; it is the one to read from now on."""
        copy, touched = self._buffers[self._next], self._touched[self._next]
        copy.catch_up(source, touched)
        touched.clear()
        self.changed = False
        self._next = 1 - self._next
        return copy
