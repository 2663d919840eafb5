import json

import pytest

from router_sdk import Agent, Outcome, Router
from router_sdk.cli.commands.status import status_tables


@pytest.fixture
def busy(desk):
    """A store that has seen enough for Thompson sampling to answer, one label, and a dead letter."""
    with Router(store=desk.store, learn_now=True, seed=1) as router:
        for i in range(30):
            decision = router.route({"text": f"I was charged twice {i}", "task_type": "money"})
            router.record(decision, Outcome(success=decision.agent == "billing", latency_ms=100.0, cost_usd=0.002))
        router.record(decision, Outcome(correct_agent="billing", feedback=1.0, response="refunded"))
    desk.run("route", "--batch", "-", stdin="not json\x1b[31m", code=2)
    return desk


def test_status_says_who_answers_and_why(busy):
    report = busy.json("status")
    shares = {row["strategy"]: row for row in report["answered"]}
    assert sum(row["share"] for row in report["answered"]) == pytest.approx(1.0)
    assert shares["thompson"]["decisions"] > shares["heuristic"]["decisions"] > 0
    (reason,) = {(step["strategy"], step["reason"]) for step in report["passed"]}
    assert reason == ("thompson", "abstained")
    assert report["performance"][0]["agent"] == "billing"
    assert report["statistics"]["total_examples"] == 30
    assert report["learner"]["cursors"]["thompson"] == report["learner"]["head"]
    assert report["store"]["dead_letters"] == len(report["dead_letters"]) == 1
    assert {event["strategy"] for event in report["learning_events"]} == {"thompson", "heuristic"}


def test_people_see_the_same_and_no_escape_sequences(busy):
    shown = busy.run("status").stdout
    for expected in (
        "Who answers",
        "thompson",
        "abstained",
        "Agents over",
        "billing",
        "Newest updates",
        "dead letters",
    ):
        assert expected in shown
    assert "\x1b" not in shown


def test_an_encoder_that_is_not_as_it_was_asked_for_is_shown(busy):
    report = busy.json("status")
    report["strategies"][0]["encoder"] = {
        "backend": "torch",
        "note": "torch serves: onnx-int8 cannot be made of a Model",
    }
    report["strategies"][1]["encoder"] = {"backend": "onnx-int8", "note": ""}
    shown = [str(part) for part in status_tables(report)]
    first = report["strategies"][0]["name"]
    assert f"The encoder of {first}: torch serves: onnx-int8 cannot be made of a Model" in shown
    assert len([text for text in shown if "The encoder of" in text]) == 1


def test_status_changes_nothing(busy):
    before = busy.json("status")
    after = busy.json("status", "--last", "1000")
    assert after["store"] == before["store"]
    assert after["learner"] == before["learner"]


@pytest.mark.parametrize(
    "arguments", [["status"], ["export", "out.jsonl"], ["agents", "list"], ["agents", "remove", "a"], ["record", "x"]]
)
def test_a_missing_store_is_not_made_and_the_error_says_what_to_do(cli, arguments):
    if arguments == ["record", "x"]:
        arguments = ["record", "01a1faf5ccbe15e893b4025c516b6792", "--success"]
    error = cli.fault(*arguments, code=1)
    assert error["type"] == "StoreUnavailableError"
    assert "router route" in error["message"]
    assert list(cli.folder.iterdir()) == []


def test_status_before_anything_happened_points_the_way(desk):
    shown = desk.run("status").stdout
    assert "No updates yet" in shown


@pytest.mark.parametrize("form", ["jsonl", "csv", "chatml", "alpaca", "completion"])
def test_export_writes_every_format(busy, form):
    told = busy.json("export", f"out.{form}", "--format", form)
    lines = (busy.folder / f"out.{form}").read_text().splitlines()
    assert told["examples"] == len(lines) - (form == "csv") == (30 if form in ("jsonl", "csv") else 1)


def test_export_to_stdout_holds_the_examples_alone(busy):
    rows = [json.loads(line) for line in busy.run("export", "-", "--min-reward", "1").stdout.splitlines()]
    assert 0 < len(rows) < 30
    assert {row["reward"] for row in rows} == {1.0}


def test_what_was_exported_can_be_imported_elsewhere(busy):
    busy.run("export", "out.jsonl")
    lines = (busy.folder / "out.jsonl").read_text() + '{"text": "x", "agent": "nobody"}\nnot json\n'
    (busy.folder / "more.jsonl").write_text(lines)
    with Router(agents=[Agent("billing"), Agent("technical")], store="other.db"):
        pass
    result = busy.run("import", "more.jsonl", "--store", "other.db", "--json", code=2)
    told = json.loads(result.stdout)
    assert (told["imported"], told["rejected"]) == (30, 2)
    assert "line 31" in result.stderr
    assert "line 32" in result.stderr
    assert busy.json("status", "--store", "other.db")["statistics"]["total_examples"] == 30


def test_a_store_that_is_none_is_one_line(cli):
    cli.store.write_text("this is no database" * 100)
    assert "router.db" in cli.fault("status", code=1)["message"]
