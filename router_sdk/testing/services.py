"""What a strategy gets at construction, for tests."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.strategy import Encoder, StrategyServices

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_services(
    folder: Path | None = None, *, encoders: Mapping[str, Encoder] | None = None, seed: int | None = 0
) -> StrategyServices:
    """Services for one strategy.

    Args:
        folder: The strategy's own folder; None suits a strategy that keeps no caches, and names one that
            does not exist.
        encoders: Encoders by name.
        seed: Seed of the strategy's own generator, or None for fresh entropy.
    """
    return StrategyServices(
        folder=folder if folder is not None else Path("no-folder-was-given"),
        encoders=dict(encoders or {}),
        logger=logging.getLogger("router_sdk.testing"),
        seed=seed,
    )
