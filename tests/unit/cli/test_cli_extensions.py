import json

import pytest

_ENTRY = "[router_sdk]\n{name} = {module}\n"

_GREETER = """
import typer
from router_sdk.plugin import hookimpl, InvalidConfigError

@hookimpl
def register_commands(cli):
    @cli.command()
    def greet(name: str):
        "Greet somebody."
        typer.echo(f"hello {name}")

    @cli.command()
    def fail():
        raise InvalidConfigError("a fault of the plugin")

    @cli.command()
    def route():
        typer.echo("hijacked")

    more = typer.Typer()
    cli.add_typer(more, name="more")

    @more.command("one")
    def one():
        typer.echo("one more")

    @more.command("two")
    def two():
        typer.echo("two more")
"""
_BROKEN = """
from router_sdk.plugin import hookimpl

@hookimpl
def register_commands(cli):
    @cli.command()
    def half():
        pass
    raise RuntimeError("did not finish")
"""


@pytest.fixture
def install(tmp_path_factory, monkeypatch):
    """Put a distribution with one module and its entry point on the path."""

    def put(name: str, source: str, metadata: str = "") -> None:
        folder = tmp_path_factory.mktemp(name)
        (folder / f"{name}_plugin.py").write_text(source)
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}")
        (info / "entry_points.txt").write_text(_ENTRY.format(name=name, module=f"{name}_plugin"))
        monkeypatch.syspath_prepend(folder)

    return put


def test_a_plugin_adds_commands_and_groups(cli, install):
    install("greeter", _GREETER)
    assert cli.run("greet", "you").stdout == "hello you\n"
    assert cli.run("more", "two").stdout == "two more\n"
    assert "Greet somebody" in cli.run("--help").stdout


@pytest.mark.parametrize("name", ["serve", "keys", "mcp"])
def test_a_command_of_a_distribution_that_is_missing_says_what_to_install(cli, monkeypatch, name):
    monkeypatch.setattr("router_sdk.cli.app.plugin_commands", lambda taken: {})
    assert f"router {name} comes with router-sdk-" in cli.fault(name, code=2)["message"]


def test_a_plugin_cannot_take_a_built_in_command(cli, install, caplog):
    install("greeter", _GREETER)
    assert "hijacked" not in cli.run("route", "--help").stdout
    assert "hijacked" not in cli.run("--help").stdout
    assert "'route' exists already" in caplog.text


def test_a_plugins_fault_is_one_line_too(cli, install):
    install("greeter", _GREETER)
    assert "error: a fault of the plugin" in cli.run("fail", code=2).stderr


def test_a_broken_plugin_leaves_the_others_and_no_half_command(cli, install, caplog):
    install("greeter", _GREETER)
    install("broken", _BROKEN)
    install("missing", "import no_such_module_anywhere\n")
    assert "hello you" in cli.run("greet", "you").stdout
    assert "did not finish" in caplog.text
    assert "No such command" in cli.fault("half", code=2)["message"]
    listed = {info["name"]: info["error"] for info in cli.json("plugins", "list")["plugins"]}
    assert listed["greeter"] is None
    assert "no_such_module_anywhere" in listed["missing"]
    assert "not loaded" in cli.run("plugins", "list").stdout


def test_the_list_says_what_more_can_be_installed(cli, install):
    required = """
        Requires-Dist: pydantic; extra == "ready"
        Requires-Dist: pydantic; extra == "fit"
        Requires-Dist: no-such-library>=2; extra == "fit"
        Requires-Dist: pydantic>=999; extra == "newer"
        Requires-Dist: no-such-library; extra == "windows" and sys_platform == "no-such-platform"
        Provides-Extra: ready
        Provides-Extra: fit
        Provides-Extra: newer
        Provides-Extra: windows
    """
    install("greeter", _GREETER, "".join(f"{line.strip()}\n" for line in required.strip().splitlines()))
    listed = {info["name"]: info["install"] for info in cli.json("plugins", "list")["plugins"]}
    assert listed["greeter"] == ["pip install 'greeter[fit]'", "pip install 'greeter[newer]'"]
    assert "pip install 'greeter[fit]'" in cli.run("plugins", "list").stdout


def test_new_plugins_are_written_where_they_are_asked_for(cli):
    told = cli.json("plugins", "new", "nearest", "--in", "mine")
    assert (cli.folder / told["folder"] / "pyproject.toml").is_file()
    assert "is there already" in cli.fault("plugins", "new", "nearest", "--in", "mine", code=2)["message"]


def test_bench_lists_what_a_checkout_has(cli):
    found = json.loads(cli.run("bench", "--json").stdout)["benchmarks"]
    assert {"latency", "store"} <= found.keys()
    assert "there are" in cli.fault("bench", "../../etc/passwd", code=2)["message"]


def test_bench_says_so_where_there_is_no_checkout(cli, monkeypatch):
    monkeypatch.setattr("router_sdk.__file__", str(cli.folder / "site-packages" / "router_sdk" / "__init__.py"))
    assert "clone the repository" in cli.fault("bench", code=2)["message"]
