"""The page's files, and what it asks the service."""

import asyncio
import json
import re
import time

import pytest
from router_sdk_server.dashboard.answers import answers, does_it_help
from router_sdk_server.dashboard.files import KEYS, PATHS, content
from router_sdk_server.dashboard.overview import Overview

from router_sdk import Decision, Router
from router_sdk.records import SCOPES

MOST_BYTES = 300_000
FILES = PATHS - {KEYS}
PARTS = ["activity", "state", "evidence", "answers"]
NASTY = "<script>alert('x')</script>"


def played(router, count=60, **task):
    for i in range(count):
        decision = router.route({"text": f"charged twice {i}", **task})
        router.record(decision, {"success": decision.agent == "billing", "cost_usd": 0.01, "latency_ms": 50.0})
    router.flush()


@pytest.fixture
def router(client):
    return client.app.state.service.router


# -- files


def test_the_page_is_there_without_a_key_and_lets_nothing_in_from_elsewhere(keyed):
    assert keyed.client.get(KEYS).json() == {"needed": True}
    for path in FILES:
        answer = keyed.client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = keyed.client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert keyed.client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert keyed.client.get("/dashboard/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert keyed.client.get("/dashboard/files.py").status_code == 401
    assert keyed(scopes=["metrics"]).get("/dashboard/files.py").status_code == 404
    assert sum(len(content(path.rpartition("/")[2] or "index.html")[0]) for path in FILES) < MOST_BYTES


def test_nothing_is_written_into_the_page_as_markup():
    page = content("index.html")[0].decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page)
    for path in FILES:
        if path.endswith(".js") and "uPlot" not in path:
            script = content(path.rpartition("/")[2])[0].decode()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", script), (
                path
            )


def test_every_file_that_is_asked_for_is_there():
    asked = set(re.findall(r'(?:src|href)="(dashboard/[^"]+)"', content("index.html")[0].decode()))
    for path in FILES:
        if path.endswith(".js") and "uPlot" not in path:
            asked |= {f"dashboard/{name}" for name in re.findall(r'from "\./([^"]+)"', content(path[11:])[0].decode())}
    assert {path[1:] for path in FILES} - {""} == asked


# -- who may see what


def test_a_viewer_is_told_what_its_key_may_do(keyed, make_client):
    assert keyed.client.get("/dashboard/me").status_code == 401
    assert keyed("ops", scopes=["admin"]).get("/dashboard/me").json() == {
        "name": "ops",
        "scopes": ["metrics", "admin"],
        "tenant": None,
    }
    assert keyed("a", scopes=["record"], tenant="acme").get("/dashboard/me").json()["tenant"] == "acme"
    local = make_client(insecure=True).get("/dashboard/me").json()
    assert local == {"name": None, "scopes": ["route", "record", "metrics", "admin"], "tenant": None}


def test_figures_of_all_are_for_keys_of_all(keyed):
    for path in ("/v1/overview", "/v1/overview/events?for_s=0"):
        assert keyed("m", scopes=["metrics"]).get(path).status_code == 200
        assert keyed("r", scopes=["route", "record"]).get(path).status_code == 403
        assert keyed("t", scopes=SCOPES, tenant="acme").get(path).status_code == 403


def test_tasks_are_told_to_who_may_record_and_of_its_tenant_alone(keyed):
    mine, theirs = (keyed(name, scopes=SCOPES, tenant=name) for name in ("acme", "globex"))
    made = mine.post("/v1/route", json={"task": {"text": NASTY, "session_id": "s/1"}}).json()
    mine.post("/v1/outcomes", json={"decision_id": made["decision_id"], "outcome": {"success": True}})
    (told,) = mine.get("/v1/decisions", params={"session_id": "s/1"}).json()["decisions"]
    assert told["task"]["text"] == NASTY
    assert (told["decision_id"], told["agent"], told["reward"]) == (made["decision_id"], made["agent"], 1.0)
    assert [(part["success"], part["actor"]) for part in told["parts"]] == [(True, "acme")]
    assert mine.get("/v1/decisions").json()["decisions"] == [told]
    assert theirs.get("/v1/decisions").json()["decisions"] == []
    assert theirs.get("/v1/decisions", params={"session_id": "s/1"}).json()["decisions"] == []
    assert theirs.get("/v1/decisions", params={"tenant": "acme"}).status_code == 403
    assert keyed(scopes=["metrics", "route"]).get("/v1/decisions").status_code == 403
    assert NASTY not in keyed(scopes=["metrics"]).get("/v1/overview").text


# -- a task to try


def test_a_preview_says_who_would_get_a_task_and_logs_nothing(client, router):
    played(router, 30)
    told = client.post("/v1/preview", json={"task": "charged twice", "exclude": ["fraud"]}).json()
    assert sorted(told["ranking"]) == ["billing", "openai/gpt-5"] == sorted(told["probabilities"])
    assert "fraud" in told["excluded"]
    assert told["evidence"]
    assert "decision_id" not in told
    assert len(router.examples.decisions(100)) == 30


@pytest.fixture
def of_two_tenants(keyed, monkeypatch):
    """A decision of each of two tenants; evidence names both as nearest, and nests that of another strategy."""
    ids = {
        tenant: keyed(tenant, scopes=SCOPES, tenant=tenant)
        .post("/v1/route", json={"task": f"of {tenant}"})
        .json()["decision_id"]
        for tenant in ("acme", "globex")
    }
    keyed.router.flush()
    stored = [{"decision_id": one, "similarity": 0.9, "agent": "fraud"} for one in ids.values()]
    nearest = [*stored, {"text": "stated", "agent": "fraud"}]
    explain = Decision.explain
    evidence = {"nearest": nearest, "parts": {"bert": {"nearest": nearest, "closest": nearest[1]}}}
    monkeypatch.setattr(Decision, "explain", lambda self: {**explain(self), "evidence": evidence})
    return ids


def test_the_nearest_examples_have_their_texts_for_who_may_read_them(keyed, of_two_tenants):
    mine, plain = keyed("a", scopes=SCOPES, tenant="acme"), keyed("b", scopes=["route"], tenant="acme")
    assert [one["text"] for one in mine.post("/v1/preview", json={"task": "x"}).json()["nearest"]] == [
        "of acme",
        "stated",
    ]
    assert [one["text"] for one in plain.post("/v1/preview", json={"task": "x"}).json()["nearest"]] == [None, "stated"]


@pytest.mark.parametrize("way", ["preview", "explain", "decisions", "route"])
def test_a_tenants_key_is_told_of_no_example_of_another(keyed, of_two_tenants, way):
    theirs = of_two_tenants["globex"]

    def told(caller):
        if way in ("preview", "route"):
            return caller.post(f"/v1/{way}", json={"task": "x"})
        return caller.get(f"/v1/explain/{of_two_tenants['acme']}" if way == "explain" else "/v1/decisions")

    bound = told(keyed("bound", scopes=SCOPES, tenant="acme"))
    assert bound.status_code == 200
    assert theirs not in bound.text
    if way != "route":  # which tells of no evidence
        assert "stated" in bound.text
        assert of_two_tenants["acme"] in bound.text
        assert theirs in told(keyed("everybody's", scopes=SCOPES)).text


# -- figures


def test_the_overview_tells_what_happens(client, router):
    played(router)
    told = client.get("/v1/overview").json()
    assert list(told) == PARTS
    assert told["activity"]["decisions"] == 60
    assert told["activity"]["backlog"] == router.backlog()
    assert [one["name"] for one in told["state"]["strategies"]] == ["thompson", "heuristic"]
    assert told["evidence"]["experiments"] == []
    assert "billing" in told["answers"]["serves"]["headline"]


def test_an_overview_of_nothing_says_so(client):
    told = client.get("/v1/overview").json()["answers"]
    assert told["serves"]["headline"] == "Nobody yet"
    assert told["helps"]["headline"] == "Too early to say"


def test_the_same_comes_as_events(client, router):
    played(router, 5)
    answer = client.get("/v1/overview/events", params={"for_s": 0})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = [block.split("\n", 1) for block in answer.text.strip().split("\n\n")]
    assert [name for name, _ in events] == [f"event: {part}" for part in PARTS]
    assert json.loads(events[0][1].removeprefix("data: "))["decisions"] == 5


def test_a_viewer_hears_of_what_changed_alone_and_of_a_change_by_hand_at_once(store):
    async def watch():
        with Router(store=store) as router:
            overview = Overview(router, lambda: 100.0)
            first = await overview.fresh()
            assert (await overview.fresh()) is first
            router.record(router.route("x"), {"success": True})
            overview._due["activity"] = 100.0
            second = await overview.fresh()
            assert second["evidence"] is first["evidence"]
            assert json.loads(second["activity"])["decisions"] == 1
            overview.soon()
            assert (await overview.fresh())["state"] is not second["state"]

    asyncio.run(watch())


def test_many_viewers_cost_what_one_does(store):
    async def watch():
        with Router(store=store) as router:
            overview = Overview(router)
            looks, look = [], overview._look
            overview._look = lambda: (looks.append(1), look())
            seen = await asyncio.gather(*(overview.fresh() for _ in range(50)))
            assert all(one is seen[0] for one in seen)
            return len(looks)

    assert asyncio.run(watch()) == 1


def test_what_is_dear_is_worked_out_less_often(store):
    async def watch():
        now = [0.0]
        with Router(store=store) as router:
            overview = Overview(router, lambda: now[0])

            def dear():
                end = time.thread_time() + 0.05
                while time.thread_time() < end:
                    pass
                return {"points": [], "lately": {}}

            overview._makers["activity"] = (dear, 2.0)
            first = await overview.fresh()
            now[0] = 7.9
            assert (await overview.fresh())["activity"] is first["activity"]

    asyncio.run(watch())


def test_a_store_that_cannot_be_read_is_told_and_the_rest_goes_on(store):
    async def watch():
        with Router(store=store) as router:
            overview = Overview(router)
            router.close()
            return await overview.fresh()

    told = asyncio.run(watch())
    assert "fault" in json.loads(told["activity"])
    assert json.loads(told["answers"])["serves"]["headline"] == "Nobody yet"


@pytest.mark.parametrize("wrong", [lambda: 1 / 0, lambda: {"x": object()}, lambda: {"lately": {"decisions": "many"}}])
def test_a_part_that_fails_says_so_and_the_rest_goes_on(client, router, wrong, caplog):
    played(router)
    overview = client.app.state.service.overview
    make, _ = overview._makers["activity"]
    overview._makers["activity"] = (wrong, 0.0)
    answer = client.get("/v1/overview")
    assert (answer.status_code, list(answer.json())) == (200, PARTS)
    told = answer.json()
    assert "log has more" in told["activity"].get("fault", told["answers"].get("fault", ""))
    assert told["state"]["strategies"]
    assert "the page's" in caplog.text
    overview._makers["activity"] = (make, 0.0)
    overview._due["activity"] = 0.0
    told = client.get("/v1/overview").json()
    assert not any("fault" in part for part in told.values())
    assert told["activity"]["decisions"] == 60


# -- answers


def alone(low, high, **more):
    gain = {"mean": (low + high) / 2, "low": low, "high": high}
    told = {"agent": "billing", "mean": 0.6, "low": 0.5, "high": 0.7, "decisions": 900, "insufficient": None}
    return {"alone": [{**told, "earned": 0.8, "gain": gain, **more}]}


def rewards(*means, rewarded=100):
    points = [{"posterior": mean, "rewarded": rewarded} for mean in means]
    return {"points": points, "lately": {"rewarded": rewarded * len(means), "decisions": 900}}


@pytest.mark.parametrize(
    ("activity", "evidence", "verdict", "words"),
    [
        (rewards(0.5, 0.8), alone(0.1, 0.3), "yes", "Yes: +0.20 reward per task"),
        (rewards(0.5, 0.8), alone(-0.3, -0.1), "no", "No: billing alone would do better"),
        (rewards(0.5, 0.8), alone(-0.1, 0.3), "open", "Not certain yet, probably: +0.10"),
        (rewards(0.5, 0.8), alone(-0.3, 0.1), "open", "not shown"),
        (rewards(0.5, 0.8), alone(0.1, 0.3, insufficient="too few"), "rising", "It is learning: +0.30"),
        (rewards(0.8, 0.5), {"alone": []}, "falling", "It is getting worse: -0.30"),
        (rewards(0.5, 0.51), {"alone": []}, "unknown", "No difference can be told yet"),
        (rewards(0.5, rewarded=9), {"alone": []}, "unknown", "Too early to say"),
    ],
)
def test_whether_it_helps_is_said_as_far_as_the_log_tells(activity, evidence, verdict, words):
    told = does_it_help(activity, {}, evidence)
    assert told["verdict"] == verdict
    assert words in told["headline"]


def test_what_was_saved_is_said_where_it_is_known():
    saved = {"saved_usd": 1.5, "words": "$3.00 were spent where fraud would have spent $4.50"}
    for savings, said in ((saved, True), ({"saved_usd": None, "words": "nothing was recorded yet"}, False)):
        state = {"statistics": {"savings": {"best_single": savings}}}
        told = does_it_help(rewards(0.5, 0.8), state, {"alone": []})
        assert ("would have spent" in told["text"]) is said


def why_of(first="bert", serving=None, **state):
    activity = {
        "lately": {"decisions": 10, "strategies": {first: 9, "uniform": 1}, "agents": {"a": 8, "": 2}},
        "by_task_type": {"x": {"best": "a", "best_mean": 0.9}, "y": {"best": "b", "best_mean": 0.8}},
    }
    chain = [{"name": "bert", "model_version": 3}, {"name": "thompson", "model_version": None}]
    models = [] if serving is None else [{"strategy": first, "serving": serving}]
    return answers(activity, {"strategies": chain, "models": models, **state}, {})


def test_why_says_what_let_a_version_serve():
    served = {"version": 3, "pinned": False, "reason": "+0.04 on 200 held-out tasks"}
    told = why_of(serving=served)
    assert told["serves"]["headline"] == "a and nobody, chosen by bert version 3"
    assert told["why"]["headline"] == "The checks passed version 3 of bert"
    assert "+0.04 on 200 held-out tasks" in told["why"]["text"]
    assert why_of(serving={**served, "pinned": True})["why"]["headline"].startswith("A person chose")
    assert why_of(serving={**served, "version": None})["why"]["headline"] == "bert was rolled back"


def test_why_says_who_stood_aside_and_who_is_best_at_what():
    passed = [{"strategy": "bert", "reason": "abstained", "decisions": 90}]
    told = why_of("thompson", passed=passed, statistics={"samples_processed": 1234})["why"]
    assert told["headline"] == "thompson knows from outcomes who does what well"
    assert "1,234 outcomes" in told["text"]
    assert "a earns 0.90 on x and b earns 0.80 on y" in told["text"]
    assert "Asked before it, bert stood aside 90 times (abstained)." in told["text"]


@pytest.mark.parametrize(("first", "words"), [("uniform", "Nobody in the chain"), ("observed", "decided elsewhere")])
def test_why_says_where_no_strategy_chose(first, words):
    assert words in why_of(first)["why"]["headline"]
