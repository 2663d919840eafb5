"""The brokers' clients: imported where they are needed, and what to install where one is not there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from router_sdk.plugin import Address, InvalidInputError


def client(module: str, extra: str) -> Any:
    """A client's module.

    Raises:
        InvalidInputError: if it is not installed; says how to.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InvalidInputError(
            f"{extra}:// needs a client that is not installed: pip install 'router-sdk-streams[{extra}]' ({error})"
        ) from error


def only(address: Address, *known: str) -> None:
    """Look that an address has no other options.

    Raises:
        InvalidInputError: if it has; names those that there are.
    """
    if strange := sorted(address.options.keys() - {*known}):
        raise InvalidInputError(f"{address.scheme}: no option is called {strange[0]!r}; there are {', '.join(known)}")
