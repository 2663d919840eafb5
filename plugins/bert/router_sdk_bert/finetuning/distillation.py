"""Holds answers where they were: what served is the teacher, and it does not move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.finetuning.model import LinearRows


class Teacher:
    """What the serving version said of every sample, computed once.

    Li & Hoiem, "Learning without Forgetting", ECCV 2016, with the temperature of Hinton et al., 2015. The teacher is
    made of the serving encoder's own embeddings and the linear rows that belong to them.

    Args:
        rows: The serving version's linear rows; only agents that it knew are compared.
        vectors: The serving encoder's embeddings, shape ``(n, d)``.
        names: The student's agents.
        temperature: Softens both distributions.
        exclusive: Whether at most one agent is right.
        embedding_weight: Weight of one minus the cosine between old and new embeddings.
    """

    def __init__(
        self,
        rows: LinearRows,
        vectors: NDArray[np.float32],
        names: Sequence[str],
        *,
        temperature: float,
        exclusive: bool,
        embedding_weight: float = 0.0,
    ) -> None:
        known = [name for name in names if name in rows.names]
        self._columns = [list(names).index(name) for name in known]
        self._said = rows.logits(vectors)[:, [rows.names.index(name) for name in known]]
        self._vectors = vectors
        self._temperature, self._exclusive, self._embedding_weight = temperature, exclusive, embedding_weight

    def loss(self, logits: torch.Tensor, embeddings: torch.Tensor, which: NDArray[np.int64]) -> torch.Tensor:
        """How far the student is from the teacher on each sample.

        Args:
            logits: The student's, shape ``(n, K)``.
            embeddings: The student's, normalised, shape ``(n, d)``.
            which: Positions of these samples, shape ``(n,)``.

        Returns:
            Shape ``(n,)``, each at least 0.
        """
        import torch

        said = torch.as_tensor(self._said[which], device=logits.device) / self._temperature
        says = logits[:, self._columns].float() / self._temperature
        if self._exclusive:
            wanted = torch.softmax(said, dim=1)
            each = (wanted * (torch.log_softmax(said, dim=1) - torch.log_softmax(says, dim=1))).sum(dim=1)
        else:
            wanted = torch.sigmoid(said)
            bce = torch.nn.functional.binary_cross_entropy_with_logits
            each = (bce(says, wanted, reduction="none") - bce(said, wanted, reduction="none")).sum(dim=1)
        each = self._temperature**2 * each  # keeps gradients of one size whatever the temperature
        if self._embedding_weight:
            old = torch.as_tensor(self._vectors[which], device=embeddings.device)
            each = each + self._embedding_weight * (1.0 - (old * embeddings.float()).sum(dim=1))
        return each
