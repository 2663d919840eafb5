"""Evaluations that a collector sends to the service are outcomes, and requests go on in their callers' traces."""

import gzip
import json

import pytest

pytest.importorskip("opentelemetry._logs", reason="the framework of router-sdk-otel")
pytest.importorskip("router_sdk_otel", reason="plugins/otel")


def export(*events):
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [event(*one) for one in events]}]}]}


def event(decision_id, name, value):
    told = {"gen_ai.evaluation.name": {"stringValue": name}, "gen_ai.evaluation.score.value": {"doubleValue": value}}
    told["router_sdk.decision.id"] = {"stringValue": decision_id}
    attributes = [{"key": key, "value": value} for key, value in told.items()]
    return {"timeUnixNano": "1700000000000000000", "eventName": "gen_ai.evaluation.result", "attributes": attributes}


def send(client, told, **headers):
    headers = {"content-type": "application/json", **headers}
    return client.post("/v1/logs", content=json.dumps(told).encode(), headers=headers)


def decided(client):
    return client.post("/v1/route", json={"task": "a refund"}).json()["decision_id"]


def told(client, decision_id):
    return [part.outcome for part in client.app.state.service.router.examples.parts(decision_id)]


def test_an_evaluation_is_an_outcome_and_delivered_again_counts_once(client):
    decision = decided(client)
    for _ in range(2):
        answer = send(client, export((decision, "quality", 0.5)))
        assert (answer.status_code, answer.json()) == (200, {})
    (outcome,) = told(client, decision)
    assert (outcome.quality, outcome.origin) == (0.5, "judge")


def test_what_cannot_be_recorded_is_said_and_the_rest_is_recorded(client):
    decision = decided(client)
    answer = send(client, export((decision, "quality", 5.0), (decision, "quality", 0.5)))
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    assert len(told(client, decision)) == 1


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda record: record["attributes"][1].update(value={"intValue": "9" * 400}),
        lambda record: record.update(timeUnixNano=[1]),
        lambda record: record.update(attributes={"key": "a"}),
        lambda record: record["attributes"][2]["value"].update(stringValue="x" * 100_000),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_by_itself(client, spoilt):
    decision = decided(client)
    sent = export((decision, "quality", 0.25), (decision, "quality", 0.5))
    spoilt(sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0])
    answer = send(client, sent)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    assert [one.quality for one in told(client, decision)] == [0.5]


def test_a_collectors_own_encoding_is_understood(client):
    logs_service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    from google.protobuf.json_format import ParseDict

    decision = decided(client)
    body = ParseDict(export((decision, "success", 1.0)), logs_service.ExportLogsServiceRequest()).SerializeToString()
    headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
    answer = client.post("/v1/logs", content=gzip.compress(body), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert told(client, decision)[0].success is True


def test_elsewhere_protobuf_is_refused(client):
    headers = {"content-type": "application/x-protobuf"}
    assert client.post("/v1/route", content=b"x", headers=headers).status_code == 415


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_what_is_no_export_says_so(client, body):
    answer = client.post("/v1/logs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_who_says_so_comes_from_the_key_and_others_decisions_are_refused(keyed):
    judge = keyed("judge", scopes=["route", "record"], tenant="acme", origin="tool")
    decision = decided(judge)
    other = keyed("other", scopes=["record"], tenant="other")
    assert send(other, export((decision, "quality", 0.5))).json()["partialSuccess"]
    assert send(judge, export((decision, "quality", 0.5))).json() == {}
    parts = [part.outcome for part in keyed.router.examples.parts(decision)]
    assert [(one.origin, one.actor) for one in parts] == [("tool", "judge")]
    assert send(keyed("reader", scopes=["route"]), export()).status_code == 403


def test_a_decision_is_a_span_of_its_callers_trace(make_client, monkeypatch):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from router_sdk_otel import Telemetry

    spans, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    client = make_client(insecure=True)
    router = client.app.state.service.router
    telemetry = Telemetry(provider)
    aroute = router.aroute

    async def seen(task, **more):
        decision = await aroute(task, **more)
        telemetry.on_decision(decision)
        return decision

    monkeypatch.setattr(router, "aroute", seen)
    headers = {"traceparent": "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01"}
    assert client.post("/v1/route", json={"task": "a refund"}, headers=headers).status_code == 200
    (span,) = spans.get_finished_spans()
    assert f"{span.context.trace_id:x}" == "5b8efff798038103d269b633813fc60c"


def test_without_opentelemetry_it_says_what_to_install(client, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "router_sdk_otel", None)
    answer = send(client, export())
    assert answer.status_code == 404
    assert "router-sdk-server[otel]" in answer.json()["detail"]
