"""Data sets, embedded once by the transformer plugin's default encoder, for heads, peers and whole routers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from router_sdk_bert.config import BertConfig
from router_sdk_bert.encoding import encoder as encoding
from router_sdk_bert.encoding.encoder import BertEncoder, open_encoder
from router_sdk_bert.encoding.opening import Opened, open_folder
from routing import rows_of_set

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
    rows = rows_of_set(name)
    columns = (np.array([row.get(key, "") for row in rows]) for key in ("split", "intent", "domain"))
    return Texts(_vectors(name, [row["text"] for row in rows]), *columns)


def vector_of_text(name: str) -> dict[str, Any]:
    """Each text of a data set with its vector, shape ``(384,)``."""
    texts = [row["text"] for row in rows_of_set(name)]
    return dict(zip(texts, _vectors(name, texts), strict=True))


def embedded(texts: Sequence[str]) -> Any:
    """Vectors of texts that are of no data set, shape ``(n, 384)``."""
    return np.array(open_encoder(BertConfig()).encode(texts), dtype=np.float32)


def _vectors(name: str, texts: Sequence[str]) -> Any:
    encoder = open_encoder(BertConfig())
    kept = Path(tempfile.gettempdir()) / f"router-bench-{name}-{encoder.tag.replace(':', '-')}.npy"
    if not kept.is_file():
        found: list[Any] = []
        for start in range(0, len(texts), BATCH):
            found += encoder.encode(texts[start : start + BATCH])
            if start % (20 * BATCH) == 0:
                print(f"embedding {name}: {len(found):,} of {len(texts):,}", file=sys.stderr, flush=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".npy", delete=False) as file:
            np.save(file, np.array(found, dtype=np.float32))
        Path(file.name).replace(kept)  # whole or not at all: others may be reading the same set
    return np.load(kept)


class LookUp:
    """Stands for an open model: what a text is encoded to is looked up, and what is not known is encoded once.

    Args:
        opened: The model.
        known: Vectors by text.
    """

    def __init__(self, opened: Opened, known: Mapping[str, Any]) -> None:
        self.precision = opened.run.precision
        self._opened, self._known = opened, dict(known)

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """One vector per text."""
        for text in texts:
            if text not in self._known:
                (self._known[text],) = self._opened.run([self._opened.tokens(text)])
        return [self._known[text] for text in texts]


@contextmanager
def encoded_before(known: Mapping[str, Any]) -> Iterator[None]:
    """Within it, encoders with default settings are open at once and look these texts up.

    Under int8 a vector depends on its text alone, so that nothing is different but the time it takes.
    """
    opened = open_folder(BertEncoder.Config(), None)
    standing_in = replace(opened, tokens=lambda text: text, run=LookUp(opened, known))
    with mock.patch.object(encoding, "open_folder", return_value=standing_in):
        yield
