"""Real providers of OpenTelemetry's SDK: what the router tells them, and what it learns from events."""

import asyncio
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk._logs", reason="the framework of router-sdk-otel")
pytest.importorskip("router_sdk_otel", reason="plugins/otel")

import router_sdk_otel
from call_costs import costs
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from router_sdk_otel import (
    OutcomeProcessor,
    Scores,
    Telemetry,
    Unreadable,
    answered,
    decoded,
    invoke_agent,
    within_trace,
)
from router_sdk_otel.evaluations import events_of

from router_sdk import Agent, Outcome, Task

EVENT = "gen_ai.evaluation.result"
AGENTS = [Agent("billing", description="invoices and refunds"), Agent("technical", description="errors and crashes")]


class Collected:
    """Providers of a program, and what came to them."""

    def __init__(self):
        self._spans, self._logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.tracers, self.loggers = TracerProvider(), LoggerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        self.telemetry = Telemetry(self.tracers, self.loggers, explanations=True)

    @property
    def spans(self):
        return {span.name: span for span in self._spans.get_finished_spans()}

    @property
    def events(self):
        return [one.log_record for one in self._logs.get_finished_logs()]

    def scores(self):
        told = [dict(one.attributes) for one in self.events]
        return {one["gen_ai.evaluation.name"]: one.get("gen_ai.evaluation.score.value") for one in told}


@pytest.fixture
def collected():
    made = Collected()
    yield made
    made.tracers.shutdown()
    made.loggers.shutdown()


@pytest.fixture
def router(make_router, collected):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0, plugins=[collected.telemetry])


# -- out


def test_a_decision_is_a_span_below_the_one_that_is_current(router, collected):
    with collected.tracers.get_tracer("program").start_as_current_span("request"):
        decision = router.route(Task("a refund please", session_id="thread-7", task_type="account"))
    request, span = collected.spans["request"], collected.spans["route"]
    assert span.parent.span_id == request.context.span_id
    assert span.attributes["router_sdk.decision.id"] == decision.decision_id
    assert span.attributes["gen_ai.agent.name"] == "billing"
    assert span.attributes["gen_ai.conversation.id"] == "thread-7"
    assert span.attributes["router_sdk.decision.strategy"] == "heuristic"
    assert span.attributes["router_sdk.decision.ranking"] == ("billing", "technical")
    assert span.attributes["router_sdk.decision.propensity"] == decision.propensity
    assert span.end_time >= span.start_time
    assert "refund" not in repr(dict(span.attributes))  # what the user said stays here


def test_the_work_of_an_agent_is_a_span_around_what_it_does(router, collected):
    program = collected.tracers.get_tracer("program")
    with router.handle("a refund please") as call, invoke_agent(call, collected.telemetry):
        program.start_span("chat").end()
        call.result = "refunded"
    work, chat = collected.spans["invoke_agent billing"], collected.spans["chat"]
    assert chat.parent.span_id == work.context.span_id
    assert work.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert work.attributes["router_sdk.decision.id"] == call.decision.decision_id
    (event,) = collected.events
    assert event.event_name == EVENT
    assert (event.trace_id, event.span_id) == (work.context.trace_id, work.context.span_id)
    assert event.attributes["gen_ai.evaluation.name"] == "success"
    assert event.attributes["gen_ai.evaluation.score.value"] == 1.0
    assert event.attributes["gen_ai.evaluation.score.label"] == "pass"


def test_an_exception_makes_it_an_error_and_passes_through(router, collected):
    asked = router.handle("a refund please")
    with pytest.raises(TimeoutError), asked as call, invoke_agent(call, collected.telemetry):
        raise TimeoutError("too slow")
    work = collected.spans["invoke_agent billing"]
    assert work.status.status_code is StatusCode.ERROR
    assert work.attributes["error.type"] == "TimeoutError"
    assert collected.scores() == {"success": 0.0}


async def test_in_coroutines_at_once_each_has_its_own(router, collected):
    async def one(text):
        async with router.handle(text) as call:
            with invoke_agent(call, collected.telemetry) as span:
                await asyncio.sleep(0)
                assert trace.get_current_span() is span
        return call.decision

    made = await asyncio.gather(*(one(text) for text in ["a refund please", "it crashes"] * 10))
    for decision in made:
        event = next(e for e in collected.events if e.attributes["router_sdk.decision.id"] == decision.decision_id)
        assert collected.telemetry.decision_of(event.trace_id, event.span_id) == decision.decision_id


def test_each_score_is_an_event_and_words_only_where_that_is_asked_for(router, collected, monkeypatch):
    decision = router.route("a refund please")
    told = {
        "quality": 0.5,
        "feedback": -1.0,
        "feedback_text": "no",
        "metrics": {"turns": 3.0},
        "correct_agent": "technical",
    }
    router.record(decision, Outcome(**told, origin="user", actor="ann"))
    assert collected.scores() == {"correct_agent": None, "quality": 0.5, "feedback": -1.0, "turns": 3.0}
    assert {e.attributes["gen_ai.evaluation.explanation"] for e in collected.events} == {"no"}
    quiet = Collected()
    silent = Telemetry(quiet.tracers, quiet.loggers)
    silent.on_outcome(decision.decision_id, Outcome(feedback=1.0, feedback_text="words"))
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    silent.on_outcome(decision.decision_id, Outcome(feedback=1.0, feedback_text="words"))
    assert ["gen_ai.evaluation.explanation" in e.attributes for e in quiet.events] == [False, True]


def test_with_many_agents_a_span_keeps_what_it_began_with(make_router, collected):
    """The SDK keeps 128 attributes and drops the oldest."""
    many = [Agent(f"agent {i}", description=f"topic{i}") for i in range(300)]
    router = make_router(["heuristic"], agents=many, plugins=[collected.telemetry])
    router.route("topic7")
    span = collected.spans["route"]
    assert span.dropped_attributes == 0
    assert len(span.attributes["router_sdk.decision.ranking"]) == 5


def test_without_a_collector_nothing_is_told_and_nothing_fails(make_router):
    router = make_router(["heuristic"], agents=AGENTS, plugins=[Telemetry()])
    with router.handle("a refund please") as call, invoke_agent(call, Telemetry()):
        pass
    assert router.examples[-1:] is not None


def test_a_collector_that_raises_stops_nobody(make_router, caplog):
    class Raises(Telemetry):
        def _remember(self, *given):
            raise RuntimeError("no")

    collected = Collected()
    router = make_router(["heuristic"], agents=AGENTS, plugins=[Raises(collected.tracers, collected.loggers)])
    with router.handle("a refund please") as call:
        pass
    router.flush()
    assert router.examples[-1].decision_id == call.decision.decision_id


# -- in


def emit(collected, **attributes):
    attributes = {name.replace("__", "."): value for name, value in attributes.items()}
    collected.loggers.get_logger("evaluator").emit(attributes=attributes, event_name=EVENT, timestamp=time.time_ns())


@pytest.fixture
def heard(router, collected):
    processor = OutcomeProcessor(router, Scores({"Relevance": "quality"}), collected.telemetry)
    collected.loggers.add_log_record_processor(processor)
    return processor


def test_an_evaluation_of_a_decisions_span_is_an_outcome(router, collected, heard):
    with router.handle("a refund please") as call, invoke_agent(call, collected.telemetry):
        emit(
            collected,
            gen_ai__evaluation__name="Relevance",
            gen_ai__evaluation__score__value=0.25,
            gen_ai__evaluation__explanation="beside the point",
        )
    assert heard.force_flush()
    router.flush()
    (example,) = router.examples
    assert example.decision_id == call.decision.decision_id
    assert (example.signals.success, example.signals.quality) == (True, 0.25)
    parts = [part.outcome for part in router.examples.parts(call.decision.decision_id)]
    assert [(one.origin, one.reason) for one in parts if one.quality] == [("judge", "beside the point")]


def test_the_routers_own_events_do_not_come_back(router, collected, heard):
    with router.handle("a refund please") as call, invoke_agent(call, collected.telemetry):
        pass
    assert heard.force_flush()
    assert len(router.examples.parts(call.decision.decision_id)) == 1


def test_whoever_emits_never_waits_and_the_rest_is_written_at_the_end(router, collected, heard):
    decisions = [router.route("a refund please") for _ in range(200)]
    took = []
    for decision in decisions:
        begun = time.thread_time()
        emit(
            collected,
            gen_ai__evaluation__name="quality",
            gen_ai__evaluation__score__value=1.0,
            router_sdk__decision__id=decision.decision_id,
        )
        took.append(time.thread_time() - begun)
    heard.shutdown()
    router.flush()
    assert sorted(took)[100] < 0.005
    assert {e.decision_id for e in router.examples} == {d.decision_id for d in decisions}


def test_what_cannot_be_recorded_is_a_dead_letter(router, collected, heard):
    emit(collected, gen_ai__evaluation__name="quality", gen_ai__evaluation__score__value=0.5)
    decision = router.route("a refund please")
    emit(
        collected,
        gen_ai__evaluation__name="correct_agent",
        gen_ai__evaluation__score__label="nobody of that name",
        router_sdk__decision__id=decision.decision_id,
    )
    assert heard.force_flush()
    reasons = [letter["reason"] for letter in router.dead_letters()]
    assert "it names no decision" in reasons[1]
    assert "UnknownAgentError" in reasons[0]


def test_other_records_pass(router, collected, heard):
    collected.loggers.get_logger("program").emit(body="a line", event_name="something.else")
    assert heard.force_flush()
    assert router.dead_letters() == []


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ({"name": "success", "score.label": "Pass"}, {"success": True}),
        ({"name": "success", "score.value": 0}, {"success": False}),
        ({"name": "feedback", "score.value": -0.5}, {"feedback": -0.5}),
        ({"name": "toxicity", "score.value": 0.9}, {"metrics": {"toxicity": 0.9}}),
        ({"name": "grounded", "score.label": "fail"}, {"metrics": {"grounded": 0.0}}),
        ({"name": "correct_agent", "score.label": "billing"}, {"correct_agent": "billing"}),
    ],
)
def test_what_a_score_is_depends_on_its_name(event, fields):
    attributes = {f"gen_ai.evaluation.{name}": value for name, value in event.items()}
    outcome = Scores().read(attributes, "0" * 32).outcome
    assert outcome.model_dump(exclude_none=True) == {**fields, "origin": "judge"}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "no gen_ai.evaluation.name"),
        ({"name": "success", "score.value": 0.5}, "pass or fail"),
        ({"name": "quality"}, "score.value"),
        ({"name": "quality", "score.value": 5.0}, "quality"),
        ({"name": "quality", "score.value": float("nan")}, "quality"),
        ({"name": "quality", "score.value": 10**400}, "quality"),
        ({"name": "toxicity", "score.value": -(10**400)}, "toxicity"),
    ],
)
def test_what_is_no_score_says_why(event, words):
    attributes = {f"gen_ai.evaluation.{name}": value for name, value in event.items()}
    with pytest.raises(Unreadable, match=words):
        Scores().read(attributes, "0" * 32)


def test_an_evaluation_that_failed_says_nothing_of_the_agent():
    with pytest.raises(Unreadable, match="the evaluation itself failed"):
        Scores().read({"gen_ai.evaluation.name": "quality", "error.type": "TimeoutError"}, "0" * 32)


def test_what_goes_out_comes_in_as_it_was():
    outcome = Outcome(success=True, quality=0.5, feedback=-1.0, metrics={"turns": 3.0}, origin="user", reason="slow")
    parts = [Scores().read(event).outcome for event in events_of("0" * 32, outcome, explained=True)]
    joined = {}
    for part in parts:
        joined |= part.model_dump(exclude_none=True)
    assert Outcome(**joined) == outcome


def test_parts_that_a_name_cannot_be_are_refused():
    with pytest.raises(ValueError, match="latency"):
        Scores({"speed": "latency"})


# -- over HTTP


def export(*records):
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


def record(decision_id, value, **more):
    attributes = [
        {"key": "gen_ai.evaluation.name", "value": {"stringValue": "quality"}},
        {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": value}},
    ]
    if decision_id:
        attributes.append({"key": "router_sdk.decision.id", "value": {"stringValue": decision_id}})
    return {"timeUnixNano": "1700000000000000000", "eventName": EVENT, "attributes": attributes, **more}


def test_an_export_in_json_and_in_protobuf_says_the_same():
    logs_service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    from google.protobuf.json_format import ParseDict

    told = export(record("a" * 32, 0.5), {"body": {"stringValue": "a line"}}, record(None, 0.5))
    as_json = decoded(json.dumps(told).encode(), "application/json; charset=utf-8")
    binary = ParseDict(told, logs_service.ExportLogsServiceRequest()).SerializeToString()
    as_protobuf = decoded(gzip.compress(binary), "application/x-protobuf", "gzip")
    assert as_json == as_protobuf
    assert [one.outcome.quality for one in as_json.reports] == [0.5]
    assert len(as_json.refused) == 1
    answer = json.loads(answered(as_json.refused, "application/json"))
    assert answer["partialSuccess"]["rejectedLogRecords"] == "1"
    assert (
        logs_service.ExportLogsServiceResponse.FromString(
            answered(as_json.refused, "application/x-protobuf")
        ).partial_success.rejected_log_records
        == 1
    )
    assert answered([], "application/x-protobuf") == b""


def with_value(value):
    told = record("a" * 32, 0.5)
    told["attributes"][1]["value"] = value
    return told


@pytest.mark.parametrize(
    "bad",
    [
        *(with_value({"intValue": value}) for value in ("9" * 400, 10**400, [1], True)),
        *(with_value({"doubleValue": value}) for value in (10**400, "Infinity", {})),
        *(record("a" * 32, 0.5, timeUnixNano=value) for value in ([1], {"a": 1}, "soon", 10**400, "9" * 5_000, 1e400)),
        *(record("a" * 32, 0.5, attributes=value) for value in (7, [7], {"key": "a"})),
        *(record("a" * 32, 0.5, traceId=value) for value in ([1], "é", "x" * 5_000)),
        *({**record("a" * 32, 0.5), "eventName": value} for value in ([1], {"a": [[]]}, None)),
    ],
)
def test_a_record_that_cannot_be_read_spoils_no_other(bad):
    sound = record("b" * 32, 1.0)
    found = decoded(json.dumps(export(bad, sound)).encode(), "application/json")
    assert [one.decision_id for one in found.reports][-1] == "b" * 32
    assert len(found.reports) + len(found.refused) <= 2
    json.loads(answered(found.refused, "application/json"))


def test_deep_values_in_protobuf_are_read_or_refused():
    logs_service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    request = logs_service.ExportLogsServiceRequest()
    value = request.resource_logs.add().scope_logs.add().log_records.add().body
    for _ in range(200):
        value = value.array_value.values.add()
    with pytest.raises(ValueError, match="protobuf"):
        decoded(request.SerializeToString(), "application/x-protobuf")


def test_an_export_that_belongs_to_a_decisions_span_finds_it():
    ids = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}
    seen = []
    found = decoded(
        json.dumps(export(record(None, 0.5, **ids))).encode(),
        "application/json",
        decision_of=lambda *given: seen.append(given) or "b" * 32,
    )
    assert found.reports[0].decision_id == "b" * 32
    assert seen == [(int(ids["traceId"], 16), int(ids["spanId"], 16))]


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "words"),
    [
        (b"{", "application/json", "", "EOF"),
        (b'{"resourceLogs": ' + b"[" * 500 + b"]" * 500 + b"}", "application/json", "", "recursion"),
        (b"[]", "application/json", "", "resourceLogs"),
        (b'{"resourceLogs": 1}', "application/json", "", "list of objects"),
        (b"", "text/plain", "", "text/plain"),
        (b"not gzip", "application/json", "gzip", "decompressed"),
        (b"x", "application/json", "br", "br"),
        (gzip.compress(b" " * 10_000, mtime=0), "application/json", "gzip", "more than"),
        (gzip.compress(b"{}", mtime=0)[:-9], "application/json", "gzip", "cut off"),
    ],
)
def test_an_export_that_cannot_be_read_says_why(body, kind, encoding, words):
    with pytest.raises(ValueError, match=words):
        decoded(body, kind, encoding, most_bytes=1_000)


async def test_a_request_goes_on_in_the_trace_that_its_headers_name(collected):
    seen = []

    async def app(scope, receive, send):
        seen.append(trace.get_current_span().get_span_context())

    headers = [(b"Traceparent", b"00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01")]
    await within_trace(app)({"type": "http", "headers": headers}, None, None)
    await within_trace(app)({"type": "lifespan"}, None, None)
    assert f"{seen[0].trace_id:x}" == "5b8efff798038103d269b633813fc60c"
    assert not seen[1].is_valid


# -- the rest


def test_without_the_framework_the_import_says_what_to_install():
    program = "import sys; sys.modules['opentelemetry'] = None; from router_sdk_otel import Telemetry"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: router_sdk_otel needs opentelemetry" in done.stderr


def test_the_example_runs():
    example = Path(router_sdk_otel.__file__).parents[1] / "examples" / "evaluated.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert "invoke_agent billing" in done.stdout
    assert "learnt" in done.stdout


@pytest.mark.benchmark
async def test_what_it_costs_beside_calling_by_hand(make_router, tmp_path):
    collected = Collected()
    told = make_router(["heuristic"], agents=AGENTS, plugins=[collected.telemetry], store=tmp_path / "told.db")
    plain = make_router(["heuristic"], agents=AGENTS, store=tmp_path / "plain.db")
    tracer, events = collected.tracers.get_tracer("program"), collected.loggers.get_logger("program")
    about = {f"router_sdk.{i}": "as long as ours are" for i in range(9)}

    def same_form(decision):
        with tracer.start_as_current_span("route") as span:
            span.set_attributes(about)
        events.emit(attributes=dict(list(about.items())[:4]), event_name=EVENT, timestamp=time.time_ns())

    def call(router, beside=lambda decision: None):
        decision = router.route("a refund please")
        beside(decision)
        router.record(decision, Outcome(success=True))

    alone, own, ours = await costs(lambda i: call(plain), lambda i: call(plain, same_form), lambda i: call(told))
    print(f"a span and an event: {ours - alone:.0f} us over none, of which OpenTelemetry's own {own - alone:.0f}")
    assert ours - alone < 2_000
