import json
import logging
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn
from router_sdk_server import ServiceSettings, create_app
from router_sdk_server.gateway.upstreams import Upstream
from upstreams import USAGE, WORDS, UpstreamServer

from router_sdk import Agent, Router

openai = pytest.importorskip("openai")

PRICES = {"input": 2.0, "cached_input": 0.5, "output": 10.0}
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "I was charged twice"}]


@pytest.fixture(scope="module")
def upstream():
    server = UpstreamServer()
    yield server
    server.close()


@pytest.fixture
def serve(store_path, upstream):
    """A service whose agents are models of the upstream, on a port: ``serve("fine", "dies", attempts=2)``."""
    upstream.asked.clear()
    upstream.gone.clear()
    running = []

    def make(*models, metadata=None, **settings):
        with Router(store=store_path, strategies=["thompson"]) as router:
            for model in models:
                told = {"base_url": upstream.url, "model": model, "prices": PRICES, **(metadata or {})}
                router.add_agent(Agent(f"agent-{model}", metadata=told))
        app = create_app(ServiceSettings(store=store_path, insecure=True, **settings))
        config = uvicorn.Config(app, log_level="warning", port=0, timeout_graceful_shutdown=5)
        server, bound = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{bound.getsockname()[1]}/v1", api_key="none", max_retries=0, timeout=20
        )
        running.append((client, server, thread, bound))
        client.service = app.state.service
        client.router_of_service = lambda: app.state.service.router
        return client

    yield make
    for client, server, thread, bound in running:
        client.close()
        server.should_exit = True
        thread.join(20)
        bound.close()


def outcome_of(client, decision_id):
    """What is known of a decision, once that is on disk; its first part."""
    router, end = client.router_of_service(), time.monotonic() + 10
    while not (parts := router.examples.parts(decision_id)):
        assert time.monotonic() < end
        time.sleep(0.01)
    return parts[0].outcome


def ask(client, model="auto", **options):
    return client.chat.completions.with_raw_response.create(model=model, messages=ASKED, **options)


def test_a_whole_answer_names_the_agent_and_is_recorded(serve, upstream):
    client = serve("fine")
    raw = ask(client)
    told = raw.parse()
    assert told.model == "agent-fine"
    assert told.choices[0].message.content == "".join(WORDS)
    assert told.usage.total_tokens == USAGE["total_tokens"]
    outcome = outcome_of(client, raw.headers["x-router-decision-id"])
    assert outcome.success is True
    assert (outcome.tokens, outcome.metrics["cached_tokens"]) == (120, 40)
    assert outcome.cost_usd == pytest.approx((60 * 2 + 40 * 0.5 + 20 * 10) / 1e6)
    assert 0 < outcome.metrics["first_byte_ms"] <= outcome.latency_ms
    assert (outcome.origin, outcome.actor) == ("tool", "gateway")
    (_, body) = upstream.asked[-1]
    assert json.loads(body) == {"model": "fine", "messages": ASKED}


def test_a_stream_passes_byte_for_byte_but_for_the_model(serve, upstream):
    client = serve("fine")
    with client.chat.completions.with_streaming_response.create(
        model="auto", messages=ASKED, stream=True, stream_options={"include_usage": True}
    ) as answer:
        got = b"".join(answer.iter_bytes())
        decision = answer.headers["x-router-decision-id"]
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    sent = b"".join(upstream.events("fine", {"stream_options": {"include_usage": True}}))
    assert got == sent.replace(b'"fine-2026"', b'"agent-fine"')
    outcome = outcome_of(client, decision)
    assert (outcome.success, outcome.tokens) == (True, 120)
    assert outcome.cost_usd is not None


def parts_of(client, decision_id):
    """What is known of a decision once everything that was begun is recorded."""
    router = client.router_of_service()
    router.flush()
    return [part.outcome for part in router.examples.parts(decision_id)]


def results(client):
    """How often whom the gateway asked, and how it went."""
    text = client.service.metrics.text(client.router_of_service()).decode()
    found = re.findall(r'^router_upstream_attempts_total{agent="agent-([^"]+)",result="([^"]+)"} (\S+)$', text, re.M)
    return {(agent, result): float(count) for agent, result, count in found}


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("status-500", "500"),
        ("status-429", "429"),
        ("status-401", "401"),
        ("status-302", "302"),
        ("html", "no completion"),
        ("abrupt", "broke off"),
        ("errs", "error in its stream"),
        ("packed", "compressed"),
    ],
)
def test_who_fails_is_noted_and_another_is_asked(serve, model, why):
    client = serve("fine", model)
    failures = 0
    while not failures:  # until it was drawn
        raw = ask(client, stream=model == "errs")
        if model == "errs":
            assert {chunk.model for chunk in raw.parse()} == {"agent-fine"}
        else:
            assert raw.parse().model == "agent-fine"
        failures = results(client).get((model, "failed"), 0)
    router = client.router_of_service()
    router.flush()
    (failed, *_) = [example for example in router.examples if example.agent == f"agent-{model}"]
    outcome = router.examples.parts(failed.decision_id)[0].outcome
    assert outcome.success is False
    assert why in outcome.error
    answered = router.decision(raw.headers["x-router-decision-id"])
    assert answered.agent == "agent-fine"
    assert answered.excluded["agent-" + model]


def test_as_many_are_asked_as_may_be_and_the_answer_says_what_each_did(serve):
    client = serve("status-500", "status-503", "html", attempts=2)
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client)
    assert refused.value.status_code == 502
    assert refused.value.body["message"].count("agent-") == 2
    assert sum(results(client).values()) == 2


def test_where_everybody_failed_nobody_is_asked_twice(serve):
    client = serve("status-500", attempts=5)
    with pytest.raises(openai.InternalServerError, match="nobody else"):
        ask(client)
    assert results(client) == {("status-500", "failed"): 1}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_nobody_can_answer_is_told_so_and_blames_nobody(serve, status):
    client = serve(f"status-{status}")
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client)
    assert refused.value.status_code == status
    assert refused.value.body == {"message": "no", "code": 7}
    assert parts_of(client, refused.value.response.headers["x-router-decision-id"]) == []


@pytest.mark.parametrize("key", ["model", "mod\\u0065l"])
def test_a_body_that_says_its_model_twice_is_refused_and_blames_nobody(client, upstream, key):
    client.app.state.service.router.add_agent(Agent("agent-fine", metadata={"base_url": upstream.url, "model": "fine"}))
    upstream.asked.clear()
    headers = {"content-type": "application/json"}
    body = f'{{"{key}": "auto", "messages": ["x"]}}'
    assert client.post("/v1/chat/completions", content=body, headers=headers).json()["model"] == "agent-fine"
    assert json.loads(upstream.asked.pop()[1])["model"] == "fine"
    answer = client.post("/v1/chat/completions", content='{"model": "auto", ' + body[1:], headers=headers)
    assert answer.status_code == 422
    assert "say it once" in answer.json()["detail"]
    assert upstream.asked == []


@pytest.mark.parametrize("counts_as", ["unknown", "failure"])
def test_an_upstream_that_is_killed_in_mid_stream(serve, counts_as):
    client = serve("dies", "fine", cut_off=counts_as)
    stream = ask(client, "agent-dies", stream=True)
    events = stream.parse()
    assert [next(events).choices[0].delta.content for _ in range(2)] == ["", WORDS[0]]
    with pytest.raises(openai.APIError, match="broke off"):
        next(events)
    until(lambda: results(client) == {("dies", "cut_off"): 1})
    parts = parts_of(client, stream.headers["x-router-decision-id"])
    assert [part.success for part in parts] == ([] if counts_as == "unknown" else [False])


@pytest.mark.parametrize("counts_as", ["unknown", "failure"])
def test_a_client_that_cancels(serve, upstream, counts_as):
    client = serve("slow", cancelled=counts_as)
    raw = ask(client, stream=True)
    stream = raw.parse()
    assert next(stream).model == "agent-slow"
    stream.close()
    assert upstream.gone.wait(10)  # nobody pays for what nobody reads
    until(lambda: results(client) == {("slow", "cancelled"): 1})
    decision = raw.headers["x-router-decision-id"]
    if counts_as == "failure":
        assert outcome_of(client, decision).success is False
    else:
        assert parts_of(client, decision) == []


def test_a_client_that_cancels_before_anything_came(serve, upstream):
    client = serve("silent")
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.3))
    assert upstream.gone.wait(10)
    until(lambda: results(client) == {("silent", "cancelled"): 1})


def test_who_says_nothing_for_too_long_has_failed(serve):
    client = serve("silent", metadata={"timeout_s": 0.2})
    with pytest.raises(openai.InternalServerError, match="did not answer in time"):
        ask(client)


def test_tools_and_images_pass_untouched(serve, upstream):
    client = serve("tools")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBOR" * 1_000}}
    messages = [{"role": "user", "content": [image, {"type": "text", "text": 'what is \u00e9 "model": "auto"?'}]}]
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {"type": "string"}}}}}
    ]
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=messages, tools=tools, seed=3)
    told = raw.parse()
    (call,) = told.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("f", '{"model": "y"}')
    _, body = upstream.asked[-1]
    assert json.loads(body) == {"model": "tools", "messages": messages, "tools": tools, "seed": 3}
    task = client.router_of_service().decision(raw.headers["x-router-decision-id"]).task
    assert task.text == messages[0]["content"][1]["text"]


def test_an_image_alone_is_routed(serve):
    client = serve("fine")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}}
    assert client.chat.completions.create(model="auto", messages=[{"role": "user", "content": [image]}]).model


def test_a_pinned_agent_is_logged_as_observed(serve):
    client = serve("fine", "status-500")
    raw = ask(client, "agent-fine")
    decision = client.router_of_service().decision(raw.headers["x-router-decision-id"])
    assert (decision.agent, decision.source, decision.propensity) == ("agent-fine", "observed", None)
    assert outcome_of(client, decision.decision_id).success is True
    with pytest.raises(openai.InternalServerError, match="500"):
        ask(client, "agent-status-500")
    assert results(client) == {("fine", "answered"): 1, ("status-500", "failed"): 1}
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        ask(client, "gpt-nobody")


@pytest.mark.parametrize(
    ("options", "session"),
    [
        ({"extra_headers": {"x-session-id": "s-1"}, "user": "u"}, "s-1"),
        ({"metadata": {"session_id": "s-2", "task_type": "refund"}, "user": "u"}, "s-2"),
        ({"user": "u"}, "u"),
        ({"extra_headers": {"x-router-task": '{"session_id": "s-3", "requires": []}'}}, "s-3"),
        ({}, None),
    ],
)
def test_a_session_is_named_by_header_metadata_or_user(serve, options, session):
    client = serve("fine")
    decision = ask(client, **options).headers["x-router-decision-id"]
    client.router_of_service().flush()
    task = client.router_of_service().decision(decision).task
    assert task.session_id == session
    assert task.task_type == ("refund" if session == "s-2" else "default")


def test_a_task_header_that_cannot_be_read_is_refused(serve):
    with pytest.raises(openai.UnprocessableEntityError, match="x-router-task"):
        ask(serve("fine"), extra_headers={"x-router-task": "[1]"})


def test_the_tokens_of_a_stream_are_asked_for_where_the_agent_says_so(serve, upstream):
    client = serve("fine", metadata={"stream_usage": True})
    with client.chat.completions.with_streaming_response.create(model="auto", messages=ASKED, stream=True) as answer:
        got = b"".join(answer.iter_bytes())
        decision = answer.headers["x-router-decision-id"]
    assert got == b"".join(upstream.events("fine", {})).replace(b'"fine-2026"', b'"agent-fine"').replace(
        b"}]}\n", b'}], "usage": null}\n'
    )
    assert outcome_of(client, decision).tokens == 120


def test_without_tokens_or_prices_the_cost_is_unknown(serve):
    client = serve("fine", metadata={"prices": None})
    assert outcome_of(client, ask(client).headers["x-router-decision-id"]).cost_usd is None
    stream = ask(client, stream=True)
    list(stream.parse())
    outcome = outcome_of(client, stream.headers["x-router-decision-id"])
    assert (outcome.success, outcome.tokens, outcome.cost_usd) == (True, None, None)


def test_models_are_listed_for_openais_client(serve):
    client = serve("fine", "tools")
    assert [model.id for model in client.models.list()] == ["auto", "agent-fine", "agent-tools"]
    assert client.models.retrieve("agent-fine").id == "agent-fine"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_key_comes_from_the_environment_or_a_file_and_stands_nowhere(serve, upstream, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ONE_API_KEY", "secret-in-the-environment")
    client = serve("fine", "status-401", metadata={"api_key_env": "ONE_API_KEY"})
    ask(client, "agent-fine")
    assert upstream.asked[-1][0]["authorization"] == "Bearer secret-in-the-environment"
    assert "cookie" not in upstream.asked[-1][0]
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client, "agent-status-401")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for place in (caplog.text, refused.value.response.text, written.decode("latin-1")):
        assert "secret-in-the" not in place
    (tmp_path / "key").write_text("secret-in-a-file\n")
    monkeypatch.setenv("TWO_API_KEY_FILE", str(tmp_path / "key"))
    upstream_of_file = Upstream(base_url=upstream.url, api_key_env="TWO_API_KEY")
    assert upstream_of_file.key(os.environ) == "secret-in-a-file"


@pytest.mark.parametrize(
    "metadata",
    [
        {"base_url": "file:///etc/passwd"},
        {"base_url": "example.com/v1"},
        {"base_url": "https://user:secret@example.com/v1"},
        {"base_url": 7},
        {"base_url": "http://x/v1", "api_key_env": "HOME"},
        {"base_url": "http://x/v1", "prices": {"input": -1, "output": 1}},
        {"base_url": "http://x/v1", "prices": {"input": 1}},
        {"base_url": "http://x/v1", "timeout_s": 0},
    ],
)
def test_a_malformed_upstream_is_refused_where_an_agent_is_put(client, metadata):
    answer = client.put("/v1/agents/billing", json={"metadata": metadata})
    assert answer.status_code == 422
    assert "metadata." in answer.json()["detail"]
    assert "secret" not in answer.json()["detail"]


def test_an_agent_without_its_key_is_not_asked_and_that_is_said(serve, monkeypatch):
    monkeypatch.delenv("NO_API_KEY", raising=False)
    client = serve("fine", metadata={"api_key_env": "NO_API_KEY"})
    with pytest.raises(openai.ConflictError, match="NO_API_KEY"):
        ask(client)
    with pytest.raises(openai.NotFoundError, match="NO_API_KEY"):
        ask(client, "agent-fine")


def test_a_key_in_a_file_may_be_rotated_and_come_late(client, upstream, monkeypatch, tmp_path):
    place, router = tmp_path / "key", client.app.state.service.router
    monkeypatch.delenv("LATE_API_KEY", raising=False)
    monkeypatch.setenv("LATE_API_KEY_FILE", str(place))
    told = {"base_url": upstream.url, "model": "fine", "api_key_env": "LATE_API_KEY"}
    router.add_agent(Agent("agent-fine", metadata=told))

    def asked():
        answer = client.post("/v1/chat/completions", json={"model": "auto", "messages": ASKED})
        return upstream.asked[-1][0]["authorization"] if answer.status_code == 200 else answer.status_code

    assert asked() == 409
    for key in ("first", "second"):
        (tmp_path / "new").write_text(key)
        (tmp_path / "new").replace(place)  # as whoever mounts secrets does
        assert asked() == asked() == f"Bearer {key}"
    place.unlink()
    assert asked() == 409


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_read_anew(client, upstream, monkeypatch, status):
    monkeypatch.setenv("OLD_API_KEY", "old")
    told = {"base_url": upstream.url, "model": f"status-{status}", "api_key_env": "OLD_API_KEY"}
    client.app.state.service.router.add_agent(Agent("agent-strict", metadata=told))
    sent = []
    for key in ("old", "new", "newer"):
        monkeypatch.setenv("OLD_API_KEY", key)
        assert client.post("/v1/chat/completions", json={"model": "auto", "messages": ASKED}).status_code == 502
        sent.append(upstream.asked[-1][0]["authorization"])
    assert sent == ["Bearer old", "Bearer new", "Bearer newer"]


def test_without_any_upstream_that_is_said(serve):
    with pytest.raises(openai.ConflictError, match="base_url"):
        ask(serve())


def test_each_upstream_has_its_own_time_however_short_the_services_is(serve):
    client = serve("silent", metadata={"timeout_s": 0.7}, timeout_s=0.2)
    with pytest.raises(openai.InternalServerError, match="did not answer in time") as refused:
        ask(client)
    assert refused.value.status_code == 502  # 504 would be the service's own


def test_a_tenants_key_asks_for_its_tenant_and_sees_no_figures(keyed, upstream):
    router = keyed.router
    router.add_agent(Agent("agent-fine", metadata={"base_url": upstream.url, "model": "fine"}))
    caller = keyed(scopes=["route"], tenant="acme")
    body = {"model": "auto", "messages": ASKED}
    for model in ("auto", "agent-fine"):
        answer = caller.post("/v1/chat/completions", json={**body, "model": model})
        assert answer.json()["model"] == "agent-fine"
        router.flush()
        assert router.decision(answer.headers["x-router-decision-id"]).task.tenant == "acme"
    assert (
        caller.post("/v1/chat/completions", json=body, headers={"x-router-task": '{"tenant": "b"}'}).status_code == 403
    )
    listed = caller.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["auto", "agent-fine"]
    assert "versions" not in listed
    nobody = keyed("records", scopes=["record"])
    for refused in (nobody.post("/v1/chat/completions", json=body), nobody.get("/v1/models")):
        assert refused.status_code == 403
        assert "route" in refused.json()["error"]["message"]  # as OpenAI's clients read it


def test_many_at_a_time_get_their_own_answers(serve):
    client = serve("fine", "tools", "status-500")
    with ThreadPoolExecutor(8) as pool:
        raws = list(pool.map(lambda number: ask(client, stream=bool(number % 2)), range(24)))
    for number, raw in enumerate(raws):
        if number % 2:
            list(raw.parse())
        decision = raw.headers["x-router-decision-id"]
        outcome = outcome_of(client, decision)
        assert outcome.success is True
        assert client.router_of_service().decision(decision).agent in ("agent-fine", "agent-tools")


@pytest.mark.parametrize(
    ("metadata", "meant"),
    [
        ({"base_url": "http://h", "price": PRICES}, {"price": "prices"}),
        (
            {"base_url": "http://h", "Timeout": 3, "streamUsage": True},
            {"Timeout": "timeout_s", "streamUsage": "stream_usage"},
        ),
        ({"base-url": "http://h", "price": PRICES}, {"base-url": "base_url"}),  # without an address: none of ours yet
        ({"base_url": "http://h", "prices": PRICES, "price": "high"}, {}),
        ({"base_url": "http://h", "modality": "text", "mcp": {}, "a2a": {}, "owner": "x", "tokens": 3}, {}),
        ({"price": 3}, {}),
    ],
)
def test_a_key_that_is_nearly_one_of_ours_is_known_and_others_are_left_alone(metadata, meant):
    assert Upstream.mistyped(Agent("a", metadata=metadata)) == meant


def test_a_mistyped_key_is_warned_of_once_where_an_agent_is_put_and_where_it_is_first_seen(serve, caplog):
    client = serve("fine", metadata={"timeout": 3})
    put = {"metadata": {"base_url": "http://h/v1", "price": PRICES}}
    for _ in range(2):
        client.chat.completions.create(model="agent-fine", messages=ASKED)
        client.put("/agents/other", body=put, cast_to=object)
    assert [record.message for record in caplog.records if "is not read" in record.message] == [
        "agent agent-fine: metadata.timeout is not read; did you mean 'timeout_s'?",
        "agent other: metadata.price is not read; did you mean 'prices'?",
    ]
