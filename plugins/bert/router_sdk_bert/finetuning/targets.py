"""What feedback says of each agent's chance, as arrays that a loss can be computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.finetuning.samples import Sample

NOT_AN_AGENT = -1


@dataclass(slots=True, frozen=True)
class Targets:
    """Feedback on ``n`` samples over ``K`` agents.

    Attributes:
        labelled: Whether a label is known, shape ``(n,)``.
        labels: Position of the right agent, -1 where none would be right or no label is known, shape ``(n,)``.
        agents: Position of the agent whose reward is known, else -1, shape ``(n,)``.
        rewards: Its reward in [0, 1], shape ``(n,)``.
        weights: How much each sample counts, shape ``(n,)``.
    """

    labelled: NDArray[np.bool_]
    labels: NDArray[np.int64]
    agents: NDArray[np.int64]
    rewards: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def classes(self) -> int:
        """How many different things are taught: labels (none is one), and agents that succeeded or failed."""
        taught: set[tuple[str, int, bool]] = {("label", int(label), True) for label in self.labels[self.labelled]}
        for agent, reward in zip(self.agents[~self.labelled], self.rewards[~self.labelled], strict=True):
            taught.add(("reward", int(agent), bool(reward >= 0.5)))
        return len(taught)


def targets_of(samples: Sequence[Sample], positions: Mapping[str, int]) -> Targets:
    """The feedback of samples as arrays.

    A label says more than the reward of whoever acted, so it takes its place.

    Args:
        samples: The samples; their agents must be known.
        positions: Agent name to row of the head.
    """
    labels = [_row(sample.label if sample.labelled else None, positions) for sample in samples]
    agents = [_row(None if sample.labelled else sample.agent, positions) for sample in samples]
    return Targets(
        labelled=np.array([sample.labelled for sample in samples], dtype=bool),
        labels=np.array(labels, dtype=np.int64),
        agents=np.array(agents, dtype=np.int64),
        rewards=np.array([sample.reward or 0.0 for sample in samples], dtype=np.float32),
        weights=np.array([sample.weight for sample in samples], dtype=np.float32),
    )


def _row(name: str | None, positions: Mapping[str, int]) -> int:
    return NOT_AN_AGENT if name is None else positions[name]
