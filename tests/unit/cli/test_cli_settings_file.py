import tomllib

import pytest
import yaml

from router_sdk import Router, RouterConfig
from router_sdk.cli.commands.init import settings_file
from router_sdk.config import load_config
from router_sdk.plugins import FIRST_PARTY, PluginRegistry


def test_what_init_writes_loads_and_routes(cli):
    cli.run("init")
    config = load_config("router.toml")
    assert [agent.name for agent in config.agents] == ["billing", "technical", "general"]
    decision = cli.json("route", "the app crashes when I open it")
    assert decision["ranking"][0] == "technical"
    assert cli.store.exists()


def flat(config):
    return config.model_dump(mode="json", exclude={"strategies"})


@pytest.mark.parametrize("agents", [[], ["openai/gpt-5", 'say "hi": #1', "客服", "null", "1e3", "- x"]])
@pytest.mark.parametrize("installed", [["bert", "heuristic", "thompson"], ["heuristic"], ["thompson", "words"], []])
def test_every_form_says_the_same(tmp_path, monkeypatch, agents, installed):
    monkeypatch.delenv("ROUTER_STRATEGIES")
    read = []
    for form in ("toml", "yaml", "json"):
        path = tmp_path / f"router.{form}"
        path.write_text(settings_file("odd: #place\\.db", agents, form, installed), encoding="utf-8")
        read.append(load_config(path))
    chain = tuple(name for name in ("bert", "thompson", "heuristic") if name in installed)
    assert [config.strategies for config in read] == [chain or None] * 3
    assert flat(read[0]) == {**flat(read[1]), "strategy": flat(read[0])["strategy"]}
    assert {name: told for name, told in read[0].strategy.items() if told} == read[1].strategy == read[2].strategy
    assert flat(read[1]) == flat(read[2])
    assert [agent.name for agent in read[0].agents] == (agents or ["billing", "technical", "general"])
    assert str(read[0].store) == "odd: #place\\.db"


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_a_file_called_router_is_read_by_itself_and_two_are_not_guessed_from(cli, form):
    told = cli.json("init", "--format", form, "--agent", "a")
    assert told["config"] == f"router.{form}"
    assert cli.json("route", "hello")["agent"] == "a"
    cli.run("init", "router.yml")
    assert "say which one with --config" in cli.fault("route", "hello", code=2)["message"]


@pytest.mark.parametrize("target", [["router.yaml"], ["r.yml"], ["r.json"], ["--format", "yaml"], ["--format", "json"]])
def test_the_name_or_the_option_says_how_it_is_written(cli, target):
    told = cli.json("init", *target, "--agent", "openai/gpt-5", "--agent", "anthropic/claude")
    decision = cli.json("route", "hello", "--config", told["config"])
    assert sorted(decision["ranking"]) == ["anthropic/claude", "openai/gpt-5"]
    with Router(config=told["config"]) as router:
        assert router.route("hello").agent in decision["ranking"]


@pytest.mark.parametrize("target", [["x.ini"], ["x"], ["x.toml", "--format", "json"], ["--format", "ini"]])
def test_a_form_that_is_not_read_is_not_written(cli, target):
    cli.fault("init", *target, code=2)
    assert list(cli.folder.iterdir()) == []


def test_the_chain_is_what_is_installed(cli, monkeypatch):
    monkeypatch.delenv("ROUTER_STRATEGIES")
    cli.run("init")
    installed = PluginRegistry.load().strategies
    assert load_config("router.toml").strategies == tuple(name for name in FIRST_PARTY if name in installed)
    assert "bert" in installed


def test_what_is_a_comment_in_yaml_is_understood_once_it_is_none():
    text = settings_file("router.db", ["a", "b"], "yaml")
    start = text.index("agents:")
    bare = "\n".join(line.replace("# ", "", 1) if " # " in line[:6] else line for line in text[start:].splitlines())
    told = yaml.safe_load(bare)
    assert told["agents"][0]["examples"] == ["A text that it should get"]
    assert told["strategy"]["heuristic"]["rules"][1]["hard"] is True
    assert told["strategy"]["thompson"]["min_evidence"] == 5.0


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
