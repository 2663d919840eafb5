"""Texts to token ids: prepared, tokenised, and cut so that head and tail stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError, normal
from router_sdk_bert.config import TextPreparation

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHARS_PER_TOKEN = 16
"""More characters than this per token are never looked at: a text's cost is bounded, however long it is."""


class TextTokens:
    """A tokenizer that keeps the head and the tail of what is too long.

    The first half of a long text says what is asked, the end often what it comes down to (Sun et al., "How to
    fine-tune BERT for text classification", 2019, find head and tail better than either).

    Args:
        content: A ``tokenizer.json``.
        max_tokens: Longest result, with the special tokens.
        preparation: What is done to a text first.
        prompt: What stands before every text; it is never cut.

    Attributes:
        skipped: Tokens at the beginning that are the prompt's, with the special ones before it. Counted as
            sentence-transformers does: of a prompt that stands alone, without the last token where that is special.

    Raises:
        CorruptArtifactError: if the tokenizer cannot be read.
    """

    def __init__(self, content: bytes, max_tokens: int, preparation: TextPreparation, prompt: str = "") -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_str(content.decode())
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            special = self._tokenizer.encode("a").special_tokens_mask
            prompted = self._tokenizer.encode(prompt).special_tokens_mask if prompt else []
            self._blank: list[int] = self._tokenizer.encode(" ", add_special_tokens=False).ids or [0]
        except Exception as error:  # The library raises bare Exceptions.
            raise CorruptArtifactError(f"tokenizer.json is not valid: {error}") from error
        before = special.index(0) if 0 in special else len(special)
        after = special[::-1].index(0) if 0 in special else 0
        self.skipped = len(prompted) - prompted[-1] if prompted else 0
        kept = len(prompted) - after if prompted else before
        room = max(max_tokens - kept - after, 2)
        self._head, self._tail = kept + (room + 1) // 2, room // 2 + after
        self._longest = kept + room + after
        self._prompt = prompt
        self._chars = _CHARS_PER_TOKEN * room
        self._prepare = None if preparation == TextPreparation() else preparation

    def __call__(self, text: str) -> list[int]:
        """Ids of a text in any Unicode form, at most ``max_tokens``, and at least the special ones."""
        text = normal(text)
        if self._prepare is not None:
            text = self._prepare(text)
        if len(text) > self._chars:
            half = self._chars // 2
            text = f"{text[:half]} {text[-half:]}"
        ids: list[int] = self._tokenizer.encode(self._prompt + text).ids
        if len(ids) <= self.skipped:  # An empty text, and a tokenizer that frames none.
            ids = ids + self._blank
        return ids if len(ids) <= self._longest else ids[: self._head] + ids[-self._tail :]


def padded(tokens: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask of one batch, both of shape ``(n, longest)``."""
    lengths = np.array([len(ids) for ids in tokens])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    filled = np.full(mask.shape, pad_id, dtype=np.int64)
    filled[mask == 1] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in tokens])
    return filled, mask
