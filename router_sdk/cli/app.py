"""The application: which commands there are, those of plugins included, and what happens when one fails."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from router_sdk import __version__
from router_sdk.cli.invocation import command
from router_sdk.cli.screen import BAD_INPUT, OTHER, report_fault
from router_sdk.errors import FAULTS, InvalidInputError, RouterError, let_end

_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where a command stands: its heading in the help, its module, and its function or group there."""

    panel: str
    module: str
    function: str
    context: Mapping[str, Any] = {}


_START, _WORK, _FIT = "Start", "Route and learn", "Fit and promote"
_DATA, _EXTEND = "Data", "Extend and measure"
_BUILT_IN: Mapping[str, _Place] = {
    "demo": _Place(_START, "demo", "demo"),
    "init": _Place(_START, "init", "init"),
    "route": _Place(_WORK, "route", "route"),
    "record": _Place(_WORK, "record", "record"),
    "explain": _Place(_WORK, "explain", "explain"),
    "stream": _Place(_WORK, "stream", "stream"),
    "agents": _Place(_WORK, "agents", "app"),
    "status": _Place(_WORK, "status", "status"),
    "savings": _Place(_WORK, "savings", "savings"),
    "retrain": _Place(_FIT, "models", "retrain"),
    "pretrain": _Place(_FIT, "models", "pretrain"),
    "warm-up": _Place(_FIT, "models", "warm_up"),
    "loop": _Place(_FIT, "loop", "loop"),
    "versions": _Place(_FIT, "models", "versions"),
    "report": _Place(_FIT, "models", "report"),
    "import-version": _Place(_FIT, "models", "import_version"),
    "promote": _Place(_FIT, "models", "promote"),
    "rollback": _Place(_FIT, "models", "rollback"),
    "lift": _Place(_FIT, "models", "lift"),
    "pin": _Place(_FIT, "models", "pin"),
    "unpin": _Place(_FIT, "models", "unpin"),
    "evaluate": _Place(_FIT, "evaluate", "evaluate"),
    "experiments": _Place(_FIT, "experiments", "app"),
    "tune-thresholds": _Place(_FIT, "thresholds", "tune_thresholds"),
    "export": _Place(_DATA, "exchange", "export"),
    "import": _Place(_DATA, "exchange", "import_file"),
    "watch": _Place(_DATA, "watch", "watch"),
    "predict": _Place(_DATA, "exchange", "predict"),
    "snapshot": _Place(_DATA, "store", "snapshot"),
    "archive": _Place(_DATA, "store", "archive"),
    "forget": _Place(_DATA, "store", "forget"),
    "backup": _Place(_DATA, "store", "backup"),
    "restore": _Place(_DATA, "store", "restore"),
    "store": _Place(_DATA, "migrate", "app"),
    "plugins": _Place(_EXTEND, "plugins", "app"),
    "soak": _Place(_EXTEND, "soak", "soak"),
    "bench": _Place(_EXTEND, "bench", "bench", {"ignore_unknown_options": True}),
}


_BROUGHT = {"serve": "router-sdk-server", "keys": "router-sdk-server", "mcp": "router-sdk-mcp"}
"""Commands of distributions that may not be installed."""


class _Commands(MutableMapping[str, Any]):
    """Commands by name. A built-in one is imported where it is asked for, so that no other is."""

    def __init__(self, made: Mapping[str, Any]) -> None:
        self._found: dict[str, Any] = {**_BUILT_IN, **made}

    def __getitem__(self, name: str) -> Any:
        found = self._found[name]
        if isinstance(found, _Place):
            found = self._found[name] = _imported(name, found)
        return found

    def __setitem__(self, name: str, made: Any) -> None:
        self._found[name] = made

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found


class RouterGroup(TyperGroup):
    """The top level: faults become one line and an exit code, and plugins may add commands.

    Plugins are asked only where their commands can matter: for the help, and for a name that is not built in.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.commands = _Commands(self.commands)

    _asked = False

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse and run; never a traceback, unless ``--verbose`` asks for one."""
        told = sys.argv[1:] if args is None else list(args)
        options = told[: told.index("--")] if "--" in told else told
        as_json, verbose = "--json" in options, not {"--verbose", "-v"}.isdisjoint(options)
        try:
            code = super().main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except (KeyboardInterrupt, typer.Abort):
            sys.exit(130)
        except Exception as error:
            # What Typer raises for a command line that it does not understand has no public name in all of its
            # releases; all that is needed of it is how it words itself.
            worded = getattr(error, "format_message", None)
            if worded is None:
                sys.exit(report_fault(error, as_json=as_json, verbose=verbose))
            sys.exit(_report_usage(error, worded(), as_json=as_json))
        sys.exit(code if isinstance(code, int) else 0)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name, built in or brought by a plugin."""
        found = super().get_command(ctx, cmd_name)
        if found is None and not self._asked:
            self._ask_plugins()
            found = super().get_command(ctx, cmd_name)
        if found is None and (bringer := _BROUGHT.get(cmd_name)):
            raise InvalidInputError(f"router {cmd_name} comes with {bringer}: pip install {bringer}")
        return found

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order in which they were added."""
        self._ask_plugins()
        return super().list_commands(ctx)

    def _ask_plugins(self) -> None:
        if not self._asked:
            self._asked = True
            for name, brought in plugin_commands(taken=self.commands).items():
                self.add_command(brought, name)


def _report_usage(error: Exception, message: str, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    if not message:  # a group was called without a command, and has shown its help
        return BAD_INPUT
    if context is not None:
        message = f"{message.rstrip('.')} (see {context.command_path} --help)"
    report_fault(InvalidInputError(message), as_json=as_json, verbose=False)
    return BAD_INPUT if getattr(error, "exit_code", BAD_INPUT) == BAD_INPUT else OTHER


def plugin_commands(taken: Collection[str]) -> dict[str, Any]:
    """Every command and group of commands that an installed plugin adds, by name.

    A plugin that raises, or claims a name that is taken, is passed over with a warning: the others still work.

    Args:
        taken: Names of the built-in commands.
    """
    from router_sdk.plugins import PluginRegistry

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


def _imported(name: str, place: _Place) -> Any:
    """A built-in command."""
    made = getattr(import_module(f"router_sdk.cli.commands.{place.module}"), place.function)

    def register(cli: typer.Typer) -> None:
        if isinstance(made, typer.Typer):
            cli.add_typer(made, name=name, rich_help_panel=place.panel)
        else:
            cli.command(name, rich_help_panel=place.panel, context_settings=dict(place.context))(command(made))

    return _commands(register)[name]


def _commands(register: Callable[..., object]) -> dict[str, Any]:
    """What is registered, collected apart so that it can neither replace nor break anything."""
    own = typer.Typer(rich_markup_mode="rich")

    @own.callback()
    def _keep_as_group() -> None:
        """Typer makes a group of one command only where there is a callback."""

    register(cli=own)
    brought: dict[str, Any] = getattr(typer.main.get_command(own), "commands", {})
    return brought


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"router-sdk {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=RouterGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """Decides which agent gets which task, and gets better at it from what happened."""
    if context.invoked_subcommand is None:
        context.get_help()
