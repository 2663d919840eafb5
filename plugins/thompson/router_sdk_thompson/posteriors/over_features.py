"""Two posteriors over features where Fourier features are added: one with them and one without.

Fourier features find what is not linear, and cost much where there is nothing of the kind to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk_thompson.features.design import typed
from router_sdk_thompson.labels import Change
from router_sdk_thompson.posteriors.over_vectors import VectorModel
from router_sdk_thompson.posteriors.vector_snapshot import VectorSnapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import Example, FeatureValue
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.posteriors.first_rewards import FirstReward, FirstRewards

CURVED, STRAIGHT = "dense", "straight"
"""What the names of their files begin with."""


class FeatureSnapshot(NamedTuple):
    """One publication of both; None for one that learnt nothing yet, or that there is no need for."""

    curved: VectorSnapshot | None
    straight: VectorSnapshot | None


class FeatureModel:
    """The posteriors over features, which learn from the same.

    Args:
        config: The strategy's configuration.
        seed: Seed of the Fourier features and of joint draws.

    Attributes:
        curved: With Fourier features, or whatever there is where none are added.
        straight: Without; it learns only where there are some.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self.curved = VectorModel(config, seed)
        self.straight = self._straight()

    def _straight(self) -> VectorModel:
        return VectorModel(self._config.model_copy(update={"fourier_features": 0}), self._seed)

    def learn(
        self,
        example: Example | FirstReward,
        told: Sequence[Change],
        features: Mapping[str, FeatureValue],
        vector: NDArray[Any] | None,
        others: float | None,
    ) -> None:
        """Take in what one revision says; see ``VectorModel.learn``."""
        curved, straight = self.curved, self.straight
        curved.learn(example, told, features, vector, others)
        if curved.design is not None and curved.design.fourier is not None:
            straight.learn(example, told, features, vector, others)
        elif straight.events:
            self.straight = self._straight()  # so many agents that Fourier features were given up: both would be one

    def learn_first(self, told: FirstRewards, begin: int, end: int, asked: Collection[int]) -> list[tuple[int, int]]:
        """``learn``, to the same bits, of many rewards at once; see ``VectorModel.learn_first``.

        Returns:
            The favourites of both, before each that is asked for.
        """
        curved = self.curved
        found: list[tuple[int, int]] = []
        for place in range(begin, end):
            if curved.design is not None and curved.design.fourier is None and not self.straight.events:
                return [*found, *((best, -1) for best in curved.learn_first(told, place, end, asked))]
            one, features, vector = told.one(place), typed(told.task_type[place]), told.vector[place]
            if place in asked:
                names, straight = one.eligible, self.straight
                best = curved.favourite(names, features, vector), straight.favourite(names, features, vector)
                found.append(best)
            if one.agent is not None and one.reward is not None:
                self.learn(one, [Change(one.agent, None, one.reward)], features, vector, told.others[place])
        return found

    def publish(self) -> FeatureSnapshot:
        """Publish what was learnt."""
        return FeatureSnapshot(self.curved.publish(), self.straight.publish())

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.curved.forget(agents)
        self.straight.forget(agents)

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop what was kept of these decisions."""
        self.curved.forget_examples(decision_ids)
        self.straight.forget_examples(decision_ids)

    def save(self, folder: Path) -> None:
        """Write what was learnt."""
        self.curved.save(folder, CURVED)
        self.straight.save(folder, STRAIGHT)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        self.curved.load(folder, CURVED)
        self.straight.load(folder, STRAIGHT)

    def report(self) -> dict[str, Any]:
        """How much was learnt, and how wide the features are."""
        return self.curved.report()
