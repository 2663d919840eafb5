"""Two posteriors over features where Fourier features are added: one with them and one without; the better answers.

Fourier features find what is not linear, and cost much where there is nothing of the kind to find. Which is the case
shows in how well either predicts an outcome before it learns from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk_thompson.labels import Change, first_reward
from router_sdk_thompson.policy.model_selection import ModelSelection, Selection
from router_sdk_thompson.posteriors.over_vectors import VectorModel, VectorSnapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Example, Task
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.posteriors.belief import Belief

WARM_UP = 20
"""Outcomes that posteriors learn from before they are compared: their first guesses are their priors."""
CURVED, STRAIGHT = "dense", "straight"
"""What the names of their files begin with."""


class FourierSnapshot(NamedTuple):
    """One publication of both."""

    curved: VectorSnapshot
    straight: VectorSnapshot
    selection: Selection

    def belief(self, task: Task, agents: AgentSet, vector: NDArray[Any] | None) -> Belief | None:
        """What the better one says; None while it knows too little."""
        better = self.curved if self.selection.second(task.task_type) else self.straight
        return better.belief(task, agents, vector)


class FourierSelection:
    """The posteriors over features, as one.

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
        self._model_selection = ModelSelection()

    def _straight(self) -> VectorModel:
        return VectorModel(self._config.model_copy(update={"fourier_features": 0}), self._seed)

    @property
    def events(self) -> int:
        """Revisions learnt from."""
        return self.curved.events

    def learn(self, example: Example, told: Sequence[Change], task: Task, vector: NDArray[Any] | None) -> None:
        """Take in what one revision says."""
        curved, straight = self.curved, self.straight
        if straight.events >= WARM_UP and (found := first_reward(told)) is not None:
            agent, reward = found
            errors = [reward - each.predicted(agent, task, vector) for each in (straight, curved)]
            self._model_selection.note(task.task_type, *errors)
        curved.learn(example, told, task, vector)
        if curved.design is not None and curved.design.fourier is not None:
            straight.learn(example, told, task, vector)
        elif straight.events:
            self.straight = self._straight()  # so many agents that Fourier features were given up: both would be one

    def learn_first(self, run: Sequence[tuple[Example, NDArray[Any]]]) -> None:
        """``learn``, to the same bits, of many rewards at once; see ``VectorModel.learn_first``."""
        design = self.curved.design
        if design is not None and design.fourier is None and not self.straight.events:
            self.curved.learn_first(run)
        else:
            for example, vector in run:
                self.learn(example, [Change(str(example.agent), None, example.reward)], example.task, vector)

    def predicted(self, agent: str, task: Task) -> float:
        """Reward that the better one expects of an agent at a task's features, before they are learnt."""
        straight = self.straight
        curved = straight.design is None or self._model_selection.current.second(task.task_type)
        return (self.curved if curved else straight).predicted(agent, task, None)

    def publish(self) -> FourierSnapshot | VectorSnapshot | None:
        """Publish what was learnt: the one where there are no Fourier features to be without; None before anything."""
        curved, straight = self.curved.publish(), self.straight.publish()
        if curved is None or straight is None:
            return curved
        return FourierSnapshot(curved, straight, self._model_selection.current)

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
        self._model_selection.save(folder / "curves.json")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        self.curved.load(folder, CURVED)
        self.straight.load(folder, STRAIGHT)
        self._model_selection.load(folder / "curves.json")

    def report(self) -> dict[str, Any]:
        """How much was learnt, how wide the features are, and on which types Fourier features answer."""
        selection = self._model_selection.current
        told = {"curved": [name for name in selection.types if selection.second(name)]} if selection.types else {}
        return {**self.curved.report(), **told}
