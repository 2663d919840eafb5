"""What training minimises: feedback, and what each continual-learning strategy adds to it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.finetuning.losses import contrastive_loss, feedback_loss
from router_sdk_bert.finetuning.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.finetuning.distillation import Teacher
    from router_sdk_bert.finetuning.ewc import ElasticWeightConsolidation
    from router_sdk_bert.finetuning.model import RoutingModel


@dataclass(slots=True, frozen=True)
class Objective:
    """The loss of one fit.

    Attributes:
        tokens: Token ids of every sample.
        targets: Feedback on every sample.
        exclusive: Whether at most one agent is right.
        teacher: What the serving version said, or None.
        teacher_weight: Share of the loss that is its, in [0, 1].
        consolidation: The penalty on moved weights, or None.
        contrastive_weight: Weight of the supervised contrastive loss.
    """

    tokens: Sequence[Sequence[int]]
    targets: Targets
    exclusive: bool = True
    teacher: Teacher | None = None
    teacher_weight: float = 0.0
    consolidation: ElasticWeightConsolidation | None = None
    contrastive_weight: float = 0.0

    def losses(self, model: RoutingModel, which: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of each of these samples, and of the feedback alone; both of shape ``(n,)``.

        Args:
            model: What is trained.
            which: Positions of the samples, shape ``(n,)``.
        """
        embeddings = model.embed([self.tokens[place] for place in which])
        logits, targets = model.logits(embeddings), chosen(self.targets, which)
        feedback = each = feedback_loss(logits, targets, exclusive=self.exclusive)
        if self.teacher is not None:
            drift = self.teacher.loss(logits, embeddings, which)
            each = (1.0 - self.teacher_weight) * each + self.teacher_weight * drift
        if self.contrastive_weight:
            each = each + self.contrastive_weight * contrastive_loss(embeddings, targets)
        return each, feedback.detach()


def chosen(targets: Targets, which: NDArray[np.int64]) -> Targets:
    """The feedback on some of the samples."""
    return Targets(*(getattr(targets, one.name)[which] for one in fields(Targets)))
