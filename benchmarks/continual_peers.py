"""Others that learn class by class, on the same sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from class_incremental import Contestant, Embedder, Places, Stream

STEPS, BATCH, LEARNING_RATE = 30, 64, 3e-3
"""Of DER++: epochs over each task, texts in a batch, and AdamW's rate; chosen on CLINC150's validation part."""
ALPHA, BETA, SCALE = 0.5, 1.0, 20.0


class DarkExperience(Contestant):
    """DER++ over a frozen encoder: the buffer's labels are replayed, and what was said of them is kept.

    Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS 2020, equation 6.

    Args:
        stream: The texts.
        embed: The frozen encoder.
        stored: Texts stored in all.
    """

    def __init__(self, stream: Stream, embed: Embedder, stored: int) -> None:
        self._stream, self._embed, self._stored = stream, embed, stored
        self._classes = [name for task in stream.tasks for name in task]
        self._row = {name: row for row, name in enumerate(self._classes)}
        self._rng, self._offered = np.random.default_rng(0), 0
        self._kept: list[tuple[int, Any]] = []
        torch.manual_seed(0)
        self._head: torch.nn.Linear | None = None

    def learn(self, places: Places) -> None:
        """Train on the task beside the buffer; then offer the task to the reservoir."""
        vectors, labels = torch.as_tensor(self._embed(places)), self._labels(places)
        if self._head is None:
            self._head = torch.nn.Linear(vectors.shape[1], len(self._classes))
        optimizer: Any = torch.optim.AdamW(self._head.parameters(), lr=LEARNING_RATE)
        past = torch.as_tensor(self._embed(np.array([place for place, _ in self._kept]))) if self._kept else None
        old = self._labels(np.array([place for place, _ in self._kept], dtype=np.int64))
        said = torch.stack([logits for _, logits in self._kept]) if self._kept else None
        for _ in range(STEPS):
            for which in np.array_split(self._rng.permutation(len(places)), -(-len(places) // BATCH)):
                loss = torch.nn.functional.cross_entropy(SCALE * self._head(vectors[which]), labels[which])
                if past is not None and said is not None:
                    one, other = (self._rng.integers(len(past), size=BATCH) for _ in range(2))
                    loss = loss + ALPHA * (self._head(past[one]) - said[one]).square().mean()
                    loss = loss + BETA * torch.nn.functional.cross_entropy(SCALE * self._head(past[other]), old[other])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        with torch.no_grad():
            for place, logits in zip(places, self._head(vectors), strict=True):
                self._offer(int(place), logits)

    def _labels(self, places: Places) -> torch.Tensor:
        return torch.as_tensor([self._row[str(name)] for name in self._stream.labels[places]], dtype=torch.long)

    def _offer(self, place: int, logits: torch.Tensor) -> None:
        """Reservoir sampling."""
        self._offered += 1
        if len(self._kept) < self._stored:
            self._kept.append((place, logits))
        elif (slot := int(self._rng.integers(self._offered))) < self._stored:
            self._kept[slot] = (place, logits)

    def choose(self, places: Places, classes: Sequence[str]) -> list[str]:
        """By the linear head, among the classes seen."""
        assert self._head is not None
        rows = [self._row[name] for name in classes]
        with torch.no_grad():
            scores = self._head(torch.as_tensor(self._embed(places)))[:, rows]
        return [classes[int(column)] for column in scores.argmax(dim=1)]


class AdaptiveClassifierPeer(Contestant):
    """adaptive-classifier, with its own encoder's forward pass, prototypes and network.

    Args:
        stream: The texts.
        embed: Says which weights; the library embeds by itself.
        per_class: Texts stored of each class.

    Raises:
        ImportError: if the library is not installed.
    """

    def __init__(self, stream: Stream, embed: Embedder, per_class: int) -> None:
        from adaptive_classifier import AdaptiveClassifier  # type: ignore[import-not-found]

        self._stream = stream
        settings = {"max_examples_per_class": per_class}
        self._classifier: Any = AdaptiveClassifier(str(embed.checkpoint), device="cpu", config=settings, seed=0)

    def learn(self, places: Places) -> None:
        """As its users do: all of a task's examples in one call."""
        texts = [self._stream.texts[place] for place in places]
        self._classifier.add_examples(texts, [str(label) for label in self._stream.labels[places]])

    def choose(self, places: Places, classes: Sequence[str]) -> list[str]:
        """Its first answer."""
        texts = [self._stream.texts[place] for place in places]
        return [found[0][0] for start in range(0, len(texts), 64) for found in self._batch(texts[start : start + 64])]

    def _batch(self, texts: list[str]) -> list[Any]:
        found: list[Any] = self._classifier.predict_batch(texts, k=1)
        return found
