"""The log out: in its order, from where it was, again after a fault."""

import json
import threading

import pytest
from stream_source import MemorySource

from router_sdk import Outcome, Router, Task
from router_sdk.errors import StreamUnavailableError
from router_sdk.exchange.events import StreamEvent
from router_sdk.store.identity import LAST_S, new_id

URL = "memory:/dead"


@pytest.fixture
def sent(broker):
    def events():
        return [json.loads(one.body) for one in MemorySource.brokers["dead"].sent]

    return events


def kinds(events):
    return [one["type"].partition(".")[2] for one in events]


def test_decisions_and_outcomes_go_out_once_in_the_order_of_the_log(router, sent):
    first, second = router.route_batch([{"text": "x", "session_id": "thread", "tenant": "acme"}, "y"])
    router.record(second, {"success": True}, outcome_id="mine")
    router.record(first, {"quality": 0.5, "feedback_text": "fine"})
    assert router.streams.publish(URL, once=True) == 4
    events = sent()
    assert kinds(events) == ["decision", "decision", "outcome", "outcome"]
    assert [int(one["id"]) for one in events] == sorted(int(one["id"]) for one in events)
    assert len({(one["source"], one["id"]) for one in events}) == 4
    data = events[0]["data"]
    assert (data["text"], data["agent"], data["propensity"]) == ("x", first.agent, first.propensity)
    assert events[2]["data"]["outcome"] == {"success": True}
    assert {"outcome_id": "mine"}.items() <= events[2]["data"].items()
    assert events[3]["data"]["tenant"] == "acme"
    assert router.streams.publish(URL, once=True) == 0
    router.record(first, {"success": False})
    assert router.streams.publish(URL, once=True) == 1


def test_an_outcome_that_came_first_follows_its_decision(router, sent):
    late = router.route("late")  # its row is on disk only after the outcome's
    waiting = late.decision_id[:-1] + ("0" if late.decision_id[-1] != "0" else "1")
    router.record(waiting, {"success": True})
    router.flush()
    router.streams.publish(URL, once=True)
    assert kinds(sent()) == ["decision"]
    decision = router._parts.recorder.observation(router.decision(late.decision_id).task, "coder", None, waiting)
    router.record(decision, {"latency_ms": 5.0})
    router.streams.publish(URL, once=True)
    assert kinds(sent())[1:] == ["decision", "outcome", "outcome"]
    assert [one["data"].get("outcome") for one in sent()[2:]] == [{"success": True}, {"latency_ms": 5.0}]


def test_what_the_broker_did_not_take_is_sent_again_from_the_same_place(router, sent, caplog):
    router.observe("x", "coder", {"success": True})
    MemorySource.brokers["dead"].away = 1
    with pytest.raises(StreamUnavailableError):
        router.streams.publish(URL, once=True)
    end, faults = threading.Event(), []
    MemorySource.brokers["dead"].away = 2

    def tell(outbox):
        faults.append(outbox.error)
        if outbox.sent == 2:
            end.set()

    assert router.streams.publish(URL, end=end, tell=tell) == 2
    assert "the broker is away" in faults
    assert [one.levelname for one in caplog.records if "trying again" in one.message] == ["WARNING"]
    assert kinds(sent()) == ["decision", "outcome"]


def test_what_is_forgotten_is_told(router, sent):
    decision = router.route({"text": "a secret", "session_id": "thread"})
    router.record(decision, {"feedback_text": "secret, too"})
    router.flush()
    router.forget("thread")
    router.streams.publish(URL, once=True)
    assert kinds(sent()) == ["decision", "forgotten"]
    assert sent()[-1]["data"] == {"decision_ids": [decision.decision_id]}
    assert "secret" not in json.dumps(sent())


def test_a_time_beyond_every_calendar_holds_nothing_up(router, sent):
    recorder = router._parts.recorder  # older versions took such times
    for at in (1e300, 1.7e12, -1e300):
        decision = recorder.observation(Task(text="x"), "coder", at, new_id())
        router._parts.store.writer.append([recorder.entry(decision, Outcome(success=True), at=at)])
    router.observe("x", "coder", {"success": True})
    assert router.streams.publish(URL, once=True) == 8
    assert [one["time"][:4] for one in sent()][:6] == ["9999"] * 4 + ["1970"] * 2
    outcomes = [one["data"] for one in sent() if one["type"].endswith("outcome")]
    assert [StreamEvent.of(one).at for one in outcomes][:3] == [LAST_S, LAST_S, 0]


def test_another_router_learns_from_what_was_sent(router, sent, broker, tmp_path, agents):
    from stream_source import MemoryPlugin

    decision = router.route("x")
    router.record(decision, {"success": True})
    router.streams.publish(URL, once=True)
    broker.put(*(one.body for one in MemorySource.brokers["dead"].sent))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        '[[event]]\nname = "decisions"\nignore = true\nwhen = { "cloudevent.type" = "router_sdk.decision" }\n'
    )
    with Router(agents=agents, strategies=["thompson"], store=tmp_path / "b.db", plugins=[MemoryPlugin()]) as other:
        report = other.streams.consume("memory:/outcomes", mapping=mapping)
        assert (report.stored, report.refused) == (2, 0)
        assert other.status()["store"]["pending"] == 1
