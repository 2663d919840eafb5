"""Token vectors to one vector per text, in torch: what is exported and trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from router_sdk_bert.encoding.settings import PoolingMode


def pool_tokens(
    hidden: torch.Tensor, attention_mask: torch.Tensor | None, modes: Sequence[PoolingMode], skipped: int = 0
) -> torch.Tensor:
    """One vector per text, shape ``(n, d * len(modes))``.

    Args:
        hidden: Shape ``(n, t, d)``.
        attention_mask: 1 for tokens, 0 for padding, which stands on the right; shape ``(n, t)``; None where nothing is
            padded.
        modes: In the order in which they are put beside each other.
        skipped: Tokens at the beginning that are not pooled: a prompt's.
    """
    import torch

    if skipped:
        hidden = hidden[:, skipped:]
        attention_mask = None if attention_mask is None else attention_mask[:, skipped:]
    found = [_pool(hidden, attention_mask, mode, skipped) for mode in modes]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def _pool(hidden: torch.Tensor, attention_mask: torch.Tensor | None, mode: PoolingMode, skipped: int) -> torch.Tensor:
    import torch

    if mode == "cls":
        return hidden[:, 0]
    if attention_mask is None:
        if mode == "mean":
            return hidden.mean(1)
        if mode == "max":
            return hidden.max(1).values
        if mode == "lasttoken":
            return hidden[:, -1]
        kept = torch.ones_like(hidden[..., :1])
    else:
        kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
        if mode == "mean":
            return (hidden * kept).sum(1) / kept.sum(1)
        if mode == "max":
            return hidden.masked_fill(kept == 0, float("-inf")).max(1).values
        if mode == "lasttoken":
            last = attention_mask.sum(1) - 1
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
    if mode == "mean_sqrt_len_tokens":
        return (hidden * kept).sum(1) / kept.sum(1).sqrt()
    weights = kept * (kept.cumsum(1) + skipped)  # The prompt's tokens keep their places, pooled or not.
    return (hidden * weights).sum(1) / weights.sum(1)
