import csv
import json
import sys

import pytest

SESSION = [
    {"state_text": f"Iteration {n}", "agent_label": n % 2, "actual_outcome": {"mape": 11.8, "decision": "stop"}}
    for n in range(4)
]


def write(cli, name, rows):
    (cli.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_export_into_another_store_and_back(desk):
    for text in ("I was charged twice", "the app crashes"):
        decided = desk.json("route", text)
        desk.run("record", decided["decision_id"], "--success", "--quality", "0.9")
    desk.run("route", "nobody said how it went")
    assert desk.json("export", "out.jsonl")["examples"] == 2
    assert desk.json("export", "out.csv", "--format", "csv", "--unanswered")["examples"] == 3
    assert "2 lines are in the log already" in desk.run("import", "out.jsonl").stdout
    assert desk.json("import", "out.csv")["known"] == 3
    told = desk.json("import", "out.csv", "--store", "other.db", "--new-agents")
    assert (told["imported"], sorted(told["new_agents"])) == (3, ["billing", "technical"])
    copy, here = (desk.json("status", "--store", store)["statistics"] for store in ("other.db", "router.db"))
    assert {name: copy[name] for name in ("total_examples", "avg_quality_score", "samples_processed")} == {
        name: here[name] for name in ("total_examples", "avg_quality_score", "samples_processed")
    }
    assert desk.run("export", "-", "--store", "other.db").stdout.count("\n") == 2


def test_days_of_parquet_go_out_are_judged_and_come_back(desk):
    pytest.importorskip("pyarrow")
    pytest.importorskip("duckdb")
    for text in ("I was charged twice", "the app crashes"):
        desk.run("record", desk.json("route", text)["decision_id"], "--success")
    assert desk.json("export", "days", "--format", "parquet")["examples"] == 2
    assert "give its name" in desk.run("export", "-", "--format", "parquet", code=2).stderr
    told = desk.json("evaluate", "--from", "days", "--policy", "greedy")
    assert [one["decisions"] for one in told["agents"]] == [1, 1]
    assert told["policy"].startswith("whoever earned most")
    assert told["value"]["insufficient"]
    shown = desk.run("evaluate", "--from", "days", "--policy", "agent=billing", "--since", "1d", "--by-tenant").stdout
    assert "Who acted" in shown
    assert "always billing" in shown
    for wrong in (["--strategy", "thompson"], ["--policy", "nonsense"], ["--since", "1999-13-01"]):
        desk.run("evaluate", "--from", "days", *wrong, code=2)
    desk.run("evaluate", "--policy", "greedy", code=2)
    assert desk.json("import", "days")["known"] == 2


@pytest.mark.parametrize(
    "arguments",
    [("export", "days", "--format", "parquet"), ("import", "day.parquet"), ("predict", "--file", "day.parquet")],
)
def test_what_parquet_needs_is_said_before_a_store_is_opened(cli, monkeypatch, arguments):
    (cli.folder / "day.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'router-sdk[parquet]'" in cli.fault(*arguments, code=2)["message"]
    assert not cli.store.exists()


def test_a_session_is_imported_with_labels_and_says_what_it_left_out(cli):
    (cli.folder / "session.json").write_text(json.dumps([*SESSION, {"state_text": "odd", "agent_label": 9}]))
    told = ("import", "session.json", "--map", "text=state_text", "--map", "label=agent_label", "--labels", "plan, act")
    result = cli.run(*told, "--new-agents", code=2)
    assert "Imported 4 lines." in result.stdout
    assert "New agents: plan, act." in result.stdout
    assert "Not mapped, and ignored: actual_outcome." in result.stdout
    assert "line 5: agent_label: 9 stands for nobody" in result.stderr
    assert [agent["name"] for agent in cli.json("agents", "list")["agents"]] == ["plan", "act"]


def test_more_refused_lines_than_are_shown_are_counted_and_kept(desk):
    write(desk, "in.jsonl", [{"text": "x", "agent": "billing", "quality": number} for number in range(2, 20)])
    result = desk.run("import", "in.jsonl", code=2)
    assert result.stderr.count("refused: line") == 10
    assert "and 8 more lines" in result.stderr
    assert len(desk.json("status", "--last", "18")["dead_letters"]) == 18
    assert desk.json("import", "in.jsonl", "--score-range", "0", "20")["imported"] == 18


def test_chat_formats_are_filtered_and_merged(desk):
    rows = [
        {"text": f"q{n}", "agent": "billing", "response": f"r{n}", "quality": n / 4, "feedback": 1} for n in range(5)
    ]
    write(desk, "in.jsonl", [*rows, rows[-1]])
    desk.run("import", "in.jsonl")
    chat = ("export", "out.jsonl", "--format", "chatml")
    assert desk.json(*chat)["examples"] == 5
    assert desk.json(*chat, "--duplicates")["examples"] == 6
    assert desk.json(*chat, "--min-quality", "0.7", "--min-feedback", "1")["examples"] == 2
    assert desk.json(*chat, "--existing", "out.jsonl")["examples"] == 5
    assert (
        "no pair"
        in desk.fault("export", "out.jsonl", "--format", "alpaca", "--existing", "out.jsonl", code=2)["message"]
    )


def test_an_export_chooses_among_examples(desk):
    rows = [{"text": f"q{n}", "label": "billing" if n % 4 else "technical"} for n in range(12)]
    write(desk, "in.jsonl", [*rows, rows[5]])
    desk.run("import", "in.jsonl")
    out = ("export", "out.jsonl")
    assert desk.json(*out)["examples"] == 13
    assert desk.json(*out, "--unique")["examples"] == 12
    assert desk.json(*out, "--unique", "--balance", "1")["examples"] == 6 + 3
    assert desk.json(*out, "--most", "4")["examples"] == 4
    newest = [json.loads(line)["text"] for line in (desk.folder / "out.jsonl").read_text().splitlines()]
    assert newest == ["q9", "q10", "q11", "q5"]
    drawn = []
    for seed in ("0", "0", "1"):
        desk.run(*out, "--most", "4", "--prefer", "uncertain", "--seed", seed)
        drawn.append((desk.folder / "out.jsonl").read_text())
    assert drawn[0] == drawn[1] != drawn[2]
    assert "unanswered" in desk.fault(*out, "--most", "4", "--unanswered", code=2)["message"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_predict_answers_each_task_of_a_file_and_logs_nothing(desk, ending):
    if ending == "csv":
        (desk.folder / "in.csv").write_text("nr,q\n007,I was charged twice\n8,\n9,the app crashes\n")
    else:
        rows = [{"nr": "007", "q": "I was charged twice"}, {"nr": "8"}, {"nr": "9", "q": "the app crashes"}]
        write(desk, "in.jsonl", rows)
    mapped = ("--map", "text=q", "--map", "id=nr")
    before = desk.json("status")["store"]
    result = desk.run("predict", "--file", f"in.{ending}", "--output", f"out.{ending}", *mapped, code=2)
    assert "no text stands in q" in result.stderr
    if ending == "csv":
        with (desk.folder / "out.csv").open(newline="") as file:
            answers = list(csv.DictReader(file))
        ranking = json.loads(answers[0]["ranking"])
    else:
        answers = [json.loads(line) for line in (desk.folder / "out.jsonl").read_text().splitlines()]
        ranking = answers[0]["ranking"]
    first = 2 if ending == "csv" else 1
    assert [int(answer["line"]) for answer in answers] == [first, first + 1, first + 2]
    assert [answer.get("agent") or None for answer in answers] == ["billing", None, "technical"]
    assert [answer.get("id") or None for answer in answers] == ["007", None, "9"]
    assert [one["agent"] for one in ranking] == ["billing", "technical"]
    assert [one["rank"] for one in ranking] == [1, 2]
    assert "no text" in answers[1]["error"]
    after = desk.json("status")["store"]
    assert {name: after[name] for name in ("decisions", "outcomes")} == {
        name: before[name] for name in ("decisions", "outcomes")
    }


def test_predict_to_stdout_and_what_it_refuses(desk):
    write(desk, "in.jsonl", [{"text": "I was charged twice", "success": 1, "agent": "technical"}])
    (answer,) = [
        json.loads(line) for line in desk.run("predict", "--file", "in.jsonl", "--top-k", "1").stdout.splitlines()
    ]
    assert (answer["line"], answer["agent"], len(answer["ranking"])) == (1, "billing", 1)
    assert "out.txt" in desk.fault("predict", "--file", "in.jsonl", "--output", "out.txt", code=2)["message"]
    assert "no such file" in desk.fault("predict", "--file", "none.jsonl", code=2)["message"]
    assert not (desk.folder / "out.txt").exists()


def test_what_cannot_be_fitted_is_said_before_a_file_is_imported(cli):
    cli.run("agents", "add", "a")
    (cli.folder / "more.jsonl").write_text('{"text": "one more", "agent": "a", "success": true}\n')
    for chosen in (("--strategy", "heuristic"), ()):
        fault = cli.fault("retrain", "--from", "more.jsonl", *chosen, code=1)
        assert "learns online only" in fault["message"]
    assert cli.json("status")["statistics"]["total_examples"] == 0
