"""The strategy: similar tasks vote with their rewards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from router_sdk.plugin import Example, InvalidConfigError, Proposal, Strategy
from router_sdk_nearest.config import NearestConfig
from router_sdk_nearest.hashing import embed
from router_sdk_nearest.memory import Memento, Memory

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.plugin import AgentSet, RouteContext, StrategyConfig, StrategyServices, Task


class NearestStrategy(Strategy):
    """k-nearest-neighbour regression of the reward, an estimate for each agent, then a softmax.

    ``scores`` are expected rewards. It abstains where nothing like the task is remembered.
    """

    name: ClassVar[str] = "nearest"
    Config: ClassVar[type[StrategyConfig]] = NearestConfig
    needs_text: ClassVar[bool] = True

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        if not isinstance(config, NearestConfig):
            raise InvalidConfigError(f"nearest: expected a NearestConfig, got {type(config).__name__}")
        self._settings = config
        self._memory = self._remember({})

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """Let the most similar remembered tasks vote."""
        memory = self._memory  # read once: learn may replace it while this runs
        similarities = memory.matrix @ embed(task.text, self._settings.dimensions)
        rows = list(memory.rows.values())
        votes: list[tuple[float, Memento]] = []
        # Stable and from the newest on, so that of equally similar tasks the newest are heard.
        for index in np.argsort(-similarities[::-1], kind="stable"):
            place = len(rows) - 1 - int(index)
            if len(votes) == self._settings.neighbours or similarities[place] <= 1e-6:
                break
            if rows[place].agent in agents.positions:
                votes.append((float(similarities[place]), rows[place]))
        if not votes:
            return None
        prior = self._settings.prior
        weights, rewards = dict.fromkeys(agents.names, prior), dict.fromkeys(agents.names, prior / 2.0)
        for similarity, memento in votes:
            weights[memento.agent] += similarity
            rewards[memento.agent] += similarity * memento.reward
        expected = {name: rewards[name] / weights[name] for name in agents.names}
        best = max(expected.values())
        odds = {name: float(np.exp((value - best) / self._settings.temperature)) for name, value in expected.items()}
        total = sum(sorted(odds.values()))  # sorted, so that the order of the agents cannot change a digit
        return Proposal(
            {name: value / total for name, value in odds.items()},
            scores=expected,
            evidence={"neighbours": len(votes), "nearest": votes[0][1].agent, "similarity": votes[0][0]},
        )

    def learn(self, examples: Sequence[Example]) -> None:
        """Remember rewards by decision; a revision replaces what the one before said."""
        rows = dict(self._memory.rows)
        for example in examples:
            rows.pop(example.decision_id, None)
            if example.agent is not None and example.reward is not None and example.task.text:
                vector = embed(example.task.text, self._settings.dimensions)
                rows[example.decision_id] = Memento(example.decision_seq, example.agent, example.reward, vector)
        self._memory = self._remember(rows)

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what these agents did."""
        rows = self._memory.rows
        self._memory = self._remember({key: row for key, row in rows.items() if row.agent not in names})

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop these decisions."""
        rows = self._memory.rows
        self._memory = self._remember({key: row for key, row in rows.items() if key not in decision_ids})

    def save(self, folder: Path) -> None:
        """Write the memory."""
        self._memory.save(folder)

    def load(self, folder: Path) -> None:
        """Read the memory.

        Raises:
            CorruptArtifactError: if it is damaged.
        """
        self._memory = Memory.load(folder, self._settings.capacity, self._settings.dimensions)

    def report(self) -> Mapping[str, Any]:
        """How much is remembered."""
        return {"remembered": len(self._memory.rows), "capacity": self._settings.capacity}

    def _remember(self, rows: Mapping[str, Memento]) -> Memory:
        return Memory.of(rows, self._settings.capacity, self._settings.dimensions)
