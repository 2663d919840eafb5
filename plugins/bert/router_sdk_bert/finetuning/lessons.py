"""Which encoder is fine-tuned, and what it is to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.encoding.settings import Pooling
    from router_sdk_bert.finetuning.continual_state import ContinualState
    from router_sdk_bert.finetuning.samples import Sample


@dataclass(slots=True, frozen=True)
class Subject:
    """The encoder that is to be fine-tuned.

    Attributes:
        checkpoint: Folder with its weights and configuration.
        tag: Tag of its embeddings.
        tokenize: A text to token ids, as it does when serving.
        pooling: How token vectors become one; None is the model's own way.
        state: What the fine-tune that made it left, or None.
    """

    checkpoint: Path
    tag: str
    tokenize: Callable[[str], list[int]]
    pooling: Pooling | None = None
    state: ContinualState | None = None


@dataclass(slots=True, frozen=True)
class Lessons:
    """What it is to learn.

    Attributes:
        samples: Each with its embedding by the serving encoder, oldest first.
        held_out: For early stopping only.
        names: Agents, in the order of the head's rows.
        exclusive: Whether at most one agent is right.
    """

    samples: Sequence[Sample]
    held_out: Sequence[Sample]
    names: tuple[str, ...]
    exclusive: bool = True

    def vectors(self) -> NDArray[np.float32]:
        """The serving encoder's embeddings, shape ``(n, d)``."""
        return np.array([sample.vector for sample in self.samples], dtype=np.float32)

    def fresh(self) -> list[int]:
        """Places of the samples that the encoder has not been trained on; of all, where there are none."""
        return [place for place, sample in enumerate(self.samples) if sample.fresh] or list(range(len(self.samples)))

    def known(self) -> list[int]:
        """Places of the samples that it has been trained on; of all, where there are none: it serves for them."""
        return [place for place, sample in enumerate(self.samples) if not sample.fresh] or list(
            range(len(self.samples))
        )
