from pathlib import Path

import pytest
import typer
from router_sdk_server.hooks import register_commands

PAGE = (Path(__file__).parents[3] / "docs" / "service.md").read_text(encoding="utf-8")


def commands():
    """The commands that the plugin adds, by the words that call them."""
    app = typer.Typer()
    register_commands(app)
    for name, command in typer.main.get_command(app).commands.items():
        for inner, below in getattr(command, "commands", {"": command}).items():
            yield f"router {name} {inner}".strip(), below


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_stands_in_the_docs_and_has_help(name):
    assert f"`{name}" in PAGE
    assert ALL[name].help
    for parameter in ALL[name].params:
        assert getattr(parameter, "help", None) or parameter.name == "help"
        for option in parameter.opts:
            assert not option.startswith("--") or option == "--help" or f"`{option}" in PAGE, option


def test_every_path_in_the_docs_is_served(client):
    described = client.app.openapi()["paths"]
    for path in ("/v1/route", "/v1/outcomes", "/v1/systemone", "/v1/retrain", "/metrics", "/v1/ask", "/v1/forget"):
        assert path in described
        assert path in PAGE


def test_the_description_of_every_figure_is_its_own(client):
    text = client.get("/metrics").text
    told = [line for line in text.splitlines() if line.startswith("# HELP")]
    assert len(told) == len(set(told)) > 15
