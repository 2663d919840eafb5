"""A uniform sample of everything that was ever offered, whole or by category."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from router_sdk.replay.buffer import DEFAULT_CAPACITY, ReplayBuffer, ReplayDraw, S, category_of

if TYPE_CHECKING:
    import numpy as np


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
