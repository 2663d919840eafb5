"""One call of the command line: the options that every command has, and texts as the values that they spell."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from router_sdk.cli.screen import Screen, logging_to
from router_sdk.errors import InvalidConfigError, InvalidInputError, StoreUnavailableError
from router_sdk.private_files import may_be_written

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.router import Router


CONFIG_FILES = tuple(Path(f"router.{ending}") for ending in ("toml", "yaml", "yml", "json"))
"""One of them is read where it stands in the current folder and no other file is named."""

_PANEL = "Options of every command"

P = ParamSpec("P")
STDIN = "-"
"""Stands for standard input wherever a text or a file is asked for."""

ActorOption = Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Who says so, for the history.")]


def output_file(option: str, path: Path) -> None:
    """See that a file may be written there before the work is done, not after it.

    Raises:
        InvalidInputError: if it may not.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InvalidInputError(f"{option} {path}: not a file in a folder that exists")
    may_be_written(path)


@dataclass(frozen=True)
class Invocation:
    """One call of the command line. The fields are the options that every command has, see ``command``.

    Attributes:
        store: The store named on the command line, or None.
        config_file: The configuration file named on the command line, or None.
        as_json: Whether a program reads the answer.
        verbose: Whether to say what is going on, and to show tracebacks.
        log_file: Where to write the log as well, or None.
    """

    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="The log: a SQLite file, or the URL of a database that a plugin brings. "
            "Default: ROUTER_STORE, what the configuration says, or router.db.",
        ),
    ] = None
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Configuration in TOML, YAML or JSON. Default: router.toml, .yaml, .yml or .json, where there is one.",
        ),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_PANEL, help="Answer in JSON, for programs; errors too.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", rich_help_panel=_PANEL, help="Say what is going on; show tracebacks.")
    ] = False
    log_file: Annotated[
        Path | None,
        typer.Option("--log-file", metavar="FILE", rich_help_panel=_PANEL, help="Add the log to this file."),
    ] = None

    @cached_property
    def screen(self) -> Screen:
        """Where the answer goes."""
        return Screen(as_json=self.as_json)

    @property
    def config_path(self) -> Path | None:
        """The configuration file in force, or None.

        Raises:
            InvalidConfigError: if several stand in the current folder, and none is named.
        """
        if self.config_file is not None:
            return self.config_file
        found = [path for path in CONFIG_FILES if path.is_file()]
        if len(found) > 1:
            raise InvalidConfigError(f"{' and '.join(map(str, found))} stand here; say which one with --config")
        return found[0] if found else None

    @cached_property
    def config(self) -> RouterConfig:
        """The settings in force: the command line's, then the environment's, then the file's.

        Raises:
            InvalidConfigError: if the file cannot be read, or says something that is not understood.
        """
        from router_sdk.config import configure

        return configure(self.config_path, {} if self.store is None else {"store": self.store})

    def router(
        self, *, new: bool = True, brief: bool = True, config: RouterConfig | None = None, **settings: Any
    ) -> Router:
        """A router with the settings in force.

        Args:
            new: Whether a store that does not exist is made.
            brief: Whether the command ends in a moment: then no trigger starts a fit that it would not see end.
            config: Settings instead of those in force.
            **settings: Settings of this command; they come first.

        Raises:
            StoreUnavailableError: if the store does not exist and ``new`` is False; says what to do.
        """
        from router_sdk.router import Router

        config = self.config if config is None else config
        if not new and isinstance(config.store, Path) and not config.store.expanduser().is_file():
            raise StoreUnavailableError(
                f"there is no store at {config.store.expanduser()} yet: route a first task (router route 'some text'), "
                "name another one with --store, or see what it is all about with router demo"
            )
        if brief:
            settings.setdefault("retrain", False)
        return Router(config=config, **settings)


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

    # Typer keeps the ends of lines; a terminal has its own width.
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    run.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    run.__annotations__ = hints
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
            for parameter in parameters
        ]
    )
    return run


def typed_pairs(given: Sequence[str], option: str) -> dict[str, Any]:
    """``["mape=12.5", "region=EU"]`` as a mapping: numbers, true and false are read as such, all else is text.

    Quotes make a text of anything: ``zip='"12345"'``.

    Raises:
        InvalidInputError: if one has no ``=``, or a name stands twice.
    """
    found: dict[str, Any] = {}
    for pair in given:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise InvalidInputError(f"{option} {pair!r}: expected name=value")
        if name in found:
            raise InvalidInputError(f"{option} {name!r} is given twice")
        found[name] = _typed(value)
    return found


def readable(source: str) -> str:
    """A file that can be read, or ``-``; asked before there is a store.

    Raises:
        InvalidInputError: if there is no such file.
    """
    if source != STDIN and not Path(source).is_file():
        raise InvalidInputError(f"cannot read {source}: no such file")
    return source


def text_or_stdin(value: str) -> str:
    """The text itself, or what stands on standard input where it is ``-``."""
    return sys.stdin.read().strip() if value == STDIN else value


def _typed(value: str) -> Any:
    try:
        spelled = json.loads(value, parse_constant=str)
    except ValueError:
        return value
    return spelled if isinstance(spelled, (bool, int, float, str)) else value
