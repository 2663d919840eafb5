"""What a fit keeps of the past, so that learning the new does not overwrite the old.

What every buffer promises; a uniform sample of everything that was ever offered, whole or by category; and one that
replays more often what was learnt worst.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.records import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_CAPACITY = 10_000


class Replayable(Protocol):
    """What a buffer can keep: anything that says which decision it came from, such as an ``Example``."""

    @property
    def decision_id(self) -> str:
        """Which decision; a newer sample of the same one replaces the older."""


S = TypeVar("S", bound=Replayable)


class ReplayDraw(NamedTuple, Generic[S]):
    """Samples to train on again.

    Attributes:
        samples: The samples drawn.
        weights: How much each counts in the loss, shape ``(n,)``, in (0, 1].
    """

    samples: tuple[S, ...]
    weights: NDArray[np.float64]


def category_of(sample: object) -> Hashable:
    """The class that an example teaches: its label, else who acted; None is "no agent fits"."""
    if not isinstance(sample, Example):
        return getattr(sample, "label", None)
    return sample.label if sample.labelled else sample.agent


class ReplayBuffer(ABC, Generic[S]):
    """A bounded memory of what was learnt from.

    Args:
        capacity: Most samples kept.

    Raises:
        InvalidConfigError: if ``capacity`` is below 1.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise InvalidConfigError(f"replay buffer: capacity must be at least 1, got {capacity}")
        self.capacity = capacity

    @abstractmethod
    def add_samples(self, samples: Iterable[S]) -> None:
        """Offer samples, oldest first; the buffer decides which it keeps."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> ReplayDraw[S]:
        """Draw at most ``n`` samples; the same buffer and generator give the same draw."""

    @abstractmethod
    def remove(self, decision_ids: Collection[str]) -> None:
        """Drop these decisions: their payload was erased. Unknown ids are ignored."""

    @abstractmethod
    def get_category_distribution(self) -> Mapping[Hashable, int]:
        """How many samples of each category are kept."""

    @abstractmethod
    def __iter__(self) -> Iterator[S]:
        """The samples kept, in the order in which they came."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples are kept."""


class _Stratum:
    """One uniform sample: exactly those offered whose key lies below ``limit``."""

    __slots__ = ("heap", "limit")

    def __init__(self) -> None:
        self.heap: list[tuple[float, str]] = []
        self.limit = 1.0

    def evict(self) -> str:
        """Give up the sample with the largest key; from now on nothing with a key as large is let in."""
        negative, decision_id = heappop(self.heap)
        self.limit = -negative
        return decision_id


class ReservoirBuffer(ReplayBuffer[S]):
    """Reservoir sampling: at any time each sample offered so far is kept with the same chance.

    The distribution is that of algorithm R (Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985). Instead of
    drawing a slot per arrival, every decision has a pseudo-random key in [0, 1) and the ``capacity`` smallest stay
    (a *bottom-k* sample: Cohen & Kaplan, "Summarizing Data using Bottom-k Sketches", PODC 2007). So what is kept
    does not depend on the order of arrival, a correction finds its place, and after ``remove`` the rest is uniform
    still.

    With ``balanced`` there is one such sample per category, and whoever comes costs the largest category its last
    place: a rare category is kept whole, each is a uniform sample of itself (Chrysakis & Moens, "Online Continual
    Learning from Imbalanced Data", ICML 2020).

    Args:
        capacity: Most samples kept.
        balanced: Give all categories the same room.
        category: What category a sample is of.
        seed: Another seed keeps another sample.

    Raises:
        InvalidConfigError: if ``capacity`` is below 1.
    """

    def __init__(
        self,
        capacity: int = DEFAULT_CAPACITY,
        *,
        balanced: bool = False,
        category: Callable[[S], Hashable] = category_of,
        seed: int = 0,
    ) -> None:
        super().__init__(capacity)
        self._balanced = balanced
        self._category = category
        self._salt = str(seed).encode()[:16]
        self._samples: dict[str, S] = {}
        self._categories: dict[str, Hashable] = {}
        self._strata: dict[Hashable, _Stratum] = {}

    def add_samples(self, samples: Iterable[S]) -> None:
        """Offer samples; the newest of each decision replaces the one before."""
        for sample in samples:
            self._offer(sample)

    def _offer(self, sample: S) -> None:
        decision_id, category = sample.decision_id, self._category(sample)
        if decision_id in self._samples:
            if self._categories[decision_id] == category:
                self._samples[decision_id] = sample
                return
            self.remove([decision_id])
        key = self._key(decision_id)
        stratum = self._strata.setdefault(category if self._balanced else None, _Stratum())
        if key >= stratum.limit:
            return
        heappush(stratum.heap, (-key, decision_id))
        self._samples[decision_id], self._categories[decision_id] = sample, category
        if len(self._samples) > self.capacity:
            self._drop(max(self._strata.values(), key=lambda one: len(one.heap)).evict())

    def _key(self, decision_id: str) -> float:
        digest = hashlib.blake2b(decision_id.encode(), digest_size=8, key=self._salt).digest()
        return (int.from_bytes(digest) >> 11) / 2.0**53

    def _drop(self, decision_id: str) -> None:
        del self._samples[decision_id], self._categories[decision_id]

    def sample(self, n: int, rng: np.random.Generator) -> ReplayDraw[S]:
        """Draw ``min(n, len(self))`` different samples, each alike; all weights are 1."""
        import numpy as np

        kept = list(self._samples.values())
        drawn = rng.choice(len(kept), size=min(n, len(kept)), replace=False)
        return ReplayDraw(tuple(kept[i] for i in drawn), np.ones(len(drawn)))

    def remove(self, decision_ids: Collection[str]) -> None:
        """Drop these decisions. What is let in afterwards is as rare as before, so the sample stays uniform."""
        gone = self._samples.keys() & set(decision_ids)
        touched = {self._categories[decision_id] if self._balanced else None for decision_id in gone}
        for decision_id in gone:
            self._drop(decision_id)
        for name in touched:
            stratum = self._strata[name]
            stratum.heap = [entry for entry in stratum.heap if entry[1] not in gone]
            heapify(stratum.heap)

    def get_category_distribution(self) -> Mapping[Hashable, int]:
        """How many samples of each category are kept."""
        return Counter(self._categories.values())

    def __iter__(self) -> Iterator[S]:
        return iter(self._samples.values())

    def __len__(self) -> int:
        return len(self._samples)


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
