"""``router stream`` beyond lines: streams followed, asked about, sent to, and a neighbour's words for it."""

import json

import pytest

from router_sdk.cli import following
from router_sdk.cli.following import address_of, batch_settings, dead_letters_of
from router_sdk.cli.loop_file import read_loop_file
from router_sdk.config import RouterConfig
from router_sdk.errors import InvalidConfigError
from router_sdk.streams.address import Address

ONLINE = {
    "online_learning": {"learning_rate": 1e-5, "ewc_lambda": 1000},
    "streaming": {
        "bootstrap_servers": ["a:9092", "b:9092"],
        "topic": "outcomes",
        "group_id": "learners",
        "batch_size": 5,
    },
    "warmup": {"checkpoint": "model", "data_path": "old.csv"},
    "safety": {"max_forgetting_threshold": 0.05},
    "evaluation": {"held_out": 0.1},
}


@pytest.fixture
def decided(desk):
    """A command line, and the id of a decision on its store."""
    return desk, desk.json("route", "I was charged twice")["decision_id"]


def outcome(decision_id, **parts):
    return json.dumps({"decision_id": decision_id, "outcome": parts or {"success": True}}) + "\n"


def test_events_from_stdin_are_logged_and_learnt_and_a_bad_one_is_told_of(decided):
    desk, decision_id = decided
    told = outcome(decision_id) + "poison\n" + outcome(decision_id, quality=0.5)
    events, _ = desk.lines("stream", "--from", "stdin:", stdin=told, code=2)
    assert {"stream": "stdin:", "state": "ended", "stored": 2, "refused": 1}.items() <= events[-1].items()
    status = desk.json("status")
    assert (status["store"]["outcomes"], status["store"]["dead_letters"]) == (2, 1)
    assert status["statistics"]["samples_processed"] == 2
    (stream,) = status["streams"]
    assert (stream["stream"], stream["state"]) == ("stdin:", "ended")
    assert "Streams" in desk.run("status").stdout
    desk.run("stream", "--from", "stdin:", stdin=outcome(decision_id, cost_usd=0.1))


def test_is_this_event_valid(desk, tmp_path):
    known = outcome("0" * 32) + json.dumps({"type": "thumbs", "d": "0" * 32, "thumb": "up"}) + "\n"
    events, refused = desk.lines("stream", "--validate", "-", stdin=known, code=2)
    assert [(one["line"], list(one["events"][0])) for one in events] == [(1, ["decision_id", "outcome"])]
    assert refused[0]["refused"]["line"] == 2
    assert not desk.store.with_name("none.db").exists()
    mapping = tmp_path / "mapping.json"
    thumbs = {"name": "thumbs", "when": {"type": "thumbs"}, "decision_id": "d", "feedback": "thumb"}
    mapping.write_text(json.dumps({"event": [{**thumbs, "values": {"thumb": {"up": 1}}}]}))
    shown = desk.run("stream", "--validate", "-", "--mapping", str(mapping), stdin=known).stdout.splitlines()
    assert shown == ["line 1: valid: success of a decision", "line 2: valid: feedback of a decision"]
    fault = desk.fault("stream", "--validate", "-", "--mapping", "none.toml", code=2)
    assert "cannot read none.toml" in fault["message"]


def test_whether_a_topic_is_there_is_asked_of_somebody(desk):
    assert "--from" in desk.fault("stream", "--check", code=2)["message"]
    assert "carrier" in desk.fault("stream", "--lag", "--from", "carrier://x/y", code=2)["message"]
    assert desk.json("stream", "--check", "--from", "stdin:")["exists"] is True
    assert desk.fault("stream", "file.jsonl", "--from", "stdin:", code=2)["message"].startswith("give a FILE")
    assert "not both" in desk.fault("stream", "--from", "stdin:", "--to", "stdout:", code=2)["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "carrier://localhost:1/x"], "nothing that is installed reads carrier://"),
        (["--to", "carrier://localhost:1/x"], "nothing that is installed writes to carrier://"),
        (["--from", "stdin:", "--dead-letters", "carrier://x/y"], "nothing that is installed writes to carrier://"),
        (["--from", "stdin:", "--mapping", "none.toml"], "cannot read none.toml"),
    ],
)
def test_what_a_stream_lacks_is_said_before_a_store_is_opened(cli, arguments, words):
    assert words in cli.fault("stream", *arguments, code=2)["message"]
    assert not cli.store.exists()


def test_once_does_not_wait_for_a_broker_that_is_away(desk, monkeypatch):
    pytest.importorskip("redis")
    monkeypatch.setattr(following, "_AWAY_S", 0.1)
    events, told = desk.lines("stream", "--from", "redis://127.0.0.1:1/x", "--once", code=1)
    assert [event["state"] for event in events] == ["waiting", "ended"]
    assert "redis://127.0.0.1:1 cannot be reached" in told[-1]["error"]["message"]
    assert "--once does not wait" in told[-1]["error"]["message"]


def test_the_schema_is_shown(cli):
    assert "decision_id" in cli.json("stream", "--schema")["properties"]


def test_the_log_goes_to_stdout_as_events_from_where_it_was(decided):
    desk, decision_id = decided
    desk.run("record", decision_id, "--success")
    events, _ = desk.lines("stream", "--to", "stdout:", "--once")
    assert [one["type"] for one in events] == ["router_sdk.decision", "router_sdk.outcome"]
    assert events[1]["data"]["decision_id"] == decision_id
    assert desk.lines("stream", "--to", "stdout:", "--once")[0] == []


@pytest.mark.parametrize(
    ("source", "topic"),
    [
        ("redis://localhost:6379", "agent-outcomes"),
        ("redis://u:p%2Fw@localhost:6379/2/my%20key?group=g", "2/my key"),
        ("kafka://agent-outcomes:9092/agent-outcomes?security.protocol=SSL", "agent-outcomes"),
        ("rediss:", "agent-outcomes"),
    ],
)
def test_dead_letters_go_beside_the_topic_however_the_address_is_written(source, topic):
    where = Address.parse(source)
    found = dead_letters_of(where, None)
    assert found == where.with_topic(f"{topic}-dead-letters")
    assert not found.is_place_of(where)
    assert dead_letters_of(where, "none") is None
    assert dead_letters_of(where, "redis://h/x") == Address.parse("redis://h/x")


def test_dead_letters_do_not_go_back_to_where_they_came_from(desk):
    pytest.importorskip("router_sdk_streams", reason="plugins/streams")
    pytest.importorskip("redis", reason="the client of redis://")
    fault = desk.fault("stream", "--from", "redis:", "--dead-letters", "redis:/agent-outcomes", code=2)
    assert "a topic of their own" in fault["message"]


# -- a neighbour's environment and file


def test_a_neighbours_environment_says_what_is_left_open(monkeypatch):
    assert address_of(None) is None
    monkeypatch.setenv("ENABLE_KAFKA", "true")
    assert address_of(None) == "kafka://localhost:9092/agent-outcomes"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    monkeypatch.setenv("KAFKA_OUTCOME_TOPIC", "thumbs")
    assert address_of(None) == "kafka://a:1,b:2/thumbs"
    assert address_of("kafka:") == "kafka://a:1,b:2/thumbs"
    assert address_of("kafka://c:3/other?group=g") == "kafka://c:3/other?group=g"
    assert address_of("redis://h:1/x") == "redis://h:1/x"
    monkeypatch.setenv("ENABLE_KAFKA", "maybe")
    with pytest.raises(InvalidConfigError, match="ENABLE_KAFKA"):
        address_of(None)


def test_a_neighbours_environment_says_how_large_micro_batches_are(monkeypatch):
    assert batch_settings() == {}
    for name, value in (("SIZE", "5"), ("TIMEOUT", "2.5")):
        monkeypatch.setenv(f"MODEL_BATCH_{name}", value)
    monkeypatch.setenv("MODEL_SAVE_INTERVAL", "60")
    config = RouterConfig.of(**batch_settings())
    assert (config.batch_events, config.batch_seconds, config.snapshot_seconds) == (5, 2.5, 60)
    monkeypatch.setenv("ROUTER_BATCH_EVENTS", "7")
    assert "batch_events" not in batch_settings()


def test_the_file_of_an_online_learner_is_understood_key_by_key(tmp_path, monkeypatch):
    path = tmp_path / "online.json"
    path.write_text(json.dumps(ONLINE))
    found = read_loop_file(path)
    assert found.settings == {
        "strategy": {"bert": {"learning_rate": 1e-5, "ewc_lambda": 1000}},
        "batch_events": 5,
        "gate": {"forgetting": 0.05},
        "held_out": 0.1,
    }
    RouterConfig.of(**found.settings)
    assert found.stream == {
        "hosts": "a:9092,b:9092",
        "topic": "outcomes",
        "group": "learners",
        "warmup_from": "model",
        "warmup_data": "old.csv",
    }
    assert address_of(None, found) == "kafka://a:9092,b:9092/outcomes?group=learners"
    monkeypatch.setenv("KAFKA_OUTCOME_TOPIC", "thumbs")
    assert address_of("kafka://c:3", found) == "kafka://c:3/thumbs?group=learners"
    for told, words in (
        ({"streaming": {"topic": 7}}, "expected a text"),
        ({"safety": {"moon": 1}}, "neither a setting"),
    ):
        path.write_text(json.dumps(told))
        with pytest.raises(InvalidConfigError, match=words):
            read_loop_file(path)


def test_the_online_process_goes_by_a_neighbours_file(decided):
    desk, decision_id = decided
    (desk.folder / "online.json").write_text(json.dumps({"online_learning": {"batch_size": 5, "replay_ratio": 0.3}}))
    shown = desk.run(
        "stream", "--from", "stdin:", "--config", "online.json", "--store", "router.db", stdin=outcome(decision_id)
    ).stdout
    assert "online_learning.batch_size = 5: batch_events = 5" in shown
    assert "online_learning.replay_ratio is not taken" in shown
    assert "1 message logged" in shown


def test_a_warm_up_needs_both_and_reports_are_shown(decided):
    desk, _ = decided
    fault = desk.fault("stream", "--from", "stdin:", "--warmup-from", "model", code=2)
    assert "--warmup-data" in fault["message"]
    assert desk.json("stream", "--report-only")["store"]["decisions"] == 1
    assert "router-soak.json" in desk.fault("stream", "--soak-test", "--report-only", code=2)["message"]
