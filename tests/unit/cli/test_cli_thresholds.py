"""``router tune-thresholds --apply``: what it finds stands in the configuration file."""

import json
import os
import tomllib

import pytest

PLUGIN = """
from router_sdk.plugin import Proposal, Strategy, hookimpl


class Specialist(Strategy):
    name = "specialist"

    def propose(self, task, agents, context):
        return Proposal({"a": 1.0, "b": 0.0}, confidence=0.9 if task.text.startswith("known") else 0.3)


class Generalist(Strategy):
    name = "generalist"

    def propose(self, task, agents, context):
        return Proposal({"a": 0.0, "b": 1.0})


@hookimpl
def register_strategies():
    return [Specialist, Generalist]
"""
CONFIG = """# mine
strategies = ["specialist", "generalist"]   # the chain
agents = ["a", "b"]
"""


@pytest.fixture
def judged(cli, tmp_path_factory, monkeypatch):
    """A command line whose log says that the specialist is wrong where it is unsure."""
    site = tmp_path_factory.mktemp("site")
    (site / "two_kinds.py").write_text(PLUGIN)
    info = site / "two_kinds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: two-kinds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[router_sdk]\ntwo = two_kinds\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("ROUTER_STRATEGIES", raising=False)
    (cli.folder / "router.toml").write_text(CONFIG)
    rows = [
        {"text": f"{('known', 'unknown')[number % 2]} {number}", "label": "ab"[number % 2]} for number in range(400)
    ]
    (cli.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cli.run("import", "rows.jsonl")
    return cli


def test_it_shows_the_difference_asks_and_writes(judged):
    path = judged.folder / "router.toml"
    shown = judged.run("tune-thresholds", "--apply", stdin="n\n")
    assert "+[strategy.specialist]" in shown.stdout
    assert "Nothing was written" in shown.stdout
    assert path.read_text() == CONFIG
    assert "nobody answered" in judged.run("tune-thresholds", "--apply", code=2).stderr
    assert path.read_text() == CONFIG
    judged.run("tune-thresholds", "--apply", stdin="y\n")
    text = path.read_text()
    assert text.startswith(CONFIG)
    value = tomllib.loads(text)["strategy"]["specialist"]["confidence_threshold"]
    assert 0.0 < value < 1.0
    (stage, _) = judged.json("status")["strategies"]
    assert (stage["confidence_threshold"], stage["confidence_threshold_from"]) == (value, "configuration")
    again = judged.json("tune-thresholds", "--apply", "--yes")["applied"]
    assert (again["written"], again["diff"]) == (False, [])
    path.write_text(text.replace(f"= {value}", "= 0.01   # a guess"))
    applied = judged.json("tune-thresholds", "--apply", "--yes")["applied"]
    assert (applied["written"], applied["config"]) == (True, os.fspath(path))
    assert path.read_text() == text.replace(f"= {value}", f"= {value}   # a guess")


def test_what_cannot_be_written_is_refused_before_the_work(judged, monkeypatch):
    assert "--yes" in judged.fault("tune-thresholds", "--apply", code=2)["message"]
    monkeypatch.setenv("ROUTER_STRATEGY", '{"specialist": {"confidence_threshold": 0.2}}')
    told = judged.fault("tune-thresholds", "--apply", "--yes", code=2)["message"]
    assert "ROUTER_STRATEGY sets confidence_threshold of specialist to 0.2" in told
    monkeypatch.delenv("ROUTER_STRATEGY")
    (judged.folder / "router.toml").rename(judged.folder / "other.toml")
    assert "no configuration file" in judged.fault("tune-thresholds", "--apply", "--yes", code=2)["message"]
    assert judged.json("tune-thresholds", "--apply", "--yes", "--config", "other.toml")["applied"]["written"]
