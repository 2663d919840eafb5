"""Turns a function into a command: it gets one ``Invocation``, and the command line gets its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, Concatenate, ParamSpec, get_type_hints

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.logs import logging_to

P = ParamSpec("P")

_SHARED = tuple(field.name for field in fields(Invocation))


def command(function: Callable[Concatenate[Invocation, P], None]) -> Callable[..., None]:
    """Give a command the options that all of them have, in the form in which Typer reads a signature.

    Args:
        function: Takes an ``Invocation``, then its own arguments and options as Typer declares them.
    """
    first, *own = inspect.signature(function).parameters.values()
    hints = get_type_hints(function, include_extras=True)
    shared = get_type_hints(Invocation, include_extras=True)
    hints = {name: hint for name, hint in hints.items() if name not in ("return", first.name)}
    hints.update({name: shared[name] for name in _SHARED})
    parameters = [*own, *(inspect.signature(Invocation).parameters[name] for name in _SHARED)]

    @wraps(function)
    def run(**arguments: Any) -> None:
        invocation = Invocation(**{name: arguments.pop(name) for name in _SHARED})
        with logging_to(invocation.log_file, verbose=invocation.verbose, as_json=invocation.as_json):
            function(invocation, **arguments)  # type: ignore[call-arg]

    run.__annotations__ = hints
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
            for parameter in parameters
        ]
    )
    return run
