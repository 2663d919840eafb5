"""What each broker's source and sink promise, with the real servers."""

import json
import threading
import time
from uuid import uuid4

import pytest

from router_sdk.errors import InvalidInputError, StreamUnavailableError
from router_sdk.plugin import Outgoing
from router_sdk.store.streams import positions_note, read_positions, write_notes

pytestmark = pytest.mark.services
KAFKA = pytest.param("kafka", marks=pytest.mark.kafka)
EACH = pytest.mark.parametrize("broker", ["redis", "nats", KAFKA], indirect=True)
WITHIN_S = 60.0


def event(number, **parts):
    return json.dumps({"decision_id": f"{number:032x}", "outcome": parts or {"success": True}}).encode()


@pytest.fixture
def topic():
    return f"outcomes-{uuid4().hex[:12]}"


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"])


def consume(router, url, count, **options):
    """Follow a stream until so many messages were dealt with; whoever waits in vain is cut off."""
    end, deadline = threading.Event(), time.monotonic() + WITHIN_S

    def tell(report):
        if report.stored + report.refused >= count or time.monotonic() > deadline:
            end.set()

    return router.streams.consume(url, end=end, tell=tell, **options)


def outcomes(router):
    return router.status()["store"]["outcomes"]


@EACH
def test_from_a_broker_to_the_log_and_what_is_left(broker, topic, router):
    url = broker.url(topic)
    assert not router.streams.check(url).exists
    with pytest.raises(StreamUnavailableError):
        router.streams.lag(url)
    broker.put(topic, [event(number) for number in range(25)] + [b"poison"])
    found = router.streams.check(url)
    assert (found.exists, found.messages) == (True, 26)
    assert sum(router.streams.lag(url).values()) == 26
    report = consume(router, url, 26, dead_letters=broker.url(f"{topic}-dead-letters"))
    assert (report.stored, report.refused, outcomes(router)) == (25, 1, 25)
    assert sum(router.streams.lag(url).values()) == 0
    assert router.streams.check(broker.url(f"{topic}-dead-letters")).messages == 1
    (letter,) = router.dead_letters()
    assert letter["body"] == "poison"
    assert sum(router.streams.lag(broker.url(topic, group="another")).values()) == 26


@EACH
def test_what_was_not_acknowledged_comes_again_and_is_counted_once(broker, topic, router):
    url = broker.url(topic)
    broker.put(topic, [event(number) for number in range(15)])
    source = router.streams.source(url)
    source.acknowledge = lambda messages: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        router.streams.consume(source)
    assert outcomes(router) >= 1
    report = consume(router, url, 15)
    assert (report.stored, outcomes(router)) == (15, 15)
    if broker.name != "kafka":  # which does not say so
        assert report.again >= 1
        assert router.status()["streams"][-1]["again"] >= 1


@EACH
def test_two_of_a_group_share_what_comes(broker, topic, router, make_router, tmp_path):
    url = broker.url(topic)
    broker.put(topic, [event(0)])
    other = make_router(["heuristic"], store=tmp_path / "router.db")
    end, reports = threading.Event(), []

    def tell(report):
        if outcomes(router) == 201:
            end.set()

    def follow(one):
        reports.append(one.streams.consume(url, end=end, tell=tell))

    threads = [threading.Thread(target=follow, args=(one,)) for one in (router, other)]
    for thread in threads:
        thread.start()
    broker.put(topic, [event(number) for number in range(1, 201)])
    for thread in threads:
        thread.join(WITHIN_S)
    end.set()
    assert outcomes(router) == 201
    assert sum(report.refused for report in reports) == 0


@pytest.mark.parametrize("broker", ["redis", "nats"], indirect=True)
def test_who_is_slower_than_the_ack_clock_is_overtaken_and_all_is_counted_once(broker, topic, router, make_router):
    url = broker.url(topic, **({"claim_s": 0.2} if broker.name == "redis" else {"ack_wait": 0.3}))
    broker.put(topic, [event(number) for number in range(30)])
    other, reports = make_router(["heuristic"]), []
    source = router.streams.source(url)
    acknowledge = source.acknowledge

    def slowly(messages):
        if not reports:
            time.sleep(0.5)
            reports.append(consume(other, url, 30))
        acknowledge(messages)

    source.acknowledge = slowly
    assert consume(router, source, 10).stored == 10
    assert reports[0].stored == 30
    assert reports[0].again >= 10, "what was delivered before is said to be"
    assert outcomes(router) == 30
    assert max(one["again"] for one in router.status()["streams"]) >= 10
    assert sum(router.streams.lag(url).values()) == 0


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_who_polls_too_seldom_comes_back_and_all_is_counted_once(broker, topic, router):
    url = broker.url(topic, **{"max.poll.interval.ms": 6000})
    broker.put(topic, [event(number) for number in range(30)])
    source, pauses = router.streams.source(url), iter([7.0])
    acknowledge = source.acknowledge

    def slowly(messages):
        time.sleep(next(pauses, 0.0))
        acknowledge(messages)

    source.acknowledge = slowly
    end, deadline = threading.Event(), time.monotonic() + WITHIN_S

    def tell(report):
        if (outcomes(router) == 30 and report.error) or time.monotonic() > deadline:
            end.set()

    report = router.streams.consume(source, end=end, tell=tell)
    assert outcomes(router) == 30
    assert "poll interval" in report.error.lower()


@EACH
def test_what_the_log_says_goes_out_and_comes_back(broker, topic, router, make_router, tmp_path):
    decision = router.route("I was charged twice")
    router.record(decision, {"success": True})
    assert router.streams.publish(broker.url(topic), once=True) == 2
    assert router.streams.publish(broker.url(topic), once=True) == 0
    mapping = tmp_path / "mapping.toml"
    ignored = 'when = { "cloudevent.type" = "router_sdk.decision" }'
    mapping.write_text(f'[[event]]\nname = "decisions"\nignore = true\n{ignored}\n')
    other = make_router(["heuristic"], store=tmp_path / "other.db")
    consume(other, broker.url(topic), 2, mapping=mapping)
    assert outcomes(other) == 1
    assert other.dead_letters() == []


@pytest.mark.parametrize("name", ["redis", "nats", "kafka"])
def test_a_broker_that_is_not_there_is_said_so(name, router):
    with pytest.raises(StreamUnavailableError, match=name):
        router.streams.check(f"{name}://127.0.0.1:1/x")
    with pytest.raises(InvalidInputError, match="moon"):
        router.streams.check(f"{name}://127.0.0.1:1/x?moon=1")


# -- traps


@pytest.mark.parametrize("broker", ["nats"], indirect=True)
def test_a_durable_that_is_there_keeps_its_settings_or_is_refused(broker, topic, router, caplog):
    broker.put(topic, [event(1)])
    consume(router, broker.url(topic), 1)
    caplog.set_level("INFO")
    broker.put(topic, [event(2)])
    consume(router, f"nats://{broker.hosts}/{topic}?ack_wait=77", 1)
    assert "keeps its ack_wait of 1 s" in caplog.text
    import asyncio

    import nats

    async def pushes():
        client = await nats.connect(f"nats://{broker.hosts}")
        config = nats.js.api.ConsumerConfig(durable_name="pushed", deliver_subject="elsewhere", ack_policy="explicit")
        await client.jetstream().add_consumer(topic, config)
        await client.close()

    asyncio.run(pushes())
    with pytest.raises(InvalidInputError, match="no pull consumer"):
        router.streams.consume(broker.url(topic, group="pushed"))


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_entries_of_other_shapes_and_trimmed_ones(broker, topic, router):
    import redis

    client = redis.Redis(port=broker.port)
    client.xadd(topic, {"payload": event(1)})
    client.xadd(topic, {"decision_id": f"{2:032x}", "note": "fields alone are no event of ours"})
    taken = client.xadd(topic, {"data": event(3), "ce_specversion": "1.0", "ce_source": "/desk", "ce_id": "7"})
    client.xgroup_create(topic, "router-sdk", "0")
    client.xreadgroup("router-sdk", "somebody else", {topic: ">"}, count=10)
    trimmed = client.xadd(topic, {"data": event(4)})
    client.xreadgroup("router-sdk", "somebody else", {topic: ">"}, count=10)
    client.xdel(topic, trimmed)
    report = consume(router, broker.url(topic, claim_s=0.05), 3)
    assert (report.stored, report.refused, report.again) == (2, 1, 3)
    assert outcomes(router) == 2
    assert client.xpending(topic, "router-sdk")["pending"] == 0
    assert taken


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_partition_is_read_from_where_the_log_has_come_to_whatever_was_committed(broker, topic, router):
    sink = router.streams.sink(broker.url(topic))
    sink.send([Outgoing("one partition", event(number)) for number in range(40)])
    source, acknowledged = router.streams.source(broker.url(topic)), []
    acknowledge = source.acknowledge

    def twice(messages):
        if len(acknowledged) == 2:
            raise KeyboardInterrupt
        acknowledged.append(len(messages))
        acknowledge(messages)

    source.acknowledge = twice
    with pytest.raises(KeyboardInterrupt):
        router.streams.consume(source)
    assert outcomes(router) > sum(acknowledged)
    left = 40 - outcomes(router)
    assert sum(router.streams.lag(broker.url(topic)).values()) == 40 - sum(acknowledged)
    assert consume(router, broker.url(topic), left).stored == left
    assert outcomes(router) == 40
    store, name = router._parts.store, f"kafka://{broker.hosts}/{topic}"
    (partition,) = store.reader.query(lambda connection: read_positions(connection, name))
    write_notes(store.writer, positions_note(name, {partition: 25}))  # as after an older backup was restored
    assert consume(router, broker.url(topic), 15).stored == 15
    assert outcomes(router) == 40


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_entries_of_one_id_in_two_streams_are_two_events(broker, topic, router):
    import redis

    told = {"data": event(1)}
    for database, key in ((0, topic), (0, f"{topic}-b"), (1, topic)):
        redis.Redis(port=broker.port, db=database).xadd(key, told, id="7-1")
    for place in (topic, f"{topic}-b", f"1/{topic}", f"0/{topic}"):
        consume(router, broker.url(place, group=f"of {place}"), 1)
    assert outcomes(router) == 3, "the last is the first, read again by another group"


@pytest.mark.kafka
def test_one_topic_in_two_clusters_has_two_events_of_one_offset(topic, router, tmp_path):
    from brokers import MockKafka

    names = set()
    clusters = [MockKafka(tmp_path / str(number)) for number in range(2)]
    for one in clusters:
        one.start()
        one.put(topic, [event(1)])
        source = router.streams.source(one.url(topic))
        source.open(dict)
        found = []
        deadline = time.monotonic() + WITHIN_S
        while not found and time.monotonic() < deadline:
            found = source.poll(1, 1.0)
        names.add(found[0].id.partition("@")[0])
        source.close()
    for one in clusters:
        one.kill()
    assert len(names) == 2
