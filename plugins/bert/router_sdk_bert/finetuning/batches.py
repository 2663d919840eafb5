"""Which samples make up each step of an epoch: fresh ones, replayed ones, synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.finetuning.samples import Sample, category

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugin import ReplayBuffer
    from router_sdk_bert.finetuning.settings import FitSettings


class BatchPlan:
    """Draws the batches of an epoch: each fresh sample once, beside its share of the past.

    Args:
        samples: Everything that can be trained on, oldest first.
        settings: Sizes and shares.
        seed: Seed of what the buffer keeps.
    """

    def __init__(self, samples: Sequence[Sample], settings: FitSettings, seed: int) -> None:
        self._settings = settings
        self._place = {sample.decision_id: place for place, sample in enumerate(samples)}
        older = [sample for sample in samples if not sample.fresh and not sample.synthetic]
        drawn = [sample for sample in samples if not sample.fresh and sample.synthetic]
        self._fresh = np.array([self._place[sample.decision_id] for sample in samples if sample.fresh], dtype=np.int64)
        self._replay = filled_buffer(older if settings.replays else [], settings, seed)
        self._synthetic = filled_buffer(drawn if settings.use_synthetic_data else [], settings, seed)
        if not len(self._fresh):
            # Nothing is new: the past alone is trained on again.
            self._fresh = np.array([self._place[one.decision_id] for one in older or drawn], dtype=np.int64)

    @property
    def samples_used(self) -> int:
        """Samples that can turn up at all."""
        return len({*self._fresh.tolist(), *(self._place[one.decision_id] for one in self._pools())})

    def _pools(self) -> list[Sample]:
        return [*self._replay, *self._synthetic]

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._fresh) // self._parts()[0])

    def epoch(self, rng: np.random.Generator) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """One epoch's batches: positions of samples, and how much each counts for how it was drawn."""
        fresh, replayed, synthetic = self._parts()
        order = rng.permutation(self._fresh)
        batches = []
        for start in range(0, len(order), fresh):
            new = order[start : start + fresh]
            places, weights = [new], [np.ones(len(new), dtype=np.float32)]
            for pool, count in ((self._replay, replayed), (self._synthetic, synthetic)):
                if count and len(pool):
                    draw = pool.sample(count, rng)
                    places.append(np.array([self._place[one.decision_id] for one in draw.samples], dtype=np.int64))
                    weights.append(draw.weights.astype(np.float32))
            batches.append((np.concatenate(places), np.concatenate(weights)))
        return batches

    def _parts(self) -> tuple[int, int, int]:
        """Fresh, replayed and synthetic samples of a batch."""
        size = self._settings.batch_size * self._settings.accumulation
        replayed = round(size * self._settings.replay_share) if len(self._replay) else 0
        synthetic = round(size * self._settings.synthetic_share) if len(self._synthetic) else 0
        synthetic = min(synthetic, max(size - replayed - 1, 0))
        return max(size - replayed - synthetic, 1), replayed, synthetic

    def prioritize(self, losses: Mapping[str, float]) -> None:
        """Tell a prioritised buffer how badly these decisions were learnt."""
        from router_sdk.plugin import PrioritizedBuffer

        for pool in (self._replay, self._synthetic):
            if isinstance(pool, PrioritizedBuffer):
                pool.update_priorities(list(losses), losses.values())


def filled_buffer(samples: Sequence[Sample], settings: FitSettings, seed: int) -> ReplayBuffer[Sample]:
    """A replay buffer of the kind that was asked for, with these samples offered to it."""
    from router_sdk.plugin import PrioritizedBuffer, ReservoirBuffer

    kind = PrioritizedBuffer if settings.replay_buffer == "prioritized" else ReservoirBuffer
    buffer: ReplayBuffer[Sample] = kind(
        settings.replay_size, balanced=settings.replay_balanced, category=category, seed=seed
    )
    buffer.add_samples(samples)
    return buffer
