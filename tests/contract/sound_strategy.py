"""A small strategy that keeps every promise; the broken ones break one each."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from router_sdk.plugin import AgentSet, CorruptArtifactError, Example, Proposal, RouteContext, Strategy, Task

Means = dict[str, tuple[float, float]]


class SoundStrategy(Strategy):
    """Probability in proportion to each agent's mean reward, whatever the task."""

    name: ClassVar[str] = "sound"
    state_file = "means.json"

    def __init__(self, config, services) -> None:
        super().__init__(config, services)
        self.means: Means = {}

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        means = self.means
        return self.proposal({name: self.estimate(means, name) for name in agents.names})

    @staticmethod
    def estimate(means: Means, name: str) -> float:
        total, count = means.get(name, (0.0, 0.0))
        return (total + 0.5) / (count + 1.0)

    @staticmethod
    def proposal(scores: dict[str, float]) -> Proposal:
        whole = sum(sorted(scores.values()))
        return Proposal({name: score / whole for name, score in scores.items()}, scores=scores)

    def learn(self, examples: Sequence[Example]) -> None:
        means = dict(self.means)
        for example in examples:
            if example.agent is not None:
                total, count = means.get(example.agent, (0.0, 0.0))
                if example.previous_reward is not None:
                    total, count = total - example.previous_reward, count - 1.0
                if example.reward is not None:
                    total, count = total + example.reward, count + 1.0
                means[example.agent] = (total, count)
        self.means = means

    def forget_agents(self, names: Collection[str]) -> None:
        self.means = {name: mean for name, mean in self.means.items() if name not in names}

    def save(self, folder: Path) -> None:
        (folder / self.state_file).write_text(json.dumps(self.means))

    def load(self, folder: Path) -> None:
        try:
            loaded = json.loads((folder / self.state_file).read_text())
            self.means = {name: (float(total), float(count)) for name, (total, count) in loaded.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise CorruptArtifactError(f"{self.state_file}: {error}") from error
