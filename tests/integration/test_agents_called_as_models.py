"""Agents with ``/`` and ``:`` in their names, from the command line to the exports."""

import csv
import json

import pytest
from typer.testing import CliRunner

from router_sdk import Agent, Outcome, Router
from router_sdk.cli.app import app
from router_sdk.config import load_config

MODELS = ["openai/gpt-5", "anthropic/claude", "ft:gpt-4o:org::id"]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTER_SEED", "7")
    monkeypatch.setenv("ROUTER_EPSILON", "0")
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments, as_json=True):
        result = CliRunner().invoke(app, [*arguments, *(["--json"] if as_json else [])], terminal_width=120)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout) if as_json else result.stdout

    return run


def test_the_command_line_takes_and_shows_them(cli, tmp_path):
    for name in MODELS:
        cli("agents", "add", name, "--description", f"as {name} does")
    assert [agent["name"] for agent in cli("agents", "list")["agents"]] == MODELS
    decision = cli("route", "hello", "--exclude", MODELS[1], "--history", MODELS[0])
    assert decision["agent"] in (MODELS[0], MODELS[2])
    cli("record", decision["decision_id"], "--correct-agent", MODELS[1])
    for name in MODELS:
        assert name in cli("status", as_json=False)
        assert name in cli("agents", "list", as_json=False)
    for form in ("jsonl", "csv"):
        cli("export", f"out.{form}", "--format", form)
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert row["correct_agent"] == MODELS[1] == json.loads((tmp_path / "out.jsonl").read_text())["correct_agent"]
    cli("import", "out.jsonl")
    cli("agents", "remove", MODELS[2])
    assert [agent["name"] for agent in cli("agents", "list")["agents"]] == MODELS[:2]


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_a_configuration_takes_them(cli, form):
    cli("init", "--format", form, *(word for name in MODELS for word in ("--agent", name)))
    assert [agent.name for agent in load_config(f"router.{form}").agents] == MODELS


def test_they_are_learnt_kept_and_found_again(store_path, tmp_path):
    agents = [Agent(name, examples=[f"a task for {word}"]) for name, word in zip(MODELS, "abc", strict=True)]
    rules = [{"agent": MODELS[1], "keywords": "urgent", "hard": True}, {"agents": MODELS, "after": MODELS[0]}]
    chain = ["thompson", ("heuristic", {"rules": rules, "default_agent": MODELS[0]})]
    with Router(agents, chain, store_path, epsilon=0.0) as router:
        assert router.route("an urgent thing").agent == MODELS[1]
        for _ in range(12):
            router.record(router.route("x", exclude=MODELS[:2]), Outcome(success=True))
        router.fit(["y"], [MODELS[0]])
        path = tmp_path / "backup"
        router.snapshot()
        assert router.backup(path).decisions == 14
        learnt = {one.agent: one.executions for one in router.agent_performance()}
    with Router(store=store_path, strategies=chain, epsilon=0.0) as router:
        assert {agent.name for agent in router.agents} == set(MODELS)
        assert {one.agent: one.executions for one in router.agent_performance()} == learnt
        assert router.route({"text": "z", "history": [MODELS[0]]}).agent in MODELS
    names = {path.name for path in store_path.with_name("router.db.artifacts").rglob("*")}
    assert not [name for name in names if "gpt" in name or "claude" in name]
