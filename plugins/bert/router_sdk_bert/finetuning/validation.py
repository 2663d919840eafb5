"""How a model does on examples that no gradient has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.finetuning.losses import feedback_loss
from router_sdk_bert.finetuning.model import by_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk_bert.finetuning.limits import Room
    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.stopping import StopWatch
    from router_sdk_bert.finetuning.targets import Targets

AT_ONCE = 32


@dataclass(slots=True, frozen=True)
class HeldOut:
    """Examples kept apart.

    Attributes:
        tokens: Their token ids.
        targets: Feedback on them.
        exclusive: Whether at most one agent is right.
    """

    tokens: Sequence[Sequence[int]]
    targets: Targets
    exclusive: bool = True

    def measure(self, model: RoutingModel, room: Room, watch: StopWatch) -> dict[str, float]:
        """``held_out_loss``, and ``accuracy`` over those with a label; empty where nothing is held out."""
        import torch

        if not len(self.targets):
            return {}
        model.train(False)
        logits = np.zeros((len(self.targets), len(model.names)), dtype=np.float32)
        with torch.no_grad():
            for which in by_length(self.tokens, AT_ONCE):
                watch.check()
                some = [self.tokens[place] for place in which]
                logits[which] = room.attempt(lambda some=some: model.logits(model.embed(some)).cpu().numpy())  # type: ignore[misc]
            losses = feedback_loss(torch.as_tensor(logits), self.targets, exclusive=self.exclusive).numpy()
        known = self.targets.labelled & (self.targets.labels >= 0)
        measured = {"held_out_loss": float(np.average(losses, weights=self.targets.weights))}
        if known.any():
            measured["accuracy"] = float((logits.argmax(axis=1) == self.targets.labels)[known].mean())
        return measured
