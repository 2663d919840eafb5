"""How wrong estimates of success are, given labels and rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

NOT_AN_AGENT = -1
CONTRASTIVE_TEMPERATURE = 0.1
LEAST_LOG = -100.0
EXPOSURE = 0.5
"""What a label that nobody fits counts, as in outlier exposure (Hendrycks et al., ICLR 2019)."""


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


def feedback_loss(logits: torch.Tensor, targets: Targets, *, exclusive: bool) -> torch.Tensor:
    """Loss of each sample, before its weight.

    A label is a full row; a reward ``r`` is the entry ``p`` of the agent that acted: ``-r log p - (1 - r) log(1 - p)``.
    Where one agent is right ``p`` is a softmax, and a label that nobody fits asks for an even one; else each agent has
    a chance of its own, and such a label asks for none of them.

    Args:
        logits: Shape ``(n, K)``.
        targets: Feedback on the same samples.
        exclusive: Whether at most one agent is right.

    Returns:
        Shape ``(n,)``, each at least 0.
    """
    return _exclusive(logits, targets) if exclusive else _independent(logits, targets)


def _exclusive(logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    import torch

    log_p = torch.log_softmax(logits.float(), dim=1)
    labelled, labels, agents, rewards = _tensors(targets, logits.device)
    right = -log_p.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    nobody = -EXPOSURE * log_p.mean(dim=1)
    chosen = agents.clamp(min=0)[:, None]
    log_chance = log_p.gather(1, chosen)[:, 0]
    # log(1 - p) as the others' share, which stays exact where p is close to 1.
    others = torch.logsumexp(log_p.masked_fill(_one_hot(chosen, log_p), -torch.inf), dim=1)
    others = others.clamp(min=LEAST_LOG)  # one agent alone has no others
    reward = -rewards * log_chance - torch.where(rewards < 1.0, (1.0 - rewards) * others, torch.zeros_like(others))
    return torch.where(labelled, torch.where(labels >= 0, right, nobody), reward)


def _independent(logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    import torch

    scores = logits.float()
    labelled, labels, agents, rewards = _tensors(targets, logits.device)
    chosen = agents.clamp(min=0)[:, None]
    wanted = (_one_hot(labels.clamp(min=0)[:, None], scores) & (labels >= 0)[:, None]).float()
    row = torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(dim=1)
    score = scores.gather(1, chosen)[:, 0]
    entry = torch.nn.functional.binary_cross_entropy_with_logits(score, rewards, reduction="none")
    return torch.where(labelled, row, entry)


def contrastive_loss(embeddings: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Supervised contrastive loss of a batch: embeddings of one agent's tasks attract each other.

    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, with the sum outside the logarithm.

    Args:
        embeddings: Normalised, shape ``(n, d)``.
        targets: Feedback on the same samples; only labels of an agent are used.

    Returns:
        A scalar; 0 where no label stands twice.
    """
    import torch

    labels = torch.as_tensor(targets.labels, device=embeddings.device)
    similar = embeddings.float() @ embeddings.float().T / CONTRASTIVE_TEMPERATURE
    self_mask = torch.eye(len(labels), dtype=torch.bool, device=embeddings.device)
    same = (labels[:, None] == labels[None, :]) & (labels >= 0)[:, None] & ~self_mask
    log_p = similar - torch.logsumexp(similar.masked_fill(self_mask, -torch.inf), dim=1, keepdim=True)
    pairs = same.sum(dim=1)
    anchors = pairs > 0
    if not bool(anchors.any()):
        return embeddings.sum() * 0.0
    each = -(log_p.masked_fill(~same, 0.0)).sum(dim=1) / pairs.clamp(min=1)
    return each[anchors].mean()


def _tensors(targets: Targets, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    import torch

    labelled = torch.as_tensor(targets.labelled, device=device)
    labels = torch.as_tensor(targets.labels, device=device)
    agents = torch.as_tensor(targets.agents, device=device)
    return labelled, labels, agents, torch.as_tensor(targets.rewards, device=device)


def _one_hot(columns: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.zeros(like.shape, dtype=torch.bool, device=like.device).scatter_(1, columns, True)
