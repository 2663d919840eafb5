import re

import pytest


def decided(client, **task):
    return client.post("/v1/route", json={"task": {"text": "I was charged twice", **task}}).json()


def executions(client):
    router = client.app.state.service.router
    router.flush()
    return {one.agent: one.executions for one in router.agent_performance()}


def test_an_outcome_is_recorded_and_learnt(client):
    decision = decided(client)
    report = {"decision_id": decision["decision_id"], "outcome": {"success": True, "latency_ms": 850}}
    assert client.post("/v1/outcomes", json=report).json() == {
        "decision_id": decision["decision_id"],
        "recorded": 1,
    }
    assert executions(client)[decision["agent"]] == 1


def test_parts_come_late_and_the_newest_wins(client):
    decision = decided(client)["decision_id"]
    for outcome in ({"success": True}, {"quality": 0.25}, {"quality": 0.75}):
        client.post("/v1/outcomes", json={"decision_id": decision, "outcome": outcome})
    router = client.app.state.service.router
    router.flush()
    signals = router.examples[-1].signals
    assert (signals.success, signals.quality) == (True, 0.75)


def test_a_delivery_with_a_key_counts_once(client):
    decision = decided(client)["decision_id"]
    report = {"decision_id": decision, "outcome": {"quality": 0.5}}
    for _ in range(3):
        answer = client.post("/v1/outcomes", json=report, headers={"idempotency-key": "d-1"})
        assert answer.status_code == 200
    batch = {"outcomes": [report, report]}
    for _ in range(2):
        client.post("/v1/outcomes", json=batch, headers={"idempotency-key": "b-1"})
    assert client.app.state.service.router.status()["store"]["outcomes"] == 3  # d-1, b-1:0 and b-1:1


WHOLE = {
    "success": True,
    "quality": 0.1,
    "feedback": -1,
    "latency_ms": 850,
    "cost_usd": 1e-7,
    "tokens": 2**40,
    "metrics": {"b": 1, "a": 0.3},
    "response": "It is mended.",
}


def counted(client):
    text = client.app.state.service.metrics.text(client.app.state.service.router).decode()
    return sum(map(float, re.findall(r"^router_outcomes_total{.*} (\S+)$", text, re.M)))


def test_an_id_that_was_given_for_something_else_is_refused_and_a_repetition_is_not_counted(client):
    first, second = decided(client)["decision_id"], decided(client)["decision_id"]
    report = {"decision_id": first, "outcome": WHOLE, "outcome_id": "d-1"}
    for _ in range(3):
        assert client.post("/v1/outcomes", json=report).status_code == 200
    assert counted(client) == 1
    other = {**report, "outcome": {"success": False}}
    for wrong in (other, {**report, "decision_id": second}):
        answer = client.post("/v1/outcomes", json=wrong)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:router-sdk:IdempotencyConflictError")
        assert "d-1" in answer.json()["detail"]
    told = client.post("/v1/outcomes", json={"outcomes": [report, other]}).json()
    assert [one["recorded"] for one in told["results"]] == [True, False]
    assert told["results"][1]["problem"]["status"] == 409
    assert counted(client) == 1
    early = {"decision_id": "0" * 32, "outcome": {"success": True}, "outcome_id": "e-1"}
    assert client.post("/v1/outcomes", json=early).status_code == 200  # its decision may come later
    assert client.app.state.service.router.status()["store"]["outcomes"] == 2


@pytest.mark.parametrize("path", ["/v1/outcomes", "/v1/route", "/v1/chat/completions", "/v1/observations", "/predict"])
@pytest.mark.parametrize("body", [b"{", b"[1,]", b"\xff\xfe", b"{'a': 1}"])
def test_what_is_no_json_is_400_and_what_is_no_report_is_422(client, path, body):
    headers = {"content-type": "application/json"}
    assert client.post(path, content=body, headers=headers).status_code == 400
    assert client.post(path, content=b'{"colour": 1}', headers=headers).status_code == 422


def test_each_of_many_has_a_verdict_of_its_own(client):
    good = decided(client)["decision_id"]
    told = client.post(
        "/v1/outcomes",
        json={
            "outcomes": [
                {"decision_id": good, "outcome": {"success": True}},
                {"decision_id": "nonsense", "outcome": {"success": True}},
                {"decision_id": good, "outcome": {"quality": 7}},
                {"decision_id": good, "outcome": {"correct_agent": "nobody"}},
                "nonsense",
                {"decision_id": good, "outcome": {"feedback": -1}},
            ]
        },
    ).json()
    assert [one["recorded"] for one in told["results"]] == [True, False, False, False, False, True]
    assert (told["recorded"], told["refused"]) == (2, 4)
    assert [one["problem"]["status"] for one in told["results"] if not one["recorded"]] == [422] * 4
    assert "quality" in told["results"][2]["problem"]["detail"]
    assert "nobody" in told["results"][3]["problem"]["detail"]


def test_an_outcome_that_names_who_really_ran_is_learnt_as_observed(client):
    decision = decided(client)
    other = next(name for name in decision["ranking"] if name != decision["agent"])
    report = {"decision_id": decision["decision_id"], "outcome": {"success": True, "agent": other}}
    assert client.post("/v1/outcomes", json=report).status_code == 200
    found = executions(client)
    assert (found[decision["agent"]], found[other]) == (0, 1)
    (example,) = client.app.state.service.router.examples[-1:]
    assert (example.agent, example.propensity) == (other, None)


def test_a_session_is_told_at_once(client):
    for _ in range(3):
        decided(client, session_id="thread/7")
    told = client.post("/v1/sessions/thread/7/outcomes", json={"outcome": {"success": True}})
    assert told.json() == {"session_id": "thread/7", "recorded": 3}
    assert sum(executions(client).values()) == 3
    assert client.post("/v1/sessions/unheard/outcomes", json={"outcome": {"success": True}}).status_code == 404


def test_what_somebody_else_decided_is_logged(client):
    one = {"task": "a", "agent": "fraud", "outcome": {"quality": 0.5}}
    told = client.post("/v1/observations", json=one).json()
    assert len(told["decision_ids"]) == 1
    many = {"observations": [one, {"task": "b", "agent": None}]}
    assert len(client.post("/v1/observations", json=many).json()["decision_ids"]) == 2
    wrong = {"observations": [one, {"task": "b", "agent": "nobody"}]}
    assert client.post("/v1/observations", json=wrong).status_code == 422
    assert client.app.state.service.router.status()["store"]["decisions"] == 3
    assert executions(client)["fraud"] == 2


def test_a_decision_takes_a_thousand_outcomes_and_no_more(client):
    decision = decided(client)
    reports = [{"decision_id": decision["decision_id"], "outcome": {"quality": 0.5}} for _ in range(1_100)]
    told = client.post("/v1/outcomes", json={"outcomes": reports}).json()
    assert (told["recorded"], told["refused"]) == (1_000, 100)
    assert {one["problem"]["status"] for one in told["results"] if not one["recorded"]} == {409}
    assert client.post("/v1/outcomes", json=reports[0]).status_code == 409
    assert executions(client)[decision["agent"]] == 1  # told a thousand times, it happened once


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"outcomes": []},
        {"decision_id": "0" * 32},
        {"outcome": {"success": True}},
        {"decision_id": "0" * 32, "outcome": {"success": True}, "outcomes": [1]},
        {"decision_id": "x", "outcome": {"success": True}},
        {"decision_id": "0" * 32, "outcome": {}},
        {"outcomes": [1], "outcome_id": "x"},
    ],
)
def test_what_cannot_be_used_is_said(client, body):
    answer = client.post("/v1/outcomes", json=body)
    assert answer.status_code == 422, answer.text


def test_an_outcome_may_be_faster_than_its_decision(client):
    answer = client.post("/v1/outcomes", json={"decision_id": "0" * 32, "outcome": {"success": True}})
    assert answer.status_code == 200
    assert client.app.state.service.router.status()["store"]["pending"] == 1
