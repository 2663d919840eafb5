"""What the plugin registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl
from router_sdk_nearest.strategy import NearestStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.plugin import Strategy


@hookimpl
def register_strategies() -> Sequence[type[Strategy]]:
    """Nearest neighbours."""
    return [NearestStrategy]
