import json

import pytest

from router_sdk import Router

SMALL = ("demo", "--rounds", "20", "--seeds", "1", "--processes", "1", "--strategies", "thompson,heuristic")


def test_the_demo_ends_in_tables_and_a_page(cli):
    shown = cli.run(
        *("demo", "--rounds", "20", "--seeds", "1", "--processes", "1", "--strategies", "thompson,heuristic"),
        *("--out", "page.html"),
    ).stdout
    for expected in (
        *("Support desk", "Marketing-mix", "oracle", "heuristic alone", "thompson alone", "learning off", "router"),
        *("What the router gains on each", "Where the router lost", "answered by thompson", "given to", "regret"),
        *("What came out", "page.html"),
    ):
        assert expected in shown
    page = (cli.folder / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert sorted(path.name for path in cli.folder.iterdir()) == ["page.html"]


@pytest.mark.slow
def test_every_line_of_the_tables_fits_eighty_columns(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli.run(*SMALL, "--act", "support-desk", "--seeds", "2").stdout
    table = shown[shown.index("What the router gains") : shown.index("Where the router lost")]
    assert "…" not in table
    assert "1/2" in table or "2/2" in table or "0/2" in table


def test_a_program_gets_the_report_and_may_keep_the_log(cli):
    report = cli.json(
        *("demo", "--rounds", "20", "--seeds", "1", "--processes", "1", "--seed", "3", "--store", "kept.db"),
        *("--strategies", "heuristic"),
    )
    assert report["page"] == "router-demo.html"
    desk, mix = report["acts"]
    assert desk["seeds"] == mix["seeds"] == [3]
    assert set(desk["answered"]["values"]) <= {"heuristic", "uniform"}
    assert {one["verdict"] for one in desk["comparisons"]} <= {"won", "lost", "even"}
    with Router(store="kept.db", learning=False) as router:
        assert router.status()["store"]["decisions"] == desk["tasks"]
    assert "exists already" in cli.fault("demo", "--store", "kept.db", code=2)["message"]


def test_a_file_of_tasks_is_played_instead(cli):
    rows = [{"text": f"{word} {i}", "label": word} for i in range(60) for word in ("pay", "crash")]
    (cli.folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (act,) = cli.json(*SMALL, "--data", "tasks.jsonl", "--rounds", "50")["acts"]
    assert sorted(act["agents"]) == ["crash", "pay"]
    assert act["tasks"] == 50


def test_a_foreign_file_is_played_by_a_mapping(cli):
    rows = [{"title": f"{word} {i}", "tree": [f"{word} >> more"]} for i in range(60) for word in ("pay", "crash")]
    (cli.folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mapping = ("--map", "text=title", "--map", "label=tree:first")
    (act,) = cli.json(*SMALL, "--data", "tasks.jsonl", *mapping)["acts"]
    assert sorted(act["agents"]) == ["crash", "pay"]
    assert "--data" in cli.fault("demo", *mapping, code=2)["message"]


@pytest.mark.slow
def test_one_scenario_may_be_played_alone(cli):
    (act,) = cli.json(*SMALL, "--act", "marketing-mix")["acts"]
    assert act["act"] == "marketing-mix"
    assert "--act" in cli.fault("demo", "--act", "support-desk", "--data", "x.csv", code=2)["message"]


@pytest.mark.slow
def test_progress_is_told_where_there_is_no_terminal(cli, monkeypatch):
    monkeypatch.setattr("router_sdk.cli.screen._LINE_S", 0.0)
    told = cli.run(*SMALL, "--act", "support-desk").stderr.splitlines()
    assert any("support desk, seed 0, router: tasks move" in line for line in told)
    assert told[-1].split() == ["100%", "summing", "up"]
    lines = cli.run(*SMALL, "--act", "marketing-mix", "--json").stderr.splitlines()
    told = [json.loads(line)["progress"] for line in lines]
    shares = [one["done"] for one in told]
    assert shares == sorted(shares)
    assert told[-1] == {"done": 1.0, "words": "summing up"}


def test_what_cannot_work_is_said_before_the_work(cli):
    assert "--out" in cli.fault("demo", "--out", "no/such/folder/page.html", code=2)["message"]
    assert "--config" in cli.fault("demo", "--config", "router.toml", code=2)["message"]
    assert cli.fault("demo", "--rounds", "20", "--strategies", "nope", code=2)["type"] == "UnknownStrategyError"
    assert cli.fault("demo", "--data", "missing.csv", code=2)["exit_code"] == 2
