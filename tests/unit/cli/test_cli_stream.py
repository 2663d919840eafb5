import json

import pytest

from router_sdk import Router

TASKS = b"""{"text": "I was charged twice", "task_type": "money", "session_id": "s"}
"the app crashes"

not json
{"txt": "typo"}
[1]
{"text": 5}
{"text": "hello", "exclude": ["billing"]}
{"text": "hello", "exclude": "billing"}
\xff\xfe
{"text": "hello", "requires": ["flying"]}
{"text": "hello", "idempotency_key": "k"}
{"text": "hello", "idempotency_key": "k"}
"""
REFUSED = [4, 5, 6, 7, 9, 10, 11]


def test_each_good_line_is_routed_and_each_bad_one_is_a_dead_letter(desk):
    (desk.folder / "tasks.jsonl").write_bytes(TASKS)
    routed, told = desk.lines("route", "--batch", "tasks.jsonl", code=2)
    assert [line["line"] for line in routed] == [1, 2, 8, 12, 13]
    assert [line["ranking"][0] for line in routed[:2]] == ["billing", "technical"]
    assert routed[2]["agent"] == "technical"
    assert routed[3]["decision_id"] == routed[4]["decision_id"]
    *refused, last = told
    assert [line["refused"]["line"] for line in refused] == REFUSED
    assert last["error"]["exit_code"] == 2
    assert "7 of 12 lines" in last["error"]["message"]
    with Router(store=desk.store, learning=False) as router:
        letters = router.dead_letters()
    assert [int(letter["reason"].split(":")[0].removeprefix("line ")) for letter in reversed(letters)] == REFUSED
    assert {letter["kind"] for letter in letters} == {"task"}
    assert letters[-1]["body"] == "not json"


def test_outcomes_come_as_a_stream_from_stdin(desk):
    (desk.folder / "tasks.jsonl").write_text('"a"\n"b"\n"c"\n')
    routed, _ = desk.lines("route", "--batch", "tasks.jsonl")
    outcomes = [
        {"decision_id": line["decision_id"], "success": True, "outcome_id": str(i)} for i, line in enumerate(routed)
    ]
    outcomes += [{"decision_id": "xx", "success": True}, {"success": True}, {**outcomes[0], "quality": 7}]
    stream = "\n".join(map(json.dumps, outcomes))
    recorded, told = desk.lines("record", "--batch", "-", stdin=stream, code=2)
    assert [line["line"] for line in recorded] == [1, 2, 3]
    assert [line["refused"]["line"] for line in told[:-1]] == [4, 5, 6]
    kinds = [line["refused"]["type"] for line in told[:-1]]
    assert kinds == ["InvalidIdError", "InvalidInputError", "InvalidOutcomeError"]


def test_a_clean_stream_exits_with_0_and_people_get_a_summary(desk):
    shown = desk.run("route", "--batch", "-", stdin='"I was charged twice"\n"the app crashes"\n')
    assert "2 tasks" in shown.stdout
    assert "billing" in shown.stdout


@pytest.mark.parametrize("privacy", ["none", "hmac", "redacted"])
def test_a_dead_letter_keeps_no_text_that_privacy_would_not(desk, privacy, monkeypatch):
    monkeypatch.setenv("ROUTER_PRIVACY", privacy)
    desk.run("route", "--batch", "-", stdin="my secret is 42", code=2)
    with Router(store=desk.store, learning=False) as router:
        (letter,) = router.dead_letters()
    assert letter["body"] is None
    assert "secret" not in letter["reason"]


def test_a_huge_and_a_deeply_nested_line_do_not_end_the_stream(desk):
    lines = ['{"text": "' + "x" * 10_000_000 + '"}', "[" * 200_000, '"fine"']
    routed, told = desk.lines("route", "--batch", "-", stdin="\n".join(lines), code=2)
    assert [line["line"] for line in routed] == [3]
    assert all(len(json.dumps(line)) < 2_000 for line in told)
    with Router(store=desk.store, learning=False) as router:
        assert all(len(letter["body"]) <= 10_000 for letter in router.dead_letters())
