"""The router over the Model Context Protocol: as a server, and with another server's tools as its agents.

Names are loaded when they are first used: ``router`` reads the entry point of this distribution at every start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_sdk_mcp.discovery import Discovered, ToolAgents
    from router_sdk_mcp.server import mcp_server

__all__ = ["Discovered", "ToolAgents", "mcp_server"]

_HOMES = {"Discovered": "discovery", "ToolAgents": "discovery", "mcp_server": "server"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562).

    Raises:
        ImportError: if the framework is not installed; says how to get it.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'router_sdk_mcp' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"router_sdk_mcp.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"mcp", "mcp_types"}:
            raise ImportError("router_sdk_mcp needs mcp 2.x: pip install 'mcp>=2.0,<2.4'", name=error.name) from error
        raise
    globals()[name] = value
    return value
