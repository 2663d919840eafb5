import json

import pytest

from router_sdk import Router


def test_a_decision_is_logged_and_its_outcome_learnt(desk):
    decision = desk.json(
        "route", "I was charged twice", "--session", "s1", "--feature", "amount=12.5", "--feature", "vip=true"
    )
    assert decision["ranking"][0] == "billing"
    assert decision["strategy"] == "heuristic"
    assert decision["skipped"][0]["strategy"] == "thompson"
    told = desk.json("record", decision["decision_id"], "--success", "--quality", "0.8", "--latency-ms", "850")
    assert told == {"decision_id": decision["decision_id"], "recorded": 1, "pending": False}
    with Router(store=desk.store, learning=False) as router:
        (example,) = router.examples
        assert (example.decision_id, example.reward) == (decision["decision_id"], 0.8)
        assert example.task.features == {"amount": 12.5, "vip": True}
        assert example.task.session_id == "s1"
        assert router.statistics()["total_updates"] > 0, "the command itself learns"


def test_text_comes_from_stdin_and_its_id_goes_to_the_next_command(desk):
    decision = desk.json("route", "-", stdin="the app crashes\n")
    assert decision["ranking"][0] == "technical"
    desk.run("record", "-", "--failure", stdin=decision["decision_id"] + "\n")
    assert desk.json("status")["performance"][-1]["last_100"]["success"] == 0.0


def test_people_see_who_why_and_what_to_do_next(desk):
    shown = desk.run("route", "I was charged twice", "--explain").stdout
    for expected in ("billing", "heuristic", "thompson (abstained)", "nearest", "router record"):
        assert expected in shown


def test_requirements_and_exclusions_hold(desk):
    assert desk.json("route", "the app crashes", "--require", "refunds")["agent"] == "billing"
    assert desk.json("route", "the app crashes", "--exclude", "technical")["agent"] == "billing"
    assert desk.fault("route", "x", "--require", "flying", code=1)["type"] == "NoEligibleAgentError"
    assert desk.fault("route", "x", "--exclude", "tecnical", code=2)["type"] == "UnknownAgentError"


def test_limits_hold_and_people_see_who_was_left_out(desk):
    desk.run("agents", "add", "technical", "--cost-usd", "2.5", "--latency-ms", "40")
    desk.run("agents", "add", "billing", "--cost-usd", "0", "--latency-ms", "900")
    assert desk.json("route", "the app crashes", "--max-cost-usd", "0")["agent"] == "billing"
    told = desk.json("route", "I was charged twice", "--max-latency-ms", "40")
    assert (told["agent"], told["excluded"]) == ("technical", {"billing": "beyond max_latency_ms"})
    shown = desk.run("route", "x", "--max-cost-usd", "1").stdout
    assert "technical (beyond max_cost_usd)" in " ".join(shown.split())
    fault = desk.fault("route", "x", "--max-cost-usd", "1", "--max-latency-ms", "5", code=1)
    assert fault["type"] == "NoEligibleAgentError"
    assert "max_latency_ms=5 leaves nobody" in fault["message"]


def test_one_key_is_one_decision(desk):
    first, second = (desk.json("route", "hello", "--idempotency-key", "k")["decision_id"] for _ in range(2))
    assert first == second
    assert desk.json("status")["store"]["decisions"] == 1


def test_an_outcome_for_a_whole_session(desk):
    for text in ("one", "two"):
        desk.run("route", text, "--session", "s")
    assert desk.json("record", "--session", "s", "--success")["recorded"] == 2
    assert desk.fault("record", "--session", "unknown", "--success", code=2)["type"] == "UnknownDecisionError"


def test_names_are_their_tenants(desk):
    of_acme, of_globex = (
        desk.json("route", "hello", "--session", "1", "--tenant", name, "--idempotency-key", "k")["decision_id"]
        for name in ("acme", "globex")
    )
    assert of_acme != of_globex
    assert desk.fault("record", of_acme, "--success", "--tenant", "globex", code=2)["type"] == "WrongTenantError"
    assert desk.json("record", of_acme, "--success", "--tenant", "acme")["pending"] is False
    assert desk.json("record", "--session", "1", "--success", "--tenant", "globex")["recorded"] == 1
    assert desk.fault("record", "--session", "1", "--success", code=2)["type"] == "UnknownDecisionError"
    assert desk.fault("route", "bye", "--tenant", "acme", "--idempotency-key", "k", code=2)["type"] == (
        "IdempotencyConflictError"
    )
    lines = [{"decision_id": of_acme, "success": True, "tenant": name} for name in ("acme", "globex")]
    told = desk.run("record", "--batch", "-", stdin="\n".join(map(json.dumps, lines)), code=2)
    assert "is not one of tenant" in told.stderr
    assert desk.json("forget", "1", "--tenant", "acme") == {"session_id": "1", "tenant": "acme", "forgotten": 1}
    assert desk.json("forget", "1")["forgotten"] == 0
    assert "Erased what 1 decision of 1 said" in desk.run("forget", "1", "--tenant", "globex").stdout


def test_an_outcome_without_its_decision_waits_and_says_so(desk):
    stranger = "01a1faf5ccbe15e893b4025c516b6792"
    assert desk.json("record", stranger, "--success")["pending"] is True
    assert "waits" in desk.run("record", stranger, "--success").stdout


def test_all_parts_of_an_outcome_reach_the_log(desk):
    decision = desk.json("route", "hello")["decision_id"]
    desk.run(
        *("record", decision, "--feedback", "-1", "--feedback-text", "no", "--correct-agent", "technical"),
        *("--response", "hi", "--latency-ms", "5", "--cost-usd", "0.1", "--tokens", "7"),
        *("--metric", "mape=12", "--error", "boom", "--outcome-id", "o1"),
    )
    (row,) = (json.loads(line) for line in desk.run("export", "-").stdout.splitlines())
    parts = {"feedback": -1.0, "correct_agent": "technical", "response": "hi", "latency_ms": 5.0, "success": False}
    assert parts.items() <= row.items()
    assert (row["cost_usd"], row["tokens"], row["metrics"]) == (0.1, 7, {"mape": 12.0})
    desk.run("record", decision, "--no-agent-fits")
    (row,) = (json.loads(line) for line in desk.run("export", "-").stdout.splitlines())
    assert row["no_agent_fits"] is True


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["route"], "InvalidTaskError"),
        (["route", "x", "--feature", "novalue"], "InvalidInputError"),
        (["route", "x", "--batch", "tasks.jsonl"], "InvalidInputError"),
        (["route", "--batch", "missing.jsonl"], "InvalidInputError"),
        (["record", "not-an-id", "--success"], "InvalidIdError"),
        (["record", "--batch", "missing.jsonl"], "InvalidInputError"),
        (["import", "missing.csv"], "InvalidInputError"),
        (["import", "-"], "InvalidInputError"),
        (["record", "--session", "s", "--success", "--outcome-id", "o"], "InvalidInputError"),
        (["record", "--success"], "InvalidInputError"),
        (["record", "01a1faf5ccbe15e893b4025c516b6792"], "InvalidOutcomeError"),
        (["record", "01a1faf5ccbe15e893b4025c516b6792", "--quality", "1.5"], "InvalidOutcomeError"),
        (["record", "01a1faf5ccbe15e893b4025c516b6792", "--quality", "nan"], "InvalidOutcomeError"),
        (["record", "01a1faf5ccbe15e893b4025c516b6792", "--metric", "x=high"], "InvalidInputError"),
        (["record", "01a1faf5ccbe15e893b4025c516b6792", "--correct-agent", "nobody"], "UnknownAgentError"),
        (["record", "01a1faf5ccbe15e893b4025c516b6792", "--session", "s", "--success"], "InvalidInputError"),
        (["agents", "remove", "nobody"], "UnknownAgentError"),
        (["agents", "add", "../etc"], "InvalidAgentError"),
    ],
)
def test_bad_input_is_one_named_error_and_exit_code_2(desk, arguments, kind):
    error = desk.fault(*arguments, code=2)
    assert error["type"] == kind
    assert error["exit_code"] == 2
    assert desk.json("route", "still serving")["agent"]


def test_explain_tells_who_said_what_and_why(desk, monkeypatch):
    monkeypatch.setenv("ROUTER_QUALITY", '{"scorers": ["feedback"]}')
    decision = desk.json("route", "I was charged twice")["decision_id"]
    assert "Nobody has said how it went" in desk.run("explain", decision).stdout
    desk.run("record", decision, "--signal", "retry", "--reason", "asked again")
    desk.run("snapshot")
    told = desk.json("explain", decision)
    heard, scored = told["parts"]
    assert (heard["origin"], heard["actor"], heard["reason"]) == ("signal", "retry", "asked again")
    assert (scored["actor"], scored["quality"], told["reward"]) == ("scorer:feedback", 0.1, 0.1)
    shown = desk.run("explain", decision).stdout
    assert "scorer:feedback" in shown
    assert "retry -0.40" in shown
    assert "Quality by feedback: feedback 1 (mean 0.100)" in " ".join(desk.run("status").stdout.split())


def test_explain_knows_no_decision_that_there_is_not(desk):
    assert "no decision" in desk.fault("explain", "f" * 32, code=2)["message"]
