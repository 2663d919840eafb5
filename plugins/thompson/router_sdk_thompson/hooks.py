"""What the plugin registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl
from router_sdk_thompson.features.hashed_text import TextFeatures
from router_sdk_thompson.strategy import ThompsonStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.plugin import Encoder, Strategy


@hookimpl
def register_strategies() -> Sequence[type[Strategy]]:
    """Thompson sampling."""
    return [ThompsonStrategy]


@hookimpl
def register_encoders() -> Sequence[type[Encoder]]:
    """Sparse features of a text, which need no model."""
    return [TextFeatures]
