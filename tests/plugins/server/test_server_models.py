import io
import json
import tarfile
import threading
import time

import pytest

from router_sdk import Router

RIGHT = {"refund": "billing", "stolen": "fraud"}


@pytest.fixture
def fitting(store_path, words_installed, monkeypatch, make_client, tmp_path):
    """A service whose strategy has a fit, and 60 labelled examples."""
    config = tmp_path / "router.toml"
    config.write_text(
        'strategies = ["words"]\nretrain = false\nepsilon = 0.0\nfit_executor = "thread"\nmin_examples = 5\n'
    )
    monkeypatch.delenv("ROUTER_STRATEGIES", raising=False)
    client = make_client(insecure=True, config=config)
    router = client.app.state.service.router
    for i in range(60):
        word = ("refund", "stolen")[i % 2]
        router.record(router.route(f"{word} {i}"), {"correct_agent": RIGHT[word]})
    router.flush()
    return client


def ended(client, fit_id):
    end = time.monotonic() + 30
    while (told := client.get(f"/v1/fits/{fit_id}").json())["state"] in ("waiting", "running"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return told


def begun(client, **settings):
    answer = client.post("/v1/retrain", json={"settings": settings})
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"/v1/fits/{told['fit_id']}"
    return told["fit_id"]


def test_a_fit_is_begun_and_followed_and_what_serves_goes_back(fitting):
    told = ended(fitting, begun(fitting))
    assert (told["state"], told["version"], told["share"]) == ("promoted", 1, 1.0)
    assert fitting.post("/v1/route", json={"task": "stolen card"}).json()["agent"] == "fraud"
    (version,) = fitting.get("/v1/models", params={"strategy": "words"}).json()["versions"]
    assert version["aliases"] == ["champion"]
    assert fitting.get("/v1/models/words/1/report").json()["version"] == 1
    assert fitting.post("/v1/models/words/rollback", json={}).json() == {
        "strategy": "words",
        "version": None,
        "taken_back": 1,
        "effect": "version 1 is taken back; the strategy without any fit serves until a person says otherwise",
    }
    assert fitting.post("/v1/models/words/1/promote", json={"pin": False}).json()["version"] == 1
    assert fitting.post("/v1/models/words/pin").json()["version"] == 1
    assert fitting.post("/v1/models/words/unpin").status_code == 204
    reasons = [row["reason"] for row in fitting.get("/v1/models/words/history").json()["rows"]]
    assert any(reason.startswith("rollback") for reason in reasons)
    _, key = fitting.app.state.service.router.keys.create("ada", scopes=["admin"])
    how = {"version": 0, "reason": "too early"}
    headers = {"authorization": f"Bearer {key}"}
    assert fitting.post("/v1/models/words/rollback", json=how, headers=headers).json()["version"] is None
    newest = fitting.get("/v1/models/words/history").json()["rows"][0]
    assert (newest["actor"], newest["reason"]) == ("ada", "rollback from 1: too early")
    (fit,) = fitting.get("/v1/models/words/fits").json()["rows"]
    assert fit["status"] == "succeeded"


def test_a_version_is_exported_as_it_can_be_imported(fitting, tmp_path):
    ended(fitting, begun(fitting))
    answer = fitting.get("/v1/models/words/1/export")
    assert answer.headers["content-type"] == "application/gzip"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    with Router(["billing", "fraud"], ["words"], ":memory:", retrain=False) as elsewhere:
        elsewhere.record(elsewhere.route("refund 1"), {"correct_agent": "billing"})
        assert elsewhere.models.import_version(tmp_path / "out" / "words-1").version is not None


def test_one_fit_runs_and_the_others_are_told(fitting):
    first = begun(fitting, mode="hang")
    others = [fitting.post("/v1/retrain", json={}) for _ in range(3)]
    assert [(told.status_code, told.json()["state"]) for told in others] == [(202, "waiting")] * 3
    assert others[0].json()["words"] == "another fit is running"
    assert fitting.post(f"/v1/fits/{first}/stop").status_code == 202
    assert ended(fitting, first)["state"] == "stopped"
    states = [ended(fitting, told.json()["fit_id"])["state"] for told in others]
    assert states == ["promoted"] * 3  # it was one fit that three asked for


def test_a_fit_that_waits_is_followed_until_it_ends(fitting):
    first = begun(fitting, mode="hang")
    second = begun(fitting)
    threading.Timer(0.5, fitting.post, (f"/v1/fits/{first}/stop",)).start()
    with fitting.stream("GET", f"/v1/fits/{second}/events") as answer:
        told = [json.loads(line[6:])["state"] for line in answer.iter_lines() if line.startswith("data: ")]
    assert (told[0], told[-1]) == ("waiting", "promoted")


def test_progress_is_told_as_events_until_it_ends(fitting):
    fit_id = begun(fitting)
    with fitting.stream("GET", f"/v1/fits/{fit_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert told[-1]["state"] == "promoted"
    assert all(one["fit_id"] == fit_id for one in told)


def test_a_fit_that_fails_says_why(fitting):
    told = ended(fitting, begun(fitting, mode="raise"))
    assert (told["state"], told["version"]) == ("failed", None)
    assert "not finite" in told["words"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"settings": {"wait": True}}, 422),
        ({"settings": {"colour": "red"}}, 422),
        ({"strategy": "magic"}, 404),
        ({"reason": ""}, 422),
    ],
)
def test_what_cannot_be_fitted_is_said(fitting, body, status):
    assert fitting.post("/v1/retrain", json=body).status_code == status


def test_agents_come_go_and_rest_without_a_restart(client):
    assert client.put("/v1/agents/claims", json={"description": "damage"}).json()["name"] == "claims"
    assert client.put("/v1/agents/claims", json={"name": "other"}).status_code == 422
    assert client.put("/v1/agents/claims", json={"colour": "red"}).status_code == 422
    assert client.put("/v1/agents/claims/health", json={"healthy": False, "for_s": 60}).status_code == 200
    told = client.get("/v1/agents").json()
    assert "claims" in {agent["name"] for agent in told["agents"]}
    assert "claims" not in told["available"]
    assert client.put("/v1/agents/openai/gpt-5/health", json={"healthy": True}).status_code == 200
    assert client.put("/v1/agents/claims/health", json={"healthy": True}).status_code == 200
    assert "claims" in client.get("/v1/agents").json()["available"]
    assert client.delete("/v1/agents/claims").status_code == 204
    assert client.delete("/v1/agents/claims").status_code == 404
    assert client.put("/v1/agents/claims/health", json={"healthy": True}).status_code == 404


def test_agents_of_a_configuration_are_changed_there(make_client, tmp_path):
    config = tmp_path / "router.toml"
    config.write_text('[[agents]]\nname = "billing"\n')
    client = make_client(insecure=True, config=config)
    for answer in (client.put("/v1/agents/claims", json={}), client.delete("/v1/agents/billing")):
        assert answer.status_code == 409
        assert "configuration" in answer.json()["detail"]


def test_what_was_learnt_is_told_and_saved(client):
    decision = client.post("/v1/route", json={"task": {"text": "a", "session_id": "s"}}).json()
    ask = client.get("/v1/ask", params={"n": 5}).json()["decisions"]
    assert [one["decision_id"] for one in ask] == [decision["decision_id"]]
    assert ask[0]["task"]["text"] == "a"
    client.post("/v1/outcomes", json={"decision_id": decision["decision_id"], "outcome": {"success": True}})
    assert client.post("/v1/snapshot").status_code == 204
    assert client.get("/v1/statistics").json()["samples_processed"] == 1
    assert client.get("/v1/status", params={"last": 1}).json()["store"]["outcomes"] == 1
    best, *_ = client.get("/v1/agents/performance", params={"top_k": 1}).json()["agents"]
    assert best["executions"] == 1
    assert client.post("/v1/forget", json={"session_id": "s"}).json() == {"decisions": 1}


@pytest.mark.parametrize("name", ["strategy", "self", "wait", "reason", "settings", "colour"])
def test_a_setting_that_is_none_is_refused(fitting, name):
    answer = fitting.post("/v1/retrain", json={"settings": {name: 1}})
    assert answer.status_code == 422
    assert name in answer.json()["detail"]


def test_going_back_to_a_position_says_what_is_not_learnt_any_more(client):
    for _ in range(2):
        decision = client.post("/v1/route", json={"task": "x"}).json()["decision_id"]
        client.post("/v1/outcomes", json={"decision_id": decision, "outcome": {"success": True}})
    told = client.post("/v1/models/thompson/rollback", json={"to_seq": 1}).json()
    assert (told["version"], told["taken_back"]) == (None, None)
    assert told["effect"].startswith("what came behind 1 teaches thompson nothing")
