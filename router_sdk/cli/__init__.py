"""The command line ``router``; no command decides anything itself.

A plugin that adds commands gives them what the built-in ones have by ``command``, see docs/cli.md.
"""

import atexit
import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_sdk.cli.invocation import Invocation, command

__all__ = ["Invocation", "command", "main"]


def __getattr__(name: str) -> Any:
    """Load what commands are made of when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'router_sdk.cli' has no attribute {name!r}")
    return getattr(import_module("router_sdk.cli.invocation"), name)


def main() -> None:
    """Run the command line; nothing of it is imported before."""
    # Most of what a short process makes is what it imports, and that stays: to look through it for garbage, while it
    # grows and once more at the end, takes a quarter of such a process.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    from router_sdk.cli.app import app

    app(prog_name="router")
