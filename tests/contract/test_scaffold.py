import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from router_sdk.cli.commands.plugins import plugin_files, write_plugin
from router_sdk.errors import InvalidInputError
from router_sdk.plugins import PluginRegistry

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "distribution", "package", "kind"),
    [
        ("nearest", "router-sdk-nearest", "router_sdk_nearest", "NearestStrategy"),
        ("my-rules2", "router-sdk-my-rules2", "router_sdk_my_rules2", "MyRules2Strategy"),
    ],
)
def test_names(name, distribution, package, kind):
    files = plugin_files(name)
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == distribution
    assert project["project"]["entry-points"]["router_sdk"] == {name: f"{package}.hooks"}
    assert f"class {kind}(Strategy)" in files[f"{package}/strategy.py"]
    assert not [place for place, content in files.items() if "$" in place + content]


@pytest.mark.parametrize(
    "name", ["", "Nearest", "1st", "a--b", "-a", "a-", "a b", "../up", "a/b", "a.b", "näher", "a\n", "x" * 51]
)
def test_a_name_that_cannot_serve_is_refused(name, tmp_path):
    with pytest.raises(InvalidInputError, match="plugin name"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_of_the_sdks_own_is_refused():
    with pytest.raises(InvalidInputError, match="is taken"):
        plugin_files("bert")


def test_nothing_is_overwritten(tmp_path):
    folder = write_plugin("fresh", tmp_path / "new" / "place")
    kept = folder / "README.md"
    kept.write_text("mine")
    with pytest.raises(InvalidInputError, match="is there already"):
        write_plugin("fresh", tmp_path / "new" / "place")
    assert kept.read_text() == "mine"


def test_what_is_written_registers_its_strategy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_plugin("scaffolded-one", tmp_path))
    import router_sdk_scaffolded_one.hooks

    registry = PluginRegistry.load([router_sdk_scaffolded_one.hooks], allow=[])
    assert list(registry.strategies) == ["scaffolded-one"]


@pytest.mark.slow
def test_what_is_written_passes_its_own_tests_and_the_linters(tmp_path):
    folder = write_plugin("scaffolded-two", tmp_path)
    style = ("--no-cache", "--config", ROOT / "pyproject.toml")
    commands = [
        ("pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio", "-o", f"pythonpath=. {ROOT}"),
        ("ruff", "check", *style, "router_sdk_scaffolded_two"),
        ("ruff", "format", "--check", *style, "."),
    ]
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
