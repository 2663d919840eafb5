"""Two posteriors over features where Fourier features are added: one with them and one without.

Fourier features find what is not linear, and cost much where there is nothing of the kind to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk_thompson.labels import Change
from router_sdk_thompson.posteriors.over_vectors import VectorModel, VectorSnapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import Example, Task
    from router_sdk_thompson.config import ThompsonConfig

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
        example: Example,
        told: Sequence[Change],
        task: Task,
        vector: NDArray[Any] | None,
        others: float | None,
    ) -> None:
        """Take in what one revision says; see ``VectorModel.learn``."""
        curved, straight = self.curved, self.straight
        curved.learn(example, told, task, vector, others)
        if curved.design is not None and curved.design.fourier is not None:
            straight.learn(example, told, task, vector, others)
        elif straight.events:
            self.straight = self._straight()  # so many agents that Fourier features were given up: both would be one

    def learn_first(self, run: Sequence[tuple[Example, NDArray[Any], float | None]]) -> None:
        """``learn``, to the same bits, of many rewards at once; see ``VectorModel.learn_first``."""
        design = self.curved.design
        if design is not None and design.fourier is None and not self.straight.events:
            self.curved.learn_first(run)
        else:
            for example, vector, others in run:
                self.learn(example, [Change(str(example.agent), None, example.reward)], example.task, vector, others)

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
