"""What is remembered: an immutable table, replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_nearest.hashing import Vector

_VECTORS, _ROWS = "vectors.npy", "rows.json"


class Memento(NamedTuple):
    """One remembered decision.

    Attributes:
        decision_seq: Its place in the log, by which the oldest are found.
        agent: Who acted.
        reward: How well, in [0, 1].
        vector: The task's text, shape ``(d,)``.
    """

    decision_seq: int
    agent: str
    reward: float
    vector: Vector


@dataclass(frozen=True, slots=True)
class Memory:
    """Mementos by decision id, and their vectors stacked for one product.

    Attributes:
        rows: Oldest decision first.
        matrix: Shape ``(n, d)``, in the order of ``rows``.
    """

    rows: Mapping[str, Memento]
    matrix: Vector

    @classmethod
    def of(cls, rows: Mapping[str, Memento], capacity: int, dimensions: int) -> Memory:
        """Keep the newest ``capacity`` decisions."""
        newest = sorted(rows.items(), key=lambda row: row[1].decision_seq)[-capacity:]
        vectors = [memento.vector for _, memento in newest]
        return cls(dict(newest), np.stack(vectors) if vectors else np.zeros((0, dimensions), dtype=np.float32))

    def save(self, folder: Path) -> None:
        """Write the vectors as npy and the rest as JSON."""
        np.save(folder / _VECTORS, self.matrix, allow_pickle=False)
        rows = [[key, row.decision_seq, row.agent, row.reward] for key, row in self.rows.items()]
        (folder / _ROWS).write_text(json.dumps(rows), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, capacity: int, dimensions: int) -> Memory:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if a file is missing, damaged, or made with other settings.
        """
        try:
            matrix = np.load(folder / _VECTORS, allow_pickle=False)
            rows = json.loads((folder / _ROWS).read_text(encoding="utf-8"))
            if matrix.shape != (len(rows), dimensions) or matrix.dtype != np.float32 or not np.isfinite(matrix).all():
                raise ValueError(f"{matrix.dtype} vectors of shape {matrix.shape} for {len(rows)} rows")
            kept = {
                str(key): Memento(int(seq), str(agent), _reward(reward), vector)
                for (key, seq, agent, reward), vector in zip(rows, matrix, strict=True)
            }
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise CorruptArtifactError(f"nearest: {error}") from error
        return cls.of(kept, capacity, dimensions)


def _reward(value: object) -> float:
    if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{value!r} is no reward")
    return float(value)
