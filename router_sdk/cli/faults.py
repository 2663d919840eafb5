"""What a command that cannot go on says: one line, or one JSON object, and an exit code."""

from __future__ import annotations

import json
import sqlite3
import sys
import traceback

from pydantic import ValidationError

from router_sdk.cli.tables import visible
from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.records.record import describe

OTHER, BAD_INPUT = 1, 2
"""Exit codes; 2 is what was typed or handed in, 1 is everything else."""


def report_fault(error: Exception, *, as_json: bool, verbose: bool) -> int:
    """Say what is wrong on stderr; the traceback only where it was asked for.

    Returns:
        The exit code.
    """
    message, code = describe_fault(error)
    trace = "".join(traceback.format_exception(error)) if verbose else ""
    if as_json:
        told = {"type": type(error).__name__, "message": message, "exit_code": code}
        print(json.dumps({"error": {**told, **({"traceback": trace} if trace else {})}}), file=sys.stderr)  # noqa: T201
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True, highlight=False)
        line = Text.assemble(trace, ("error: ", "bold red"), visible(message))
        console.print(line, soft_wrap=not console.is_terminal)
    return code


def describe_fault(error: Exception) -> tuple[str, int]:
    """A fault in words, and the exit code that goes with it."""
    if isinstance(error, RouterError):
        return str(error), BAD_INPUT if isinstance(error, (InvalidInputError, LookupError)) else OTHER
    if isinstance(error, ValidationError):
        return describe(error), BAD_INPUT
    if isinstance(error, sqlite3.Error):
        return f"the store cannot be read: {error}", OTHER
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, OTHER
    return f"unexpected {type(error).__name__}: {error}; --verbose shows where", OTHER
