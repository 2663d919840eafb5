"""Promises that a small fault could break unnoticed, found by changing the code, see ``benchmarks/mutants.py``."""

import time

from router_sdk import Outcome, Router, Task
from router_sdk.executors.child import last_line
from router_sdk.gate import CheckResult, GateReport


def test_an_export_from_before_brings_nothing_of_a_forgotten_session_back(tmp_path):
    lines = tmp_path / "before.jsonl"
    with Router(["a", "b"], ["heuristic"], store=tmp_path / "router.db") as router:
        decision = router.route(Task("nobody may know that Arvid called", session_id="s"))
        router.record(decision, Outcome(success=True))
        router.flush()
        router.examples.export(lines)
        before = lines.read_bytes()
        router.forget("s")
        router.archive(before=time.time() + 1.0)  # the log holds not even its skeleton any more
        assert len(router.examples) == 0
        lines.write_bytes(before)
        router.examples.import_from(lines)
        router.flush()
    assert not any(b"Arvid" in path.read_bytes() for path in tmp_path.rglob("router.db*") if path.is_file())


def test_an_agent_that_another_router_added_is_no_stranger(tmp_path):
    store = tmp_path / "router.db"
    with Router(["a", "b"], ["heuristic"], store=store) as one, Router(None, ["heuristic"], store=store) as other:
        one.add_agent("c")
        other.fit(["x"], ["c"])
        assert [example.label for example in other.examples] == ["c"]


def test_who_passed_the_gate_is_told_by_what_proves_it():
    results = (CheckResult("proof", "pass", "it is better"), CheckResult("other proof", "insufficient", "too few"))
    report = GateReport(results, frozenset({"proof", "other proof"}))
    assert report.passed
    assert report.reason == "proof: pass, it is better"
    assert report.to_dict()["decided"] == ["proof"]
    unproven = GateReport(results[1:], frozenset({"other proof"}))
    assert unproven.reason == "other proof: insufficient, too few"


def test_why_a_child_failed_is_its_last_line(tmp_path):
    said = tmp_path / "said"
    said.write_text("first\nMemoryError: no room\n\n", encoding="utf-8")
    assert last_line(said) == "MemoryError: no room"
    said.write_text("\n", encoding="utf-8")
    assert last_line(said) == "it said nothing"
