from pathlib import Path

import pytest
import typer

from router_sdk.cli.app import app

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def commands(command, words):
    """Every command below one, with the words that call it."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield " ".join(words), command
    for name, below in inner.items():
        yield from commands(below, [*words, name])


ALL = dict(commands(typer.main.get_command(app), ["router"]))


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_stands_in_the_docs(name):
    text = DOCS.read_text(encoding="utf-8")
    assert f"`{name}" in text
    for parameter in ALL[name].params:
        for option in [*parameter.opts, *parameter.secondary_opts]:
            if option.startswith("--"):
                assert f"`{option}" in text, f"{name} {option}"


def test_the_table_of_commands_has_them_all():
    text = DOCS.read_text(encoding="utf-8")
    table = text[: text.index("## Options of every command")]
    assert {name for name in ALL if f"`{name}`" not in table and f"`{name.rpartition(' ')[0]} …`" not in table} == set()


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_help(name):
    assert ALL[name].help
    assert all(getattr(parameter, "help", None) for parameter in ALL[name].params if parameter.name != "help")
