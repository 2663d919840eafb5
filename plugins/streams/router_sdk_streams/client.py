"""The brokers' clients: imported where they are needed; and what to do where one, or its broker, is not there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from router_sdk.plugin import Address, InvalidInputError, StreamUnavailableError


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


def unreachable(where: str, why: object) -> StreamUnavailableError:
    """A broker that does not answer.

    Args:
        where: Which was asked, without who asks.
        why: What the client says of it.
    """
    todo = "start the broker, or correct HOST:PORT in the address"
    if "certificate verify failed" in str(why):
        todo = (
            "let this machine trust its certificate: SSL_CERT_FILE, or with Kafka ssl.ca.location, names what it trusts"
        )
    return StreamUnavailableError(f"{where} cannot be reached ({why}); {todo}")


def not_let_in(where: str, why: object) -> StreamUnavailableError:
    """A broker that answers others; arguments as ``unreachable``."""
    return StreamUnavailableError(
        f"{where} does not let us in ({why}); name somebody in the address who may: USER:PASSWORD@HOST:PORT"
    )
