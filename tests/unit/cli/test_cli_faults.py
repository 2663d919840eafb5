import json
import logging
import sqlite3

import pytest
import typer
from typer.testing import CliRunner

from router_sdk.cli.app import RouterGroup, app
from router_sdk.cli.invocation import Invocation, command
from router_sdk.cli.screen import describe_fault
from router_sdk.errors import (
    InvalidConfigError,
    NoEligibleAgentError,
    StoreUnavailableError,
    UnknownAgentError,
    UnknownStrategyError,
)


def failing(error: BaseException) -> typer.Typer:
    """The command line with one command, which fails."""
    line = typer.Typer(cls=RouterGroup)

    @line.callback()
    def root() -> None:
        pass

    @line.command()
    @command
    def fail(invocation: Invocation) -> None:
        logging.getLogger("router_sdk.somewhere").warning("before the fault")
        raise error

    return line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidConfigError("x"), 2),
        (UnknownAgentError("x"), 2),
        (UnknownStrategyError("x"), 2),
        (NoEligibleAgentError("x"), 1),
        (StoreUnavailableError("x"), 1),
        (sqlite3.DatabaseError("malformed"), 1),
        (PermissionError(13, "Permission denied", "/a/file"), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_every_fault_is_one_line_an_exit_code_and_no_traceback(error, code):
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == code
    warning, line = result.stderr.strip().split("\n")
    assert warning == "warning: before the fault"
    assert line == f"error: {describe_fault(error)[0]}"
    assert result.stdout == ""


@pytest.mark.parametrize("option", ["--verbose", "-v"])
def test_verbose_shows_where(option):
    result = CliRunner().invoke(failing(ZeroDivisionError("division by zero")), ["fail", option])
    assert "Traceback" in result.stderr
    assert result.stderr.strip().endswith("--verbose shows where")


def test_stderr_is_json_by_the_line_for_programs():
    result = CliRunner().invoke(failing(ZeroDivisionError("0")), ["fail", "--json", "-v"])
    log, fault = map(json.loads, result.stderr.splitlines())
    assert log["log"]["message"] == "before the fault"
    assert fault["error"]["exit_code"] == 1
    assert "ZeroDivisionError" in fault["error"]["traceback"]


def test_an_interrupt_is_silent():
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert "error" not in result.stderr


def test_control_characters_in_a_message_are_spelled_out():
    result = CliRunner().invoke(failing(InvalidConfigError("\x1b[2J gone")), ["fail"])
    assert "error: \\x1b[2J gone" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rout"], "Did you mean 'route'"),
        (["route", "x", "--nope"], "--nope"),
        (["demo", "--rounds", "3"], "20"),
        (["export"], "PATH"),
    ],
)
def test_a_misused_command_line_is_one_line_that_says_where_to_look(cli, arguments, words):
    line = cli.run(*arguments, code=2).stderr.strip()
    assert line.startswith("error: ")
    assert words.lower() in line.lower()
    assert "--help" in line
    assert cli.fault(*arguments, code=2)["exit_code"] == 2


def test_groups_and_the_command_line_itself_show_their_help(cli):
    commands = typer.main.get_command(app).commands
    groups = [name for name in ("agents", "experiments", "keys", "plugins", "store") if name in commands]
    for name in groups:
        shown = cli.run(name, code=2)
        assert ("Commands" in shown.stdout, shown.stderr) == (True, ""), name
    assert len(groups) >= 4
    assert "record" in cli.run().stdout


def test_the_log_of_a_plugin_is_a_line_like_any_other_and_of_a_library_its_warnings_alone():
    talk = typer.Typer(cls=RouterGroup)

    @talk.command()
    @command
    def chat(invocation: Invocation) -> None:
        logging.getLogger("router_sdk_elsewhere.client").warning("a plugin warns")
        logging.getLogger("router_sdk_elsewhere.client").debug("a plugin talks")
        logging.getLogger("library").warning("a library warns")
        logging.getLogger("library").debug("a library talks")

    talk.callback()(lambda: None)
    warned = ["a plugin warns", "a library warns"]
    assert CliRunner().invoke(talk, ["chat"]).stderr.splitlines() == [f"warning: {words}" for words in warned]
    lines = map(json.loads, CliRunner().invoke(talk, ["chat", "--json", "-v"]).stderr.splitlines())
    assert [line["log"]["message"] for line in lines] == [warned[0], "a plugin talks", warned[1]]


def test_the_log_goes_to_a_file_and_leaves_the_logger_as_it_was(cli):
    logger = logging.getLogger()
    before = (logger.level, list(logger.handlers))
    cli.run("agents", "add", "a", "--log-file", "log.txt")
    cli.run("plugins", "list", "--log-file", "log.txt")
    assert (cli.folder / "log.txt").exists()
    assert (logger.level, list(logger.handlers)) == before


def test_settings_come_from_the_option_then_the_environment_then_the_file(cli, monkeypatch):
    cli.run("init", "--store", "file.db", "--agent", "a")
    monkeypatch.setenv("ROUTER_STORE", "environment.db")
    cli.run("route", "x", "--store", "option.db")
    cli.run("route", "x")
    monkeypatch.delenv("ROUTER_STORE")
    cli.run("route", "x")
    made = sorted(path.name for path in cli.folder.glob("*.db"))
    assert made == ["environment.db", "file.db", "option.db"]
