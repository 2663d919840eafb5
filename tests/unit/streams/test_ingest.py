"""A stream into the log: each event once, whatever is cut off, delivered again, or not understood."""

import json
import threading

import pytest
from stream_source import MemoryPlugin, MemorySource

from router_sdk import Router
from router_sdk.errors import InvalidInputError, StoreUnavailableError, StreamUnavailableError
from router_sdk.exchange import ingest
from router_sdk.plugin import Address, Message
from router_sdk.store.streams import read_positions

URL = "memory:/outcomes"


def outcomes(router):
    return router.status()["store"]["outcomes"]


def forget_positions(router):
    """As if the store knew the stream by another name: its events' names alone tell what was counted."""
    forget = "DELETE FROM meta WHERE name LIKE 'stream position%'"
    router._parts.store.writer.transact(lambda connection, seq: connection.execute(forget) and None)


def test_outcomes_are_logged_in_micro_batches_acknowledged_and_learnt(router, broker, told):
    decisions = router.route_batch(["x"] * 25)
    router.flush()
    broker.put(*(told(one) for one in decisions[:20]))
    broker.put(*(told(one) for one in decisions[20:]), partition=1)
    batches = []
    broker.on_acknowledge = lambda messages: batches.append((len(messages), outcomes(router)))
    report = router.streams.consume(URL)
    assert batches == [(10, 10), (10, 20), (5, 25)], "each is on disk before it is acknowledged"
    assert (report.stored, report.refused, report.state, broker.left) == (25, 0, "ended", 0)
    router.flush()
    assert router.statistics()["samples_processed"] == 25


def test_what_is_delivered_again_is_counted_once(router, broker, told, make_router):
    decisions = router.route_batch(["x"] * 15)
    broker.put(*(told(one) for one in decisions))

    def cut_off(messages):
        raise KeyboardInterrupt

    broker.on_acknowledge = cut_off
    with pytest.raises(KeyboardInterrupt):
        router.streams.consume(URL)
    assert (broker.left, outcomes(router)) == (15, 10)
    broker.on_acknowledge = lambda messages: None
    assert router.streams.consume(URL).stored == 5, "it goes on where the log has come to"
    broker.acknowledged = [0, 0]
    forget_positions(router)
    assert router.streams.consume(URL).stored == 15
    assert outcomes(router) == 15


def test_the_position_is_in_the_transaction_of_the_outcomes(router, broker, told, monkeypatch):
    broker.put(*(told(one) for one in router.route_batch(["x"] * 3)))
    append, faults = router._parts.store.writer.append, iter([StoreUnavailableError("the disk is full")])
    asked = []

    def failing_first(entries):
        asked.append(len(entries))
        for fault in faults:
            raise fault
        append(entries)

    monkeypatch.setattr(router._parts.store.writer, "append", failing_first)
    seen = []
    report = router.streams.consume(URL, tell=lambda one: seen.append((one.state, one.error)))
    assert seen[0] == ("waiting", "the disk is full")
    assert asked == [4, 4], "the batch in hand is tried again"
    assert (report.stored, outcomes(router), broker.left) == (3, 3, 0)
    assert router._parts.store.reader.query(lambda c: read_positions(c, "memory:///outcomes")) == {"0": 3}


def test_a_broker_that_is_away_is_waited_for_and_said_so_once(router, broker, told, caplog):
    broker.put(*(told(one) for one in router.route_batch(["x"] * 3)))
    broker.away = 2
    states = []
    report = router.streams.consume(URL, tell=lambda one: states.append(one.state))
    assert states[:2] == ["waiting", "waiting"]
    assert (report.stored, report.error) == (3, "the broker is away")
    assert [one.levelname for one in caplog.records if "trying again" in one.message] == ["WARNING"]
    (noted,) = router.streams.status()
    assert (noted["stream"], noted["state"], noted["stored"], noted["behind"]) == ("memory:///outcomes", "ended", 3, 0)
    assert router.status()["streams"] == [noted]


def test_poison_is_a_dead_letter_once_and_the_rest_goes_on(router, broker, told):
    one, two = router.route_batch(["x", "y"])
    poison = [
        b"\xff",
        "[1]",
        "{}",
        json.dumps({"decision_id": "7", "outcome": {"success": True}}),
        told(one, quality=7),
    ]
    broker.put(told(one), *poison, told(two))
    report = router.streams.consume(URL, dead_letters="memory:/dead")
    assert (report.stored, report.refused, broker.left) == (2, 5, 0)
    letters = router.dead_letters()
    assert len(letters) == 5
    assert {letter["kind"] for letter in letters} == {"stream"}
    assert "memory:///outcomes 0/1: not JSON" in letters[-1]["reason"]
    sent = MemorySource.brokers["dead"].sent
    assert [one.body for one in sent][1:3] == [b"[1]", b"{}"]
    assert "decision_id" in sent[2].headers["router-reason"]
    broker.acknowledged = [0, 0]
    router._parts.store.writer.transact(
        lambda c, seq: c.execute("DELETE FROM meta WHERE name LIKE 'stream pos%'") and 0
    )
    router.streams.consume(URL)
    assert (len(router.dead_letters()), outcomes(router)) == (5, 2), "delivered again, nothing comes twice"


def test_dead_letters_do_not_go_round_for_ever(router, broker, told):
    broker.put("poison")
    for dead in (URL, "memory:outcomes?group=g", Address.parse("memory:/outcomes")):
        with pytest.raises(InvalidInputError, match="a topic of their own"):
            router.streams.consume(URL, dead_letters=dead)
    assert broker.left == 1
    letters = MemorySource.brokers["dead"]
    router.streams.consume(URL, dead_letters="memory:/dead")
    (letter,) = letters.sent
    source = router.streams.source(URL)  # the same topic under a name that nobody could tell
    source.poll = lambda most, within_s: _ended(source) or [Message("again", b"poison", None, "0", 1, letter.headers)]
    assert router.streams.consume(source, dead_letters="memory:/dead").refused == 1
    assert (len(letters.sent), len(router.dead_letters())) == (1, 2)


def _ended(source):
    source.ended = True


def test_what_the_log_itself_refuses_is_poison_too(router, broker, told):
    one, two = router.route_batch(["x", "y"])
    for number in range(1_000):
        router.record(one, {"latency_ms": float(number)})
    broker.put(told(one), told(two))
    report = router.streams.consume(URL)
    assert (report.refused, outcomes(router)) == (1, 1_001)
    assert "1,000 outcomes" in router.dead_letters()[0]["reason"]


def test_with_privacy_no_body_is_kept(make_router, broker):
    router = make_router(["thompson"], plugins=[MemoryPlugin()], privacy="none")
    broker.put('{"decision_id": "a secret"')
    router.streams.consume(URL)
    (letter,) = router.dead_letters()
    assert letter["body"] is None
    assert "secret" not in letter["reason"]


def test_a_session_and_what_others_decided(router, broker):
    for step in range(2):
        router.route({"text": "x", "session_id": "thread", "step": step})
    router.flush()
    observed = {"task": "who was it?", "agent": "coder", "outcome": {"quality": 0.5}}
    broker.put(
        json.dumps({"session_id": "thread", "outcome": {"success": True}}),
        json.dumps(observed),
        json.dumps({**observed, "agent": "stranger"}),
        json.dumps({"session_id": "nobody's", "outcome": {"success": True}}),
    )
    report = router.streams.consume(URL)
    assert (report.stored, report.refused) == (2, 2)
    assert [(one.agent, one.reward) for one in router.examples][-1] == ("coder", 0.5)
    assert outcomes(router) == 3
    broker.acknowledged = [0, 0]
    router._parts.store.writer.transact(
        lambda c, seq: c.execute("DELETE FROM meta WHERE name LIKE 'stream pos%'") and 0
    )
    assert router.streams.consume(URL, new_agents=True).stored == 3, "and who was a stranger becomes an agent"
    assert (outcomes(router), "stranger" in router.available) == (4, True)


@pytest.mark.parametrize("name", [{}, {"outcome_id": "said by e\u0301mile"}, {"outcome_id": "x" * 200}])
def test_an_event_of_a_session_that_comes_again_is_not_about_what_was_decided_since(router, broker, name):
    def decide():
        router.route({"text": "x", "session_id": "thread"})
        router.flush()

    decide()
    decide()
    broker.put(json.dumps({"session_id": "thread", "outcome": {"success": True}, **name}))
    router.streams.consume(URL)
    decide()
    broker.acknowledged = [0, 0]
    forget_positions(router)
    assert router.streams.consume(URL).stored == 1
    assert outcomes(router) == 2
    broker.put(json.dumps({"session_id": "thread", "outcome": {"quality": 0.5}}))
    router.streams.consume(URL)
    assert outcomes(router) == 5, "another event is about all three"


def test_an_events_own_name_counts_before_where_it_stands(router, broker, told):
    decision = router.route("x")
    event = {"specversion": "1.0", "type": "outcome", "source": "/desk", "id": "7", "data": json.loads(told(decision))}
    broker.put(json.dumps(event), json.dumps(event))
    broker.put(json.dumps({**event, "id": "8"}), partition=1)
    assert router.streams.consume(URL).stored == 3
    assert outcomes(router) == 2


def test_names_that_cannot_be_written_are_dead_letters(router, broker, told):
    observed = json.dumps({"task": "who was it?", "agent": "coder", "outcome": {"quality": 0.5}}).encode()
    named = {"ce_specversion": "1.0", "ce_type": "outcome", "ce_source": "/desk", "ce_id": "7\udcff"}
    messages = [
        Message("0", observed, None, "0", 0, named),
        Message("1\udcff", observed, None, "0", 1, {"note\udcff": "\udcff"}),
        Message("2", told(router.route("x")).encode(), None, "0", 2),
    ]
    source = router.streams.source(URL)
    source.poll = lambda most, within_s: _ended(source) or messages
    report = router.streams.consume(source, dead_letters="memory:/dead")
    assert (report.stored, report.refused, outcomes(router)) == (1, 2, 1)
    assert "half a surrogate pair" in router.dead_letters()[-1]["reason"]
    for one in MemorySource.brokers["dead"].sent:
        assert json.dumps([one.key, *one.headers.items()], ensure_ascii=False).encode()


def test_a_store_that_is_busy_at_the_start_is_waited_for(router, broker, told, monkeypatch):
    broker.put(told(router.route("x")))
    faults = iter([StoreUnavailableError("the store is busy")])
    tidy = ingest.tidy_statuses

    def busy_first(writer):
        for fault in faults:
            raise fault
        tidy(writer)

    monkeypatch.setattr(ingest, "tidy_statuses", busy_first)
    report = router.streams.consume(URL)
    assert (report.stored, report.error) == (1, "the store is busy")


def test_it_ends_when_it_is_told_to(router, broker, told):
    broker.put(*(told(one) for one in router.route_batch(["x"] * 30)))
    end = threading.Event()
    broker.on_acknowledge = lambda messages: end.set()
    assert router.streams.consume(URL, end=end).stored == 10
    assert broker.left == 20


def test_what_long_gone_processes_said_is_told_no_more(router, broker, told, monkeypatch):
    broker.put(told(router.route("x")))
    with monkeypatch.context() as past:
        past.setattr("router_sdk.store.streams.HEARD_OF_S", -1.0)
        router.streams.consume(URL)
        assert router.streams.status() == []
        router.streams.consume(URL)
    assert len(router.streams.status()) == 1


def test_an_address_that_nobody_reads_says_what_to_install(store_path, broker):
    with Router(agents=["a"], store=store_path, plugins=[MemoryPlugin()], strategies=["thompson"]) as router:
        with pytest.raises(InvalidInputError, match=r"reads carrier-?pigeon"):
            router.streams.source("carrierpigeon://loft/outcomes")
        assert router.streams.check(URL).messages == 0
        assert router.streams.lag(URL) == {"0": 0, "1": 0}
        broker.away = 1
        with pytest.raises(StreamUnavailableError):
            router.streams.check(URL)
