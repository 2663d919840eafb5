"""Data sets, embedded once by the transformer plugin's default encoder."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from router_sdk_bert.config import BertConfig
from router_sdk_bert.encoding.encoder import open_encoder

DATA = Path(os.environ.get("ROUTER_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH = 64


@dataclass(frozen=True)
class Texts:
    """Embedded texts of one data set.

    Attributes:
        vectors: Shape ``(n, 384)``.
        split: Which part each belongs to.
        intent: Fine label of each.
        domain: Coarse label of each.
    """

    vectors: Any
    split: Any
    intent: Any
    domain: Any

    def part(self, *names: str) -> Any:
        """Places of the texts of these parts."""
        return np.flatnonzero(np.isin(self.split, names))


def load(name: str) -> Texts:
    """A data set, embedded once and kept in the temporary folder."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    encoder = open_encoder(BertConfig())
    kept = Path(tempfile.gettempdir()) / f"router-bench-{name}-{encoder.tag.replace(':', '-')}.npy"
    if not kept.is_file():
        texts = [row["text"] for row in rows]
        found = [encoder.encode(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        np.save(kept, np.array([vector for batch in found for vector in batch], dtype=np.float32))
    columns = (np.array([row.get(key, "") for row in rows]) for key in ("split", "intent", "domain"))
    return Texts(np.load(kept), *columns)
