import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from router_sdk.errors import RouterClosedError, StoreBusyError

TASK = {"text": "I was charged twice", "session_id": "s", "features": {"amount": 12.5}}


def test_a_task_is_routed_and_explained(client):
    answer = client.post("/v1/route", json={"task": TASK})
    assert answer.status_code == 200
    told = answer.json()
    assert set(told["probabilities"]) == {"billing", "fraud", "openai/gpt-5"}
    assert sum(told["probabilities"].values()) == pytest.approx(1)
    assert told["propensity"] == pytest.approx(told["probabilities"][told["agent"]])
    explained = client.get(f"/v1/explain/{told['decision_id']}").json()
    assert explained["evidence"] == {}
    assert explained["note"].startswith("the log keeps no evidence and no scores of a strategy")
    assert (explained["agent"], explained["strategy"]) == (told["agent"], told["strategy"])


def test_a_text_will_do_and_limits_are_heeded(client):
    told = client.post("/v1/route", json={"task": "hello", "exclude": ["fraud", "billing"]}).json()
    assert (told["agent"], told["propensity"]) == ("openai/gpt-5", 1.0)
    assert told["excluded"] == {"billing": "excluded by the caller", "fraud": "excluded by the caller"}
    told = client.post("/v1/route", json={"task": {"text": "hello", "requires": ["refund"]}}).json()
    assert told["agent"] == "billing"


def test_many_tasks_are_answered_in_their_order(client):
    told = client.post("/v1/route", json={"tasks": ["a", {"text": "b", "requires": ["refund"]}]}).json()
    assert len(told["decisions"]) == 2
    assert told["decisions"][1]["agent"] == "billing"


@pytest.mark.parametrize("where", ["body", "header"])
def test_a_key_gives_the_same_decision(client, where):
    def ask(task):
        if where == "body":
            return client.post("/v1/route", json={"task": task, "idempotency_key": "k"})
        return client.post("/v1/route", json={"task": task}, headers={"idempotency-key": "k"})

    first, second = ask(TASK).json(), ask(TASK).json()
    assert first["decision_id"] == second["decision_id"]
    other = ask("something else")
    assert other.status_code == 409
    assert "given before for another task" in other.json()["detail"]


def test_a_batch_keeps_nobody_waiting(client, monkeypatch):
    router = client.app.state.service.router
    begun, go_on, route_batch = threading.Event(), threading.Event(), router.route_batch

    def slow(tasks, **options):
        begun.set()
        assert go_on.wait(10)
        return route_batch(tasks, **options)

    monkeypatch.setattr(router, "route_batch", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/v1/route", json={"tasks": ["a", "b"]})
        assert begun.wait(10)
        assert client.get("/livez").status_code == 200
        go_on.set()
        assert len(answer.result().json()["decisions"]) == 2


def test_a_ranking_logs_nothing(client):
    told = client.post("/v1/rank", json={"task": "hello", "top_k": 2}).json()["ranking"]
    assert [one["rank"] for one in told] == [1, 2]
    router = client.app.state.service.router
    router.flush()
    assert router.status()["store"]["decisions"] == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v1/route", {}, 422, "give a task, or tasks"),
        ("/v1/route", {"task": "x", "tasks": ["y"]}, 422, "one of the two"),
        ("/v1/route", {"task": ""}, 422, "nothing to route by"),
        ("/v1/route", {"task": {"text": "x", "colour": "red"}}, 422, "colour"),
        ("/v1/route", {"task": "x", "exclude": ["nobody"]}, 422, "nobody"),
        ("/v1/route", {"task": {"text": "x", "requires": ["wings"]}}, 409, "wings"),
        ("/v1/route", {"tasks": ["x"], "idempotency_key": "k"}, 422, "one task"),
        ("/v1/route", {"tasks": []}, 422, "at least 1"),
        ("/v1/rank", {"task": "x", "top_k": 0}, 422, "top_k"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_field(client, path, body, status, says):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert says in told["detail"]
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((400, body) for body in (b"{", b"", b"\xff\xfe", b"nan", b"[" * 5_000)),
        *((422, body) for body in (b"[1]", b'"x"', b'{"task": 1e999}')),
    ],
)
def test_what_is_no_json_of_ours_is_a_problem_and_no_fault(client, status, body):
    answer = client.post("/v1/route", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["type"] == "urn:router-sdk:InvalidInputError"


def test_a_decision_that_nobody_made_is_not_found(client):
    assert client.get("/v1/explain/" + "0" * 32).status_code == 404
    assert client.get("/v1/explain/nonsense").status_code == 422


@pytest.mark.parametrize("fault", [StoreBusyError("locked for too long"), RouterClosedError()])
def test_what_will_pass_says_so(client, monkeypatch, fault):
    def fail(*arguments, **options):
        raise fault

    monkeypatch.setattr(client.app.state.service.router, "rank", fail)
    answer = client.post("/v1/rank", json={"task": "x"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_a_fault_of_ours_tells_nothing_outside(client, monkeypatch, caplog):
    def fail(*arguments, **options):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(client.app.state.service.router, "rank", fail)
    answer = client.post("/v1/rank", json={"task": "x"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a secret" in caplog.text


def test_it_is_ready_once_every_strategy_is(client, caplog):
    service = client.app.state.service
    assert client.get("/livez").json() == {"status": "alive"}
    service.ready = False
    with caplog.at_level("INFO", "router_sdk_server"):
        assert client.get("/readyz").status_code == 503
    assert [one.levelname for one in caplog.records if one.name == "router_sdk_server.requests"] == ["INFO"]
    service.ready = True
    assert client.get("/readyz").json() == {"status": "ready", "unready": {}}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/route", {"taskk": "x"}, "taskk: there is no such key; did you mean 'task'?"),
        (
            "/v1/route",
            {"task": {"text": "x", "taskType": "y"}},
            "taskType: there is no such key; did you mean 'task_type'?",
        ),
        (
            "/v1/outcomes",
            {"decision_id": "0" * 32, "outcome": {"succes": True}},
            "succes: there is no such key; did you mean 'success'?",
        ),
        ("/v1/forget", {"session": "x"}, "body.session: there is no such key; did you mean 'session_id'?"),
        ("/v1/evaluate", {"estimater": "x"}, "estimater: there is no such key; did you mean 'estimator'?"),
        ("/v1/observations", {"task": "x", "agnt": "a"}, "agnt: there is no such key; did you mean 'agent'?"),
        ("/v1/forget", {}, "body.session_id: must be given"),
        ("/v1/systemone", {"state": "x"}, "questions: must be given"),
    ],
)
def test_a_key_that_there_is_not_is_said_with_its_place_and_the_nearest(client, path, body, says):
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_so_it_is_of_one_report_among_many(client):
    told = client.post("/v1/outcomes", json={"outcomes": [{"decision": "x", "outcome": {}}]}).json()
    assert "decision: there is no such key; did you mean 'decision_id'?" in told["results"][0]["problem"]["detail"]
