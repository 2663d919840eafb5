import asyncio
import json
import time

import pytest
from router_sdk_server import ServiceSettings, create_app
from router_sdk_server.access import OPEN
from router_sdk_server.problems import Refused
from router_sdk_server.rates import Rates

from router_sdk import Router
from router_sdk.records import SCOPES, AccessKey

ROUTE = {"task": "I was charged twice"}


def decided(caller, **task):
    answer = caller.post("/v1/route", json={"task": {"text": "I was charged twice", **task}})
    assert answer.status_code == 200, answer.text
    return answer.json()["decision_id"]


def operations(client):
    described = client.app.openapi()
    return [
        (method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if path not in OPEN
    ]


def test_a_key_stands_nowhere_on_disk(store):
    with Router(store=store) as router:
        made, key = router.keys.create("app", scopes=["route"], tenant="acme")
        assert router.keys.find(key) == made
        assert router.keys.find(key[:-1]) is None
    assert len(key) > 40
    written = b"".join(path.read_bytes() for path in store.parent.rglob("*") if path.is_file())
    assert made.key_id.encode() in written
    assert key.encode() not in written


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["write"]},
        {"scopes": "route"},
        {"origin": "nobody"},
        {"per_minute": 0},
        {"per_minute": True},
        {"tenant": "a/b"},
        {"name": ""},
    ],
)
def test_a_malformed_key_is_not_made(store, wrong):
    with Router(store=store) as router:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            router.keys.create(**{"name": "app", **wrong})
        assert router.keys.all() == []


def test_nothing_is_open_by_default_but_probes(keyed):
    for method, path, _ in operations(keyed.client):
        answer = keyed.client.request(method, path.replace("{version}", "1"))
        assert (answer.status_code, path) == (401, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "router keys create" in answer.json()["detail"]
    assert keyed.client.get("/openapi.json").status_code == 401
    for probe in ("/livez", "/readyz", "/health"):
        assert keyed.client.get(probe).status_code in (200, 503)
        assert keyed.client.head(probe).status_code in (200, 503)


def test_each_scope_opens_what_needs_it_and_nothing_else(keyed):
    callers = {scope: keyed(scope, scopes=[scope]) for scope in SCOPES}
    for method, path, operation in operations(keyed.client):
        needed = operation["description"].rpartition("Scope: `")[2].rstrip("`.").split("` or `")
        assert set(needed) <= set(SCOPES), path
        for scope, caller in callers.items():
            if scope in needed or (scope == "admin" and "metrics" in needed):
                continue
            answer = caller.client.request(
                method, path.replace("{version}", "1"), headers={"authorization": f"Bearer {caller.key}"}
            )
            assert (answer.status_code, path) == (403, path)
            assert f"scope {' or '.join(map(repr, needed))};" in answer.json()["detail"]


def test_a_key_that_is_revoked_elsewhere_opens_nothing_any_more(keyed, store):
    caller = keyed()
    assert caller.post("/v1/route", json=ROUTE).status_code == 200
    with Router(store=store, strategies=["thompson"]) as elsewhere:
        elsewhere.keys.revoke(elsewhere.keys.all()[0].key_id)
    keyed.router.keys.refresh()  # what the service does every second
    answer = caller.post("/v1/route", json=ROUTE)
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]


def test_a_fault_does_not_keep_revoked_keys_in_force(keyed, store, monkeypatch):
    monkeypatch.setattr("router_sdk_server.service._FOLLOW_EVERY_S", 0.01)
    caller, service = keyed(), keyed.client.app.state.service
    look, looks = service._look, iter([ValueError("unforeseen"), OSError("no such file")])

    def failing():
        for fault in looks:
            raise fault
        look()

    monkeypatch.setattr(service, "_look", failing)
    with Router(store=store, strategies=["thompson"]) as elsewhere:
        (key,) = elsewhere.keys.all()
        elsewhere.keys.revoke(key.key_id)
    end = time.monotonic() + 10
    while caller.get("/v1/agents").status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_tenant_sees_and_records_its_own_alone(keyed):
    mine = keyed("mine", scopes=SCOPES, tenant="acme")
    theirs = keyed("theirs", scopes=SCOPES, tenant="globex")
    decision = decided(mine, session_id="s")
    assert mine.get(f"/v1/explain/{decision}").status_code == 200
    report = {"decision_id": decision, "outcome": {"success": True}}
    for refused in (
        theirs.get(f"/v1/explain/{decision}"),
        theirs.post("/v1/outcomes", json=report),
        theirs.post("/v1/sessions/s/outcomes", json={"outcome": {"success": True}}),
    ):
        assert refused.status_code == 404, refused.text
        assert "acme" not in refused.text
        assert "Tenant" not in refused.text
    unknown = theirs.get(f"/v1/explain/{'0' * 32}").text.replace("0" * 32, decision)
    foreign = theirs.get(f"/v1/explain/{decision}").text
    assert foreign.partition('"request_id"')[0] == unknown.partition('"request_id"')[0]
    verdicts = theirs.post("/v1/outcomes", json={"outcomes": [report]}).json()
    assert (verdicts["recorded"], verdicts["results"][0]["problem"]["status"]) == (0, 404)
    assert theirs.post("/v1/forget", json={"session_id": "s"}).json() == {"decisions": 0}
    assert theirs.get("/v1/ask").json() == {"decisions": []}
    assert [one["decision_id"] for one in mine.get("/v1/ask").json()["decisions"]] == [decision]
    assert mine.post("/v1/sessions/s/outcomes", json={"outcome": {"success": True}}).json()["recorded"] == 1
    assert mine.post("/v1/outcomes", json=report).status_code == 200


def test_a_tenants_key_speaks_for_no_other_and_reads_no_figures_of_all(keyed):
    caller = keyed(scopes=SCOPES, tenant="acme")
    assert caller.post("/v1/route", json={"task": {"text": "x", "tenant": "globex"}}).status_code == 403
    assert caller.post("/v1/forget", json={"session_id": "s", "tenant": "globex"}).status_code == 403
    assert "versions" not in caller.get("/v1/models").json()
    for path in ("/v1/statistics", "/v1/status", "/metrics", "/v1/models/thompson/fits", "/v1/agents/performance"):
        assert caller.get(path).status_code == 403
    decision = decided(caller, tenant="acme")
    assert keyed.router.decision(decision).task.tenant == "acme"


def test_a_tenants_key_changes_nothing_that_all_tenants_share(keyed):
    caller, everybody = keyed(scopes=SCOPES, tenant="acme"), keyed("ops", scopes=["route", "admin"])
    before = everybody.get("/v1/agents").json()
    for refused in (
        caller.put("/v1/agents/evil", json={"description": "x"}),
        caller.put("/v1/agents/billing/health", json={"healthy": False}),
        caller.delete("/v1/agents/billing"),
        caller.get("/v1/fits/0123456789abcdef"),
        caller.get("/v1/fits/0123456789abcdef/events"),
        caller.post("/v1/fits/0123456789abcdef/stop"),
    ):
        assert refused.status_code == 403, refused.text
    assert everybody.get("/v1/agents").json() == before
    ask = {"task_type": "refund"}
    assert caller.post("/api/learning/predict/agent-selection", json=ask).json()["model_score"] is None


async def test_a_caller_who_leaves_before_the_body_has_come_is_no_fault_of_ours(client, caplog):
    said = []

    async def receive():
        return next(parts)

    async def send(message):
        said.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"100")]
    for path in ("/v1/route", "/v1/observations"):
        parts = iter([{"type": "http.request", "body": b'{"task', "more_body": True}, {"type": "http.disconnect"}])
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        await client.app({**scope, "headers": headers, "client": ("127.0.0.1", 1), "root_path": ""}, receive, send)
    assert [message["status"] for message in said if "status" in message] == [400, 400]
    assert not caplog.records


def test_origin_and_actor_come_from_the_key(keyed):
    judge = keyed("judge-7", scopes=["route", "record"], origin="judge")
    decision = decided(judge)
    report = {"decision_id": decision, "outcome": {"quality": 0.5}}
    assert judge.post("/v1/outcomes", json=report).status_code == 200
    assert _outcomes(keyed.router) == [("judge", "judge-7")]
    for lie in ({"origin": "user"}, {"actor": "somebody"}):
        answer = judge.post("/v1/outcomes", json={**report, "outcome": {"quality": 0.5, **lie}})
        assert answer.status_code == 422
        assert "comes from the key" in answer.json()["detail"]


def _outcomes(router):
    rows = "SELECT origin, actor FROM outcomes ORDER BY seq"
    return router._parts.store.reader.query(lambda connection: connection.execute(rows).fetchall())


@pytest.mark.parametrize(
    "caller",
    [
        {"address": "10.0.0.7"},
        {"host": "router.example.com"},
        {"headers": {"origin": "https://evil.example.com"}},
        {"headers": {"origin": "http://127.0.0.1:3000"}},
    ],
    ids=["another machine", "another name", "a page in a browser", "a page of another port"],
)
def test_without_keys_it_answers_programs_on_the_same_machine_alone(make_client, caller):
    answer = make_client(insecure=True, **caller).post("/v1/route", json=ROUTE)
    assert answer.status_code == 401
    assert "same machine" in answer.json()["detail"]


def test_without_keys_it_takes_whatever_key_a_client_insists_on(client):
    assert client.post("/v1/rank", json=ROUTE, headers={"authorization": "Bearer anything"}).status_code == 200


def test_what_is_too_large_or_no_json_is_refused_before_it_is_read(make_client):
    client = make_client(insecure=True, most_body_bytes=2_000)
    large = json.dumps({"task": "x" * 3_000}).encode()
    for body in (large, (large[i : i + 100] for i in range(0, len(large), 100))):
        answer = client.post("/v1/route", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["title"]) == (413, "Content too large")
        assert "2,000 bytes" in answer.json()["detail"]
    answer = client.post("/v1/route", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_a_key_may_ask_so_often_and_is_told_when_again(keyed):
    caller = keyed(per_minute=3)
    answers = [caller.post("/v1/rank", json=ROUTE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert keyed().post("/v1/rank", json=ROUTE).status_code == 200  # another key has a limit of its own


def test_a_rate_comes_back_with_time():
    now = [0.0]
    rates, key = Rates(60, now=lambda: now[0]), AccessKey("k", "n", frozenset({"route"}))
    for _ in range(60):
        rates.count(key)
    with pytest.raises(Refused, match=r"wait 1\.0 s"):
        rates.count(key)
    now[0] = 2.0
    rates.count(key)
    rates.count(key)
    with pytest.raises(Refused):
        rates.count(key)


def test_workers_of_one_service_count_together(tmp_path):
    now, key = [0.0], AccessKey("k", "n", frozenset({"route"}), per_minute=6)
    workers = [Rates(0, tmp_path, now=lambda: now[0]) for _ in range(2)]
    for number in range(6):
        workers[number % 2].count(key)
    for worker in workers:
        with pytest.raises(Refused, match=r"wait 10\.0 s"):
            worker.count(key)
    now[0] = 10.0
    workers[1].count(key)
    with pytest.raises(Refused):
        workers[0].count(key)


def test_a_request_is_known_by_an_id_its_own_or_a_fresh_one(client):
    assert client.get("/v1/agents", headers={"x-request-id": "trace-7"}).headers["x-request-id"] == "trace-7"
    fresh = [client.get("/v1/agents").headers["x-request-id"] for _ in range(2)]
    assert fresh[0] != fresh[1]
    assert client.get("/v1/agents", headers={"x-request-id": "a b"}).headers["x-request-id"] not in ("a b", *fresh)
    refused = client.get("/v1/explain/x", headers={"x-request-id": "trace-8"})
    assert refused.json()["request_id"] == "trace-8"


def test_a_body_that_does_not_arrive_is_not_waited_for_for_ever(store):
    sent = []

    async def ask():
        app = create_app(ServiceSettings(store=store, insecure=True, timeout_s=0.1))

        async def receive():
            if not sent:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/route",
            "raw_path": b"/v1/route",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"50")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
