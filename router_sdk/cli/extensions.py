"""Commands that plugins bring, through the hook ``register_commands``."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import typer

from router_sdk.errors import RouterError
from router_sdk.isolation import FAULTS, let_end
from router_sdk.plugins import PluginRegistry

_log = logging.getLogger(__name__)


def plugin_commands(taken: Collection[str]) -> dict[str, Any]:
    """Every command and group of commands that an installed plugin adds, by name.

    A plugin that raises, or claims a name that is taken, is passed over with a warning: the others still work.

    Args:
        taken: Names of the built-in commands.
    """
    try:
        registry = PluginRegistry.load()
    except RouterError as error:
        _log.warning("plugins cannot add commands: %s", error)
        return {}
    found: dict[str, Any] = {}
    for implementation in registry.hook.register_commands.get_hookimpls():
        plugin = implementation.plugin_name
        try:
            brought = _commands(implementation.function)
        except FAULTS as error:
            let_end(error)
            _log.warning("plugin %s: register_commands raised %s: %s", plugin, type(error).__name__, error)
            continue
        for name, made in brought.items():
            if name in taken or name in found:
                _log.warning("plugin %s: a command %r exists already; its own is left out", plugin, name)
            else:
                found[name] = made
    return found


def _commands(register: Any) -> dict[str, Any]:
    """What one plugin adds, collected apart so that it can neither replace nor break anything."""
    own = typer.Typer()

    @own.callback()
    def _keep_as_group() -> None:
        """Typer makes a group of one command only where there is a callback."""

    register(cli=own)
    brought: dict[str, Any] = getattr(typer.main.get_command(own), "commands", {})
    return brought
