import json

from router_sdk import Router


def test_the_demo_ends_in_a_table_and_a_page(cli):
    shown = cli.run("demo", "--rounds", "20", "--strategies", "thompson,heuristic", "--out", "page.html").stdout
    for expected in ("oracle", "heuristic", "router", "answered by thompson", "given to", "regret", "page.html"):
        assert expected in shown
    page = (cli.folder / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert sorted(path.name for path in cli.folder.iterdir()) == ["page.html"]


def test_a_program_gets_the_report_and_may_keep_the_log(cli):
    report = cli.json("demo", "--rounds", "20", "--seed", "3", "--store", "kept.db", "--strategies", "heuristic")
    assert report["page"] == "router-demo.html"
    assert report["seed"] == 3
    assert set(report["answered"]["values"]) <= {"heuristic", "uniform"}
    with Router(store="kept.db", learning=False) as router:
        assert router.status()["store"]["decisions"] == report["tasks"]
    assert "exists already" in cli.fault("demo", "--store", "kept.db", code=2)["message"]


def test_a_file_of_tasks_is_played_instead(cli):
    rows = [{"text": f"{word} {i}", "label": word} for i in range(60) for word in ("pay", "crash")]
    (cli.folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = cli.json("demo", "--data", "tasks.jsonl", "--rounds", "50", "--strategies", "thompson,heuristic")
    assert sorted(report["agents"]) == ["crash", "pay"]
    assert report["tasks"] == 50


def test_a_foreign_file_is_played_by_a_mapping(cli):
    rows = [{"title": f"{word} {i}", "tree": [f"{word} >> more"]} for i in range(60) for word in ("pay", "crash")]
    (cli.folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mapping = ("--map", "text=title", "--map", "label=tree:first")
    report = cli.json("demo", "--data", "tasks.jsonl", *mapping, "--rounds", "50", "--strategies", "thompson,heuristic")
    assert sorted(report["agents"]) == ["crash", "pay"]
    assert "--data" in cli.fault("demo", *mapping, code=2)["message"]


def test_what_cannot_work_is_said_before_the_work(cli):
    assert "--out" in cli.fault("demo", "--out", "no/such/folder/page.html", code=2)["message"]
    assert "--config" in cli.fault("demo", "--config", "router.toml", code=2)["message"]
    assert cli.fault("demo", "--rounds", "20", "--strategies", "nope", code=2)["type"] == "UnknownStrategyError"
    assert cli.fault("demo", "--data", "missing.csv", code=2)["exit_code"] == 2
