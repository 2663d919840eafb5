import json

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidInputError

from ..doubles import Counting

FORMS = ["chatml", "alpaca", "completion"]


@pytest.fixture
def router(tmp_path):
    with Router(agents=["a", "b"], strategies=[Counting], store=tmp_path / "router.db", learning=False) as made:
        for number, (text, agent, outcome) in enumerate(
            [
                ("one", "a", Outcome(response="good", quality=0.9, feedback=1.0)),
                ("two", "a", Outcome(response="fair", quality=0.7, feedback=0.0)),
                ("three", "b", Outcome(response="bad", quality=0.2, feedback=-1.0)),
                ("four", "b", Outcome(response="unjudged", latency_ms=5.0)),
                ("one", "b", Outcome(response="good", quality=0.8)),
            ]
        ):
            made.observe(Task(text, session_id=f"session {number}"), agent, outcome)
        yield made


def answers(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        row["messages"][1]["content"] if "messages" in row else row.get("output", row.get("completion")) for row in rows
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["good", "fair", "bad", "unjudged"]),
        ({"deduplicate": False}, ["good", "fair", "bad", "unjudged", "good"]),
        ({"min_quality_score": 0.7}, ["good", "fair"]),
        ({"min_quality_score": 0.8, "deduplicate": False}, ["good", "good"]),
        ({"min_user_feedback": 1}, ["good"]),
        ({"min_user_feedback": -1}, ["good", "fair", "bad"]),
        ({"min_user_feedback": 0, "min_quality_score": 0.8}, ["good"]),
    ],
)
def test_quality_and_feedback_select_and_equal_pairs_go_out_once(router, tmp_path, form, options, expected):
    path = tmp_path / "out.jsonl"
    assert router.examples.export(path, format=form, **options) == len(expected)
    assert answers(path) == expected


@pytest.mark.parametrize("form", FORMS)
def test_an_existing_file_comes_first_and_its_pairs_are_not_written_again(router, tmp_path, form):
    path, old = tmp_path / "out.jsonl", tmp_path / "old.jsonl"
    router.examples.export(old, format=form, min_quality_score=0.9)
    lines = old.read_text().replace("one", "zero").replace("good", "older") + old.read_text()
    old.write_text(lines)
    assert router.examples.export(path, format=form, existing_data_path=old) == 5
    assert answers(path) == ["older", "good", "fair", "bad", "unjudged"]
    assert path.read_text().startswith(lines)
    router.observe("five", "a", Outcome(response="new"))
    assert router.examples.export(path, format=form, include_existing_data=True) == 6
    assert answers(path) == ["older", "good", "fair", "bad", "unjudged", "new"]


@pytest.mark.parametrize("form", FORMS)
def test_forget_reaches_what_was_merged(router, tmp_path, form):
    path, foreign = tmp_path / "out.jsonl", tmp_path / "foreign.jsonl"
    router.examples.export(foreign, format=form, min_quality_score=0.9)
    foreign.rename(tmp_path / "moved.jsonl")  # now nobody knows whose lines these are
    router.examples.export(path, format=form, existing_data_path=tmp_path / "moved.jsonl")
    router.examples.export(path, format=form, include_existing_data=True)
    router.forget("session 1")
    assert answers(path) == ["good", "bad", "unjudged"]
    router.forget("session 4")  # of an equal pair that was left out: what is there is another session's
    assert answers(path) == ["good", "bad", "unjudged"]
    router.forget("session 0")
    assert answers(path) == ["bad", "unjudged"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"format": "jsonl", "existing_data_path": "old.jsonl"}, "existing_data_path"),
        ({"format": "chatml", "unanswered": True}, "unanswered"),
        ({"format": "chatml", "min_quality_score": 7}, "min_quality_score"),
        ({"format": "chatml", "min_user_feedback": -2}, "min_user_feedback"),
        ({"format": "chatml", "existing_data_path": "missing.jsonl"}, "missing.jsonl"),
        ({"format": "alpaca", "existing_data_path": "old.jsonl"}, "old.jsonl:2"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name_and_leave_the_old_file(
    router, tmp_path, options, named, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.jsonl").write_text('{"instruction": "x", "output": "y"}\n{"prompt": "x"}\n')
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(InvalidInputError, match=named):
        router.examples.export("out.jsonl", **options)
    assert (tmp_path / "out.jsonl").read_text() == "old"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_holds_everything_can_be_selected_from_too(router, tmp_path, form):
    path = tmp_path / f"out.{form}"
    assert router.examples.export(path, format=form, min_quality_score=0.8) == 2


def test_a_file_of_any_name_that_was_written_is_gone_on_with(router, tmp_path):
    path = tmp_path / "pairs.chatml"
    router.record(router.route("hi"), Outcome(success=True, response="yo"))
    written = router.examples.export(path, format="chatml")
    assert router.examples.export(path, format="chatml", include_existing_data=True) == written > 0
