"""What the plugin brings."""

from __future__ import annotations

from router_sdk.plugin import Strategy, hookimpl
from router_sdk_systemone.strategy import SystemOneStrategy


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    """The strategy ``systemone``."""
    return [SystemOneStrategy]
