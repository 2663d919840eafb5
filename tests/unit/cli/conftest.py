import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from router_sdk.cli.app import app


class CommandLine:
    """The command line in a folder of its own: `run` for people, `json` for programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "router.db"

    def run(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin, terminal_width=120)
        assert result.exit_code == code, f"{arguments}: exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stdout
        return result

    def json(self, *arguments: str, stdin: str | bytes = ""):
        return json.loads(self.run(*arguments, "--json", stdin=stdin).stdout)

    def lines(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> tuple[list[dict], list[dict]]:
        result = self.run(*arguments, "--json", stdin=stdin, code=code)
        told = [json.loads(line) for line in result.stderr.splitlines()]
        return [json.loads(line) for line in result.stdout.splitlines()], [
            line for line in told if line.keys().isdisjoint({"log", "progress"})
        ]

    def fault(self, *arguments: str, code: int) -> dict:
        result = self.run(*arguments, "--json", code=code)
        assert result.stdout == "", "a failed command must not answer"
        return json.loads(result.stderr.splitlines()[-1])["error"]


@pytest.fixture
def cli(tmp_path, monkeypatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    for name in ("ROUTER_STORE", "ROUTER_AGENTS", "ROUTER_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROUTER_SEED", "7")  # no test shall meet the one task in a hundred that explores
    return CommandLine(tmp_path)


@pytest.fixture
def desk(cli) -> CommandLine:
    """A command line whose store has agents."""
    cli.run("agents", "add", "billing", "--example", "I was charged twice", "--capability", "refunds")
    cli.run("agents", "add", "technical", "--example", "the app crashes")
    return cli


@pytest.fixture
def words_alone(monkeypatch):
    """The strategy is the whole chain, and fits in this process: a child takes seconds to start."""
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words"]')
    monkeypatch.setenv("ROUTER_EPSILON", "0")
    monkeypatch.setenv("ROUTER_FIT_EXECUTOR", "thread")
