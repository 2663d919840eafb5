"""The service: what Python callers of a router have, over HTTP, for everybody else.

It decides, learns and stores nothing itself: each endpoint calls the ``Router`` of its worker process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_sdk_server.app import create_app
    from router_sdk_server.settings import ServiceSettings

__version__ = "0.1.0"

__all__ = ["ServiceSettings", "create_app"]

_HOMES = {"ServiceSettings": "settings", "create_app": "app"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'router_sdk_server' has no attribute {name!r}")
    return getattr(import_module(f"router_sdk_server.{_HOMES[name]}"), name)
