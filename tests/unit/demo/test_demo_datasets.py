import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from router_sdk.demo.datasets import dataset_stream, read_dataset
from router_sdk.errors import InvalidAgentError, InvalidInputError

DATA = Path(os.environ.get("ROUTER_BENCH_DATA") or Path(__file__).parents[4] / "shared" / "data")


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def labelled(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"task number {i}", "agent": "ab"[i % 2], **more} for i in range(count)]


def test_a_mapping_of_scores(tmp_path: Path) -> None:
    data = read_dataset(write(tmp_path / "x.jsonl", {"text": "t", "scores": {"a": 0.25, "b": 1.0}, "domain": "d"}))
    item = data.rows[0].item
    assert item.rewards == {"a": 0.25, "b": 1.0}
    assert item.best == "b"
    assert item.outcome("a").quality == 0.25
    assert item.outcome("b").success is True
    assert data.columns.has_scores


def test_columns_of_booleans_are_scores_and_a_subject_is_the_task_type(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl.gz", {"text": "t", "subject": "law", "weak": False, "strong": True})
    item = read_dataset(path).rows[0].item
    assert item.rewards == {"weak": 0.0, "strong": 1.0}
    assert item.task.task_type == "law"


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"agent": "a", "label": "b", "domain": "d"}, "a"),
        ({"label": "b", "intent": "i"}, "b"),
        ({"correct_agent": "c", "domain": "d"}, "c"),
        ({"domain": "d", "category": "e", "intent": "i"}, "d"),
        ({"category": "e", "intent": "i"}, "e"),
        ({"intent": "i"}, "i"),
        ({"agent": "a", "mape": 0.3, "r2": 0.9}, "a"),
    ],
)
def test_label_columns_in_their_order(tmp_path: Path, row: dict[str, Any], label: str) -> None:
    data = read_dataset(write(tmp_path / "x.jsonl", {"text": "t", **row}))
    assert data.rows[0].item.best == label
    assert data.rows[0].item.rewards == {label: 1.0}


def test_another_label_column_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"text": "t", "agent": "a", "team": "blue"})
    assert read_dataset(path, mapping={"label": "team"}).rows[0].item.best == "blue"
    with pytest.raises(InvalidInputError, match="in a column 'squad'; there are 'text', 'agent', 'team'"):
        read_dataset(path, mapping={"label": "squad"})


def test_a_mapped_label_comes_before_scores_and_other_labels_and_a_finer_one_stays(tmp_path: Path) -> None:
    row = {"text": "t", "agent": "x", "correct_agent": "y", "weak": 0.1, "strong": 0.9, "intent": "i", "team": 3}
    data = read_dataset(
        write(tmp_path / "x.jsonl", row, {**row, "team": "oos"}), mapping={"label": "team", "labels": [*"pqrs"]}
    )
    assert [agent.name for agent in data.agents] == ["s"]
    assert [(found.item.best, found.detail) for found in data.rows] == [("s", "i"), (None, "i")]


def test_a_line_that_the_mapping_cannot_read_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('name,tree\nphone,A >> B\n,A >> B\nsofa,C\nchair,../b >> c\nlamp,"[""D >> E""]"\n')
    mapping = {"text": "name", "label": "tree", "label_level": "first"}
    data = read_dataset(tmp_path / "x.csv", mapping=mapping)
    assert [(row.item.task.text, row.item.best) for row in data.rows] == [("phone", "A"), ("sofa", "C"), ("lamp", "D")]
    assert [bad.line for bad in data.bad_lines] == [3, 5]
    with pytest.raises(InvalidInputError, match=r"x\.csv: line 3: no text stands in name"):
        read_dataset(tmp_path / "x.csv", mapping=mapping, max_bad_lines=0)
    with pytest.raises(InvalidInputError, match=r"no usable rows .*no level 7"):
        read_dataset(tmp_path / "x.csv", mapping={**mapping, "label_level": 7})


@pytest.mark.parametrize("nobody", [None, "oos", "", "none"])
def test_no_agent_fits(tmp_path: Path, nobody: str | None) -> None:
    item = read_dataset(write(tmp_path / "x.jsonl", *labelled(2), {"text": "t", "agent": nobody})).rows[2].item
    assert item.best is None
    assert item.reward(None) == 1.0
    assert item.reward("a") == 0.0
    assert item.outcome(None).success is True


def test_csv_cells_are_read_as_what_they_look_like(tmp_path: Path) -> None:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows([["prompt", "weak", "strong"], ['say "hi",\nplease', "true", "0.5"], ["bye", "False", "1"]])
    (tmp_path / "x.csv").write_text(file.getvalue(), encoding="utf-8", newline="")
    rows = read_dataset(tmp_path / "x.csv").rows
    assert [row.item.rewards for row in rows] == [{"weak": 1.0, "strong": 0.5}, {"weak": 0.0, "strong": 1.0}]
    assert rows[0].item.task.text == 'say "hi",\nplease'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_what_a_spreadsheet_writes_is_read_as_imports_are(tmp_path: Path, encoding: str, delimiter: str) -> None:
    rows = [["prompt", "weak", "strong"], ["schön; eins, zwei", "0", "0,5" if delimiter == ";" else "0.5"]]
    with gzip.open(tmp_path / "x.csv.gz", "wt", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    (row,) = read_dataset(tmp_path / "x.csv.gz").rows
    assert (row.item.task.text, row.item.rewards) == ("schön; eins, zwei", {"weak": 0.0, "strong": 0.5})
    write(tmp_path / "x.jsonl", {"text": "schön", "agent": "a"})
    (tmp_path / "x.jsonl").write_text((tmp_path / "x.jsonl").read_text("utf-8"), encoding=encoding)
    assert read_dataset(tmp_path / "x.jsonl").rows[0].item.task.text == "schön"


def test_train_comes_before_test_and_one_split_can_be_chosen(tmp_path: Path) -> None:
    rows = [{"text": s, "agent": "a", "split": s} for s in ("test", "train", "oos_test", "oos_train")]
    path = write(tmp_path / "x.jsonl", *rows)
    assert [row.split for row in read_dataset(path).rows] == ["train", "oos_train", "test", "oos_test"]
    assert [row.split for row in read_dataset(path, split="test").rows] == ["test"]
    with pytest.raises(InvalidInputError, match="no rows of split 'dev'; has oos_test, oos_train, test, train"):
        read_dataset(path, split="dev")


def test_what_lies_beside_the_file_describes_its_agents(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *labelled(2))
    beside = {"a": {"description": "does a", "usd_per_mtok_in": 0.2, "usd_per_mtok_out": 0.6}, "z": {"cost_usd": 1.0}}
    (tmp_path / "x.agents.json").write_text(json.dumps(beside), encoding="utf-8")
    a, b = read_dataset(path).agents
    assert (a.description, a.cost_usd, a.metadata["usd_per_mtok_out"]) == ("does a", pytest.approx(0.0004), 0.6)
    assert (b.name, b.description, b.cost_usd) == ("b", "", None)
    (tmp_path / "x.agents.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"x\.agents\.json: expected an object"):
        read_dataset(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "t", "agent"', "not JSON"),
        ("[1, 2]", "expected a JSON object, got list"),
        ('{"text": 3, "agent": "a"}', "'text' must be a text"),
        ('{"text": " ", "agent": "a"}', "'text' must be a text"),
        ('{"text": "t"}', "has no 'agent'"),
        ('{"text": "t", "agent": ["a"]}', "'agent' must be a word"),
        (json.dumps({"text": "x" * 1_000_001, "agent": "a"}), "at most 1000000 characters"),
    ],
)
def test_a_malformed_line_is_set_aside_with_its_number_or_refused(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "x.jsonl", *labelled(2), line, *labelled(2))
    data = read_dataset(path)
    assert len(data.rows) == 4
    assert [bad.line for bad in data.bad_lines] == [3]
    assert reason in data.bad_lines[0].reason
    with pytest.raises(InvalidInputError, match=r"x\.jsonl: line 3: "):
        read_dataset(path, max_bad_lines=0)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"a": 0.5}, "no score for b"),
        ({"a": 0.5, "b": 1.5}, r"score of 'b' must be true, false or in \[0, 1\]"),
        ({"a": 0.5, "b": float("nan")}, "score of 'b'"),
        ({"a": 0.5, "b": "good"}, "score of 'b'"),
        ({}, "must map agents to scores"),
        (None, "must map agents to scores"),
    ],
)
def test_malformed_scores(tmp_path: Path, scores: Any, reason: str) -> None:
    path = write(tmp_path / "x.jsonl", {"text": "t", "scores": {"a": 1, "b": 0}}, {"text": "t", "scores": scores})
    assert read_dataset(path).bad_lines[0].line == 2
    with pytest.raises(InvalidInputError, match=reason):
        read_dataset(path, max_bad_lines=0)


def test_csv_lines_with_too_few_cells(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,agent\none,a\ntwo\nthree,b\n", encoding="utf-8")
    data = read_dataset(tmp_path / "x.csv")
    assert [row.item.best for row in data.rows] == ["a", "b"]
    assert data.bad_lines == ((3, "expected 2 cells, got 1"),)


def test_files_that_cannot_serve(tmp_path: Path) -> None:
    cases = {
        "no such file": tmp_path / "missing.jsonl",
        r"expected a \.jsonl": write(tmp_path / "x.txt", "hello"),
        "no usable rows": write(tmp_path / "empty.jsonl", ""),
        "neither labels .* nor scores": write(tmp_path / "bare.jsonl", {"text": "t", "year": 1999}),
        "needs a text to route": write(tmp_path / "numbers.jsonl", {"a": 1.0, "b": 0.5}),
        "no row names an agent": write(tmp_path / "nobody.jsonl", {"text": "t", "agent": None}),
        "is it damaged": tmp_path / "cut.jsonl.gz",
    }
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "t", "agent": "a"}\n' * 1000)[:-20])
    for message, path in cases.items():
        with pytest.raises(InvalidInputError, match=message):
            read_dataset(path)
    (tmp_path / "latin.jsonl").write_bytes('{"text": "é"}'.encode("latin-1"))
    with pytest.raises(InvalidInputError, match="is it damaged"):
        read_dataset(tmp_path / "latin.jsonl")
    with pytest.raises(InvalidAgentError, match=r"'../red'.*must not look like a path"):
        read_dataset(write(tmp_path / "path.jsonl", {"text": "t", "agent": "../red"}))


def test_a_stream_gives_its_warm_start_away_and_plays_the_rest_once(tmp_path: Path) -> None:
    rows = [*labelled(200, split="train"), *labelled(40, split="test")]
    for number, row in enumerate(rows):
        row["text"] = f"text {number}"
    data = read_dataset(write(tmp_path / "x.jsonl", *rows))
    stream = dataset_stream(data, warm_start=10, seed=1)
    given = {text for agent in stream.agents for text in agent.examples}
    played = [item.task.text for item in stream.items]
    assert [len(agent.examples) for agent in stream.agents] == [10, 10]
    assert all(int(text.removeprefix("text ")) < 200 for text in given)
    assert sorted([*played, *given]) == sorted(row["text"] for row in rows)
    assert {item.task.text for item in stream.phases[-1].items} == {row["text"] for row in rows[200:]}
    assert "20 labelled texts" in stream.notes[1]
    assert played == [item.task.text for item in dataset_stream(data, warm_start=10, seed=1).items]
    assert played != [item.task.text for item in dataset_stream(data, warm_start=10, seed=2).items]
    assert len(dataset_stream(data, max_tasks=100).items) == 100
    with pytest.raises(InvalidInputError, match="only 4 tasks left"):
        dataset_stream(read_dataset(write(tmp_path / "few.jsonl", *labelled(5))))


@pytest.mark.skipif(not DATA.is_dir(), reason="no benchmark data: set ROUTER_BENCH_DATA")
@pytest.mark.parametrize(
    ("file", "agents", "rows", "scored"),
    [
        ("clinc150", 10, 23_700, False),
        ("banking77", 77, 13_083, False),
        ("gsm8k_two_models", 2, 900, True),
        ("mmlu_two_models", 2, 7_987, True),
        ("nine_models", 9, 4_408, True),
    ],
)
def test_the_benchmark_sets_work_as_they_are(file: str, agents: int, rows: int, scored: bool) -> None:
    data = read_dataset(DATA / f"{file}.jsonl.gz", max_bad_lines=0)
    assert (len(data.agents), len(data.rows), data.columns.has_scores) == (agents, rows, scored)
    stream = dataset_stream(data)
    assert all(agent.examples for agent in stream.agents) is not scored
    assert all(agent.description for agent in stream.agents)
    assert any(note.startswith("Source: ") for note in stream.notes)
    assert any("fit no agent" in note for note in stream.notes) is (file == "clinc150")
