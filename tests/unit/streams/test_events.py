"""What an event says: in our own form, wrapped, or in somebody's by a mapping file."""

import base64
import json
from pathlib import Path

import pytest

from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.exchange.envelope import unwrapped
from router_sdk.exchange.events import EventReader, event_schema

DOCS = Path(__file__).parents[3] / "docs" / "streams"
ID = "0123456789abcdef0123456789abcdef"
OURS = {"decision_id": ID, "outcome": {"success": True}}
CLOUD = {"specversion": "1.0", "type": "outcome", "source": "/desk", "id": "7"}


def read(event, reader=None, headers=()):
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return [(reader or EventReader()).read(row) for row in unwrapped(body, dict(headers))]


@pytest.mark.parametrize(
    ("event", "headers"),
    [
        ({**CLOUD, "data": OURS}, {}),
        ({**CLOUD, "data": json.dumps(OURS)}, {}),
        ({**CLOUD, "data_base64": base64.b64encode(json.dumps(OURS).encode()).decode()}, {}),
        (OURS, {f"ce_{name}": value for name, value in CLOUD.items()}),
        (OURS, {f"ce-{name}": value for name, value in CLOUD.items()}),
    ],
)
def test_a_cloud_event_names_itself_in_each_of_its_modes(event, headers):
    (found,) = read(event, headers=headers)
    assert (found.decision_id, found.outcome.success, found.outcome_id) == (ID, True, "/desk 7")


def test_our_own_form_and_its_own_name():
    (found,) = read({**OURS, "outcome_id": "mine", "tenant": "acme", "at": 1_700_000_000})
    assert (found.outcome_id, found.tenant, found.at) == ("mine", "acme", 1_700_000_000)
    (found,) = read({"task": "who was it?", "agent": "coder"})
    assert (found.task.text, found.agent, found.outcome) == ("who was it?", "coder", None)
    (long,) = read({**CLOUD, "id": "x" * 300, "data": OURS})
    assert len(long.outcome_id) == 64


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (b"\xff{}", "not JSON"),
        (b"", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        ([1], "expected one JSON object, got list"),
        ({}, "give one of decision_id, session_id and task"),
        ({**OURS, "session_id": "s"}, "give one of"),
        ({"decision_id": ID}, "outcome: say what came of it"),
        ({"decision_id": ID, "agent": "a", "outcome": {"success": True}}, "stands in the outcome"),
        ({**OURS, "outcome": {"succes": True}}, "succes"),
        ({**OURS, "outcome": {"quality": 7}}, "quality"),
        ({**OURS, "decision_id": "7"}, "decision_id"),
        ({**OURS, "outcome_id": "x" * 201}, "outcome_id"),
        ({**OURS, "at": 1_700_000_000_000}, "at"),
        ({**OURS, "at": 1e300}, "at"),
        ({**OURS, "at": -1}, "at"),
        ({**CLOUD, "id": "", "data": OURS}, "source and id must be given"),
        ({**CLOUD, "data": [1]}, "data: expected a JSON object"),
        ({**CLOUD, "data_base64": "?"}, "data_base64"),
        ({"resourceLogs": [7]}, "OTLP"),
    ],
)
def test_what_is_no_event_says_why(event, words):
    with pytest.raises(InvalidInputError, match=words):
        read(event)


def test_a_name_that_cannot_be_written_is_none():
    headers = {**{f"ce-{name}": value for name, value in CLOUD.items()}, "ce-id": "7\udcff"}
    with pytest.raises(InvalidInputError, match="half a surrogate pair"):
        read(OURS, headers=headers)


# -- mapping files


@pytest.fixture(scope="module")
def mapped():
    return EventReader.from_file(DOCS / "mapping.toml")


def parts(event):
    return event.outcome.model_dump(exclude_none=True)


def test_thumbs_are_feedback(mapped):
    event = {"type": "thumbs", "message": {"decision": ID}, "thumb": "down", "comment": "slow", "id": 7, "more": [1]}
    (found,) = read(event, mapped)
    assert (found.decision_id, found.outcome_id) == (ID, "thumbs 7")
    assert parts(found) == {"feedback": -1.0, "feedback_text": "slow", "origin": "user"}


def test_tool_results_are_success_and_latency(mapped):
    (found,) = read(
        {"type": "tool_error", "decision": ID, "status": "failed", "duration_ms": 850, "error": "503"}, mapped
    )
    assert parts(found) == {"success": False, "latency_ms": 850.0, "error": "503", "origin": "tool"}


def test_agent_outcomes_are_what_somebody_else_decided(mapped):
    event = {"kind": "agent_outcome", "agent_name": "ReActAgent", "task_type": "compliance", "query": "may we?"}
    (found,) = read({**event, "outcome": "success", "score": "0.9", "timestamp": "2025-10-09T12:34:56Z"}, mapped)
    assert (found.agent, found.task.text, found.task.task_type) == ("ReActAgent", "may we?", "compliance")
    assert parts(found) == {"success": True, "quality": 0.9}
    assert found.at == 1_760_013_296.0


def test_evaluations_of_opentelemetry_are_quality(mapped):
    def attributes(**values):
        named = {"router_sdk.decision.id": {"stringValue": ID}, **values}
        return [{"key": key, "value": value} for key, value in named.items()]

    records = [
        {
            "eventName": "gen_ai.evaluation.result",
            "attributes": attributes(
                **{
                    "gen_ai.evaluation.score.value": {"doubleValue": 0.75},
                    "gen_ai.evaluation.score.label": {"stringValue": "pass"},
                    "gen_ai.evaluation.explanation": {"stringValue": "to the point"},
                }
            ),
        },
        {
            "eventName": "gen_ai.evaluation.result",
            "attributes": attributes(**{"gen_ai.evaluation.score.value": {"intValue": "1"}}),
        },
    ]
    wrapped = {"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [{"logRecords": records}]}]}
    first, second = read(wrapped, mapped)
    assert parts(first) == {"success": True, "quality": 0.75, "reason": "to the point", "origin": "judge"}
    assert parts(second) == {"quality": 1.0, "origin": "judge"}
    (plain,) = read(records[0], mapped)
    assert parts(plain) == parts(first)


def test_our_own_form_needs_no_kind_and_nobodys_is_refused(mapped):
    assert read(OURS, mapped)[0].decision_id == ID
    with pytest.raises(
        InvalidInputError, match="none of the kinds of events that the mapping names: thumbs, tool results"
    ):
        read({"type": "heartbeat"}, mapped)
    with pytest.raises(InvalidInputError, match="decision_id"):
        read({"type": "thumbs", "thumb": "up"}, mapped)


@pytest.fixture
def mapping(tmp_path):
    def make(*kinds, name="mapping.json"):
        path = tmp_path / name
        path.write_text(json.dumps({"event": kinds}))
        return EventReader.from_file(path)

    return make


def test_kinds_are_told_apart_by_any_column_and_may_be_passed_over(mapping):
    reader = mapping(
        {
            "name": "retries",
            "when": {"cloudevent.type": "retry"},
            "decision_id": "d",
            "origin": "signal",
            "actor": "retry",
        },
        {"name": "stars", "when": {"stars": [4, 5]}, "session_id": "s", "quality": "stars", "score_range": [1, 5]},
        {"name": "others", "ignore": True},
    )
    (retry,) = read({**CLOUD, "type": "retry", "data": {"d": ID}}, reader)
    assert (parts(retry), retry.outcome_id) == ({"origin": "signal", "actor": "retry"}, "/desk 7")
    (stars,) = read({"stars": 4, "s": "thread"}, reader)
    assert (stars.session_id, parts(stars)) == ("thread", {"quality": 0.75})
    assert read({"stars": 3, "s": "thread"}, reader) == read({"x": 1}, reader) == [None]
    assert read({"stars": True, "s": "thread"}, reader) == [None], "true is no 1"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "expected a list 'event'"),
        ({"event": []}, "expected a list 'event'"),
        ({"event": [{"name": "x"}]}, "name a column"),
        ({"event": [{"name": "x", "sucess": "y"}]}, "sucess"),
        ({"event": [{"success": "y"}]}, "name"),
        ({"event": [{"name": "x", "ignore": True}], "more": 1}, "nothing else"),
    ],
)
def test_a_mapping_file_that_cannot_be_meant_is_an_error(tmp_path, told, words):
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps(told))
    with pytest.raises(InvalidConfigError, match=words):
        EventReader.from_file(path)
    with pytest.raises(InvalidConfigError, match="cannot read"):
        EventReader.from_file(tmp_path / "none.toml")


# -- the schema


def test_the_published_schema_is_that_of_the_events():
    """Written anew by ``router stream --schema --json > docs/streams/event.schema.json``."""
    assert json.loads((DOCS / "event.schema.json").read_text()) == event_schema()


def test_the_schema_takes_what_is_an_event_and_refuses_what_is_none():
    jsonschema = pytest.importorskip("jsonschema_rs", reason="comes with schemathesis")
    validator = jsonschema.validator_for(event_schema())
    for event in (OURS, {"session_id": "s", "outcome": {"quality": 0.5}}, {"task": "x", "agent": "a"}):
        validator.validate(event)
    for event in ({**OURS, "outcome": {"quality": 7}}, {**OURS, "more": 1}, {**OURS, "decision_id": "7"}):
        assert not validator.is_valid(event)
