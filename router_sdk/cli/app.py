"""The application: which commands there are, those of plugins included, and what happens when one fails."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from router_sdk import __version__
from router_sdk.cli.commands import agents, bench, demo, exchange, init, models, plugins, record, route, status, store
from router_sdk.cli.invocation import command
from router_sdk.cli.screen import BAD_INPUT, OTHER, report_fault
from router_sdk.errors import FAULTS, InvalidInputError, RouterError, let_end
from router_sdk.plugins import PluginRegistry

_log = logging.getLogger(__name__)

_FIT = "Fit and promote"
_START, _WORK, _DATA, _EXTEND = "Start", "Route and learn", "Data", "Extend and measure"


class RouterGroup(TyperGroup):
    """The top level: faults become one line and an exit code, and plugins may add commands.

    Plugins are asked only where their commands can matter: for the help, and for a name that is not built in.
    """

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


app.command("demo", rich_help_panel=_START)(command(demo.demo))
app.command("init", rich_help_panel=_START)(command(init.init))
app.command("route", rich_help_panel=_WORK)(command(route.route))
app.command("record", rich_help_panel=_WORK)(command(record.record))
app.add_typer(agents.app, name="agents", rich_help_panel=_WORK)
app.command("status", rich_help_panel=_WORK)(command(status.status))
app.command("retrain", rich_help_panel=_FIT)(command(models.retrain))
app.command("pretrain", rich_help_panel=_FIT)(command(models.pretrain))
app.command("versions", rich_help_panel=_FIT)(command(models.versions))
app.command("report", rich_help_panel=_FIT)(command(models.report))
app.command("promote", rich_help_panel=_FIT)(command(models.promote))
app.command("rollback", rich_help_panel=_FIT)(command(models.rollback))
app.command("pin", rich_help_panel=_FIT)(command(models.pin))
app.command("unpin", rich_help_panel=_FIT)(command(models.unpin))
app.command("export", rich_help_panel=_DATA)(command(exchange.export))
app.command("import", rich_help_panel=_DATA)(command(exchange.import_file))
app.command("predict", rich_help_panel=_DATA)(command(exchange.predict))
app.command("snapshot", rich_help_panel=_DATA)(command(store.snapshot))
app.command("archive", rich_help_panel=_DATA)(command(store.archive))
app.command("forget", rich_help_panel=_DATA)(command(store.forget))
app.command("backup", rich_help_panel=_DATA)(command(store.backup))
app.command("restore", rich_help_panel=_DATA)(command(store.restore))
app.add_typer(plugins.app, name="plugins", rich_help_panel=_EXTEND)
app.command("bench", rich_help_panel=_EXTEND, context_settings={"ignore_unknown_options": True})(command(bench.bench))
