import tomllib

import pytest

from router_sdk import RouterConfig
from router_sdk.cli.settings_file import settings_file
from router_sdk.config import load_config


def test_what_init_writes_loads_and_routes(cli):
    cli.run("init")
    config = load_config("router.toml")
    assert [agent.name for agent in config.agents] == ["billing", "technical", "general"]
    assert config.strategies == ("thompson", "heuristic")
    decision = cli.json("route", "the app crashes when I open it")
    assert decision["ranking"][0] == "technical"
    assert cli.store.exists()


@pytest.mark.parametrize("name", ['say "hi"', "Grüße", "a\u00a0b" if "a\u00a0b".isprintable() else "ab"])
def test_names_survive_the_quoting(name):
    written = tomllib.loads(settings_file('odd "place"\\router.db', [name, "other"]))
    assert [agent["name"] for agent in written["agents"]] == [name, "other"]
    assert written["store"] == 'odd "place"\\router.db'
    RouterConfig.of(**written)


def test_what_is_commented_out_is_the_default():
    """A default that changes in the code must change in the file that shows it."""
    shown = {}
    for line in settings_file("router.db", ["a"]).split("[[agents]]")[0].splitlines():
        if line.startswith("# ") and " = " in line and line[2].islower() and " " not in line[2:].split(" = ")[0]:
            shown.update(tomllib.loads(line[2:]))
    assert set(shown) == {"epsilon", "privacy", "batch_events", "batch_seconds"}
    assert shown == {name: RouterConfig.model_fields[name].default for name in shown}


def test_the_commented_rules_are_understood_once_they_are_not_comments(cli):
    cli.run("init")
    path = cli.folder / "router.toml"
    text = path.read_text()
    start = text.index("# rules = [")
    end = text.index("# ]", start) + len("# ]")
    rules = "\n".join(line.removeprefix("# ") for line in text[start:end].splitlines())
    path.write_text(text[:start] + rules + text[end:])
    decision = cli.json("route", "nothing known", "--feature", "amount=2000", "--explain")
    assert decision["agent"] == "billing"
    assert decision["propensity"] == 1.0


def test_a_file_that_is_there_is_not_overwritten_unless_told_so(cli):
    path = cli.folder / "router.toml"
    path.write_text("epsilon = 0.1\n")
    assert "--force" in cli.fault("init", code=2)["message"]
    assert path.read_text() == "epsilon = 0.1\n"
    cli.run("init", "--force", "--agent", "one", "--agent", "two", "--store", "other.db")
    config = load_config(path)
    assert ([agent.name for agent in config.agents], str(config.store)) == (["one", "two"], "other.db")


@pytest.mark.parametrize("names", [["../x"], ["a", "a"]])
def test_bad_names_write_nothing(cli, names):
    cli.fault("init", *(word for name in names for word in ("--agent", name)), code=2)
    assert not (cli.folder / "router.toml").exists()
