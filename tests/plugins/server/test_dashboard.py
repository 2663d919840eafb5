"""The page's files, and what it asks the service."""

import asyncio
import json
import re
import time

import pytest
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


def test_a_dear_part_that_fails_is_tried_again_soon(store):
    async def watch():
        now = [0.0]
        with Router(store=store) as router:
            overview = Overview(router, lambda: now[0])

            def dear():
                end = time.thread_time() + 0.15
                while time.thread_time() < end:
                    pass
                raise ValueError("for now")

            make, every_s = overview._makers["evidence"]
            overview._makers["evidence"] = (dear, every_s)
            assert "fault" in json.loads((await overview.fresh())["evidence"])
            overview._makers["evidence"] = (make, every_s)
            now[0] = 20.0
            return json.loads((await overview.fresh())["evidence"])

    told = asyncio.run(watch())
    assert "fault" not in told
    assert told["alone"] == []


def test_a_store_that_cannot_be_read_is_told_and_the_rest_goes_on(store):
    async def watch():
        with Router(store=store) as router:
            overview = Overview(router)
            router.close()
            return await overview.fresh()

    told = asyncio.run(watch())
    assert "fault" in json.loads(told["activity"])
    assert json.loads(told["answers"])["serves"]["headline"] == "Cannot be told now"


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
