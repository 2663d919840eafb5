import csv
import gzip
import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.exchange import importing
from router_sdk.exchange.observations import split_row
from router_sdk.exchange.reading import read_rows

from ..doubles import Counting

TRICKY = [
    "123",
    "1e5",
    "true",
    "True",
    "null",
    '"quoted"',
    "[1]",
    '{"a": 1}',
    "NaN",
    "01",
    " padded ",
    "two\nlines",
    "a,b",
]
text = st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1)
line = st.fixed_dictionaries(
    {
        "task": st.builds(
            Task,
            text=text.filter(str.strip),
            task_type=st.sampled_from(["default", "1", "true"]),
            session_id=st.none() | st.sampled_from(["7", "null", "s"]),
            features=st.dictionaries(st.sampled_from("xy"), st.sampled_from([1, 2.5, True, "5", "new"])),
        ),
        "agent": st.sampled_from(["a", "5", None]),
        "outcome": st.builds(
            Outcome,
            success=st.none() | st.booleans(),
            quality=st.sampled_from([0.1, 1 / 3, 1.0]),
            feedback=st.none() | st.sampled_from([-1.0, 0.5]),
            response=st.none() | text,
            tokens=st.none() | st.integers(0, 9),
            metrics=st.none() | st.dictionaries(st.sampled_from("mn"), st.sampled_from([0.5, 1e-9]), min_size=1),
        ),
    }
)


def told(router):
    return [
        (e.task.text, e.task_type, e.task.session_id, dict(e.task.features), e.agent, e.signals, response)
        for e, response in router.examples.with_responses()
    ]


@pytest.fixture(scope="module")
def routers():
    with (
        Router(agents=["a", "5"], strategies=[Counting], store=":memory:", learning=False) as one,
        Router(agents=["a", "5"], strategies=[Counting], store=":memory:", learning=False) as other,
    ):
        yield one, other


@pytest.mark.slow
@given(st.lists(line, min_size=1, max_size=5), st.sampled_from(["jsonl", "csv"]))
def test_what_goes_out_comes_in_again(routers, tmp_path_factory, lines, ending):
    one, other = routers
    before = [len(one.examples), len(other.examples)]
    if ending == "csv":  # an empty cell cannot say that nobody fitted
        lines = [entry for entry in lines if entry["agent"] is not None]
    one.observe_batch([(entry["task"], entry["agent"], entry["outcome"]) for entry in lines])
    path = tmp_path_factory.mktemp("out") / f"examples.{ending}"
    one.examples.export(path, format=ending)
    if ending == "jsonl":
        path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[before[0] :]))
    else:
        with path.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, records[0].keys())
            writer.writeheader()
            writer.writerows(records[before[0] :])
    report = other.examples.import_from(path)
    assert (report.imported, report.rejected, report.errors) == (len(lines), 0, [])
    assert told(other)[before[1] :] == told(one)[before[0] :]


GOOD = '{"text": "good", "agent": "billing", "success": true}'
BAD = {
    "not json": "{",
    "no object": "[1]",
    "nested": "[" * 100_000,
    "unknown column": '{"text": "x", "agent": "billing", "colour": "red"}',
    "unknown agent": '{"text": "x", "agent": "nobody"}',
    "unknown label": '{"text": "x", "label": "nobody"}',
    "nothing": '{"text": "", "agent": "billing"}',
    "nobody": '{"text": "x", "success": true}',
    "number as text": '{"text": 5, "agent": "billing"}',
    "nan": '{"text": "x", "agent": "billing", "quality": NaN}',
    "range": '{"text": "x", "agent": "billing", "quality": 7}',
    "agent no name": '{"text": "x", "agent": 5}',
    "half a pair": '{"text": "\\ud800", "agent": "billing"}',
    "huge number": '{"text": "x", "agent": "billing", "tokens": ' + "9" * 5_000 + "}",
    "huge text": json.dumps({"text": "x" * 1_000_001, "agent": "billing"}),
}


def test_an_import_waits_for_who_looks_whether_it_was_cut_off(make_router, tmp_path, monkeypatch):
    """Upkeep does so on its own thread, a moment after an import has begun."""
    (tmp_path / "in.jsonl").write_text('{"text": "refund me", "agent": "billing", "success": true}\n')
    router = make_router(["heuristic"])
    intake, holding, lock = router.examples._intake, threading.Event(), importing.Intake._lock
    first = iter([True])

    def held_at_first(self, key, patience_s=0.0):
        if next(first, False):
            looker = threading.Thread(target=look, args=(key,))
            looker.start()
            assert holding.wait(10)
        return lock(self, key, patience_s)

    def look(key):
        with lock(intake, key):
            holding.set()
            threading.Event().wait(0.1)

    monkeypatch.setattr(importing.Intake, "_lock", held_at_first)
    assert router.examples.import_from(tmp_path / "in.jsonl").imported == 1


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_a_dead_letter_and_the_others_are_imported(make_router, tmp_path, bad):
    router = make_router([Counting])
    path = tmp_path / "in.jsonl"
    path.write_text(f"{GOOD}\n{bad}\n\n{GOOD}\n")
    report = router.examples.import_from(path)
    assert (report.imported, report.rejected) == (2, 1)
    assert report.errors[0].startswith("line 2: ")
    (letter,) = router.dead_letters()
    assert letter["kind"] == "import"
    assert len(letter["body"]) <= 10_000
    router.flush()
    assert router.statistics()["total_examples"] == 2
    assert router.route("x").agent


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_line_that_is_not_utf8_spoils_no_other(make_router, tmp_path, ending):
    router = make_router([Counting])
    path = tmp_path / f"in.{ending}"
    if ending == "jsonl":
        lines = [b'{"text": "one", "agent": "billing"}', b'{"text": "\xff\xfe", "agent": "billing"}']
    else:
        lines = [b"text,agent", b"one,billing", b"\xff\xfe,billing"]
    path.write_bytes(
        b"\n".join([*lines, b'{"text": "two", "agent": "billing"}' if ending == "jsonl" else b"two,billing"])
    )
    report = router.examples.import_from(path)
    assert (report.imported, report.rejected) == (2, 1)


def test_a_file_that_breaks_off_keeps_what_came_before(make_router, tmp_path):
    router = make_router([Counting])
    path = tmp_path / "in.jsonl.gz"
    whole = gzip.compress("".join(f'{{"text": "number {i}", "agent": "billing"}}\n' for i in range(5_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    report = router.examples.import_from(path)
    assert report.imported > 64
    assert report.rejected in (1, 2)
    assert any("cannot read" in error for error in report.errors)


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.csv.gz", "wrong.txt", "folder.jsonl"])
def test_a_file_that_cannot_be_read_is_a_named_error(make_router, tmp_path, name):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "wrong.txt").touch()
    with pytest.raises(InvalidInputError):
        make_router([Counting]).examples.import_from(tmp_path / name)


def test_spreadsheets_bytes_and_long_texts_are_read(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes("\ufefftext,label,quality\n".encode() + b"x" * 500_000 + b",a,0.5\n")
    ((_, row),) = read_rows(path)
    task, agent, outcome = split_row(row)
    assert (len(task.text), agent, outcome.correct_agent, outcome.quality) == (500_000, "a", "a", 0.5)


def test_a_missing_value_is_not_the_text_none():
    task, _, _ = split_row({"text": None, "task_type": "code", "agent": "a"})
    assert task.text == ""


@pytest.fixture
def answered(make_router):
    router = make_router([Counting])
    router.observe("ask", "billing", Outcome(quality=0.9, response="answer"))
    router.observe("ask badly", "coder", Outcome(quality=0.1, response="bad answer"))
    router.observe("no answer", "coder", Outcome(quality=0.9))
    return router


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "chatml",
            {
                "messages": [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "answer"}],
                "score": 0.9,
                "agent": "billing",
            },
        ),
        ("alpaca", {"instruction": "ask", "input": "", "output": "answer", "score": 0.9}),
        ("completion", {"prompt": "ask", "completion": "answer", "score": 0.9}),
    ],
)
def test_the_chat_formats_pair_what_was_asked_with_what_was_answered(answered, tmp_path, form, expected):
    path = tmp_path / "out.jsonl"
    assert answered.examples.export(path, format=form) == 2
    assert answered.examples.export(path, format=form, min_reward=0.5) == 1
    assert [json.loads(line) for line in path.read_text().splitlines()] == [expected]


@pytest.mark.parametrize(
    "target",
    ["missing/out.jsonl", "file/out.jsonl", "folder", ""],
    ids=["no folder", "in a file", "a folder", "no name"],
)
def test_an_export_that_cannot_be_written_is_a_named_error_and_leaves_nothing(answered, tmp_path, target, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInputError):
        answered.examples.export(target)
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_format_and_a_fault_midway_leave_the_old_file(answered, tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(InvalidInputError, match="xml"):
        answered.examples.export(path, format="xml")
    monkeypatch.setattr("router_sdk.exchange.exporting.line_of", lambda *_: {"x": object()})
    with pytest.raises(TypeError):
        answered.examples.export(path)
    assert path.read_text() == "old"
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    ("tasks", "labels"),
    [
        ([], []),
        (["x"], []),
        ("ab", "ab"),
        (["x"], [{"billing": "abc"}]),
        (["x"], [{"billing": float("nan")}]),
        (["x"], [{"billing": 2.0}]),
        (["x"], [{"nobody": 0.5}]),
        (["x"], [3]),
        (["x"], ["nobody"]),
        (["x", ""], ["billing", "billing"]),
    ],
)
def test_labelled_data_is_checked_whole_before_anything_is_logged(make_router, tasks, labels):
    router = make_router([Counting])
    with pytest.raises(RouterError):
        router.fit(tasks, labels)
    assert router.status()["store"]["decisions"] == 0


def test_labels_scores_and_none_are_learnt(make_router):
    router = make_router([Counting])
    router.fit(["a", "b", "c"], ["billing", {"coder": 0.25, "analyst": 1.0}, None])
    state = router._parts.chain.stages[0].strategy.state
    assert state == {
        ("billing", "default"): (1, 1_000),
        ("coder", "default"): (1, 250),
        ("analyst", "default"): (1, 1_000),
        (None, "default"): (1, 1_000),
    }


def test_an_export_takes_the_place_of_no_store_and_no_device(make_router, store_path, tmp_path):
    router = make_router([Counting])
    router.observe("x", "billing", Outcome(quality=1.0))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    beside = [store_path.with_name(store_path.name + suffix) for suffix in ("", "-wal", "-lock")]
    os.mkfifo(tmp_path / "fifo")
    for target in (*beside, tmp_path / "fifo", tmp_path / "a\0b"):
        with pytest.raises(InvalidInputError, match="cannot write"):
            router.examples.export(target)
    assert router.examples.export(tmp_path / "link.jsonl") == 1
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 1
    (tmp_path / "mine.jsonl.part").write_text("mine")
    router.examples.export(tmp_path / "mine.jsonl")
    assert (tmp_path / "mine.jsonl.part").read_text() == "mine"
