"""``kill -9`` of consumers, and of brokers that keep what they acknowledged: nothing is lost, and nothing counts twice.

The consumers are this very file, run as a program: each ends itself at a step that was drawn for it, or is ended.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from router_sdk import Router

KAFKA = pytest.param("kafka", marks=pytest.mark.kafka)
OWN = pytest.mark.parametrize("own_broker", ["redis", "nats", KAFKA], indirect=True)
KEEPING = pytest.mark.parametrize("own_broker", ["redis", "nats"], indirect=True)
PER_ROUND, PER_ROUND_BAD, WITHIN_S = 40, 2, 120.0
STEPS = ("polled", "logged", "acknowledged")
pytestmark = [pytest.mark.services, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")]


def open_router(path):
    return Router(agents=["a", "b"], strategies=["heuristic"], store=path, snapshot_seconds=0.5, seed=0)


def victim(path, url, step="", calls=0):
    """Follow a stream until killed: by itself, after so many batches, at a step."""
    left = int(calls)

    def at(here):
        nonlocal left
        if here == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with open_router(path) as router:
        source = router.streams.source(url)
        poll, acknowledge = source.poll, source.acknowledge

        def polled(most, within_s):
            found = poll(most, within_s)
            if found:
                at("polled")
            return found

        def acknowledged(messages):
            at("logged")
            acknowledge(messages)
            at("acknowledged")

        source.poll, source.acknowledge = polled, acknowledged
        end = threading.Event()
        signal.signal(signal.SIGTERM, lambda number, frame: end.set())
        os.write(sys.stdout.fileno(), b"open\n")
        router.streams.consume(source, end=end)


@contextmanager
def running(*arguments):
    with subprocess.Popen([sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


class Sent:
    """Events with outcomes of decisions that nobody logged, each its own, and poison among them."""

    def __init__(self, seed=7):
        self.good, self.bad = [], []
        self._chance = random.Random(seed)

    def next(self, good=PER_ROUND, bad=PER_ROUND_BAD):
        ids = [f"{self._chance.getrandbits(128):032x}" for _ in range(good)]
        poison = [f"poison {self._chance.getrandbits(64):x}" for _ in range(bad)]
        told = [{"decision_id": one, "outcome": {"success": True}, "outcome_id": one} for one in ids]
        self.good += ids
        self.bad += poison
        bodies = [*(json.dumps(one).encode() for one in told), *(one.encode() for one in poison)]
        self._chance.shuffle(bodies)
        return bodies


def held(path):
    with closing(sqlite3.connect(path)) as connection:
        outcomes = [row[0] for row in connection.execute("SELECT decision_id FROM outcomes")]
        letters = [row[0] for row in connection.execute("SELECT body FROM dead_letters WHERE kind = 'stream'")]
    return outcomes, letters


def assert_each_once(path, sent):
    outcomes, letters = held(path)
    assert len(outcomes) == len(set(outcomes)), "counted twice"
    assert set(outcomes) == set(sent.good), "lost"
    assert sorted(letters) == sorted(sent.bad)


def finish(path, broker, topic, sent):
    """What is left is read by one more consumer, which ends in order."""
    with running("victim", path, broker.url(topic)) as process, open_router(path) as router:
        deadline = time.monotonic() + WITHIN_S
        while sum(router.streams.lag(broker.url(topic)).values()) or len(held(path)[0]) < len(sent.good):
            assert time.monotonic() < deadline, "it does not come to the end"
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture
def rounds(request):
    return 50 if request.config.getoption("--reliability") else 3


@OWN
def test_kills_of_consumer_and_router(own_broker, tmp_path, rounds):
    path, sent, chance = tmp_path / "router.db", Sent(), random.Random(3)
    own_broker.put("outcomes", sent.next())
    for number in range(rounds):
        step, calls = STEPS[number % 3], 1 + chance.randrange(3)
        with running("victim", path, own_broker.url("outcomes"), step, calls) as process:
            own_broker.put("outcomes", sent.next())
            assert process.wait(WITHIN_S) == -signal.SIGKILL
    finish(path, own_broker, "outcomes", sent)
    assert_each_once(path, sent)


@KEEPING
def test_kills_of_a_broker_that_keeps_what_it_acknowledged(own_broker, tmp_path, rounds):
    path, sent, chance = tmp_path / "router.db", Sent(), random.Random(3)
    own_broker.put("outcomes", sent.next())
    with running("victim", path, own_broker.url("outcomes")):
        for _ in range(rounds):
            own_broker.put("outcomes", sent.next())
            time.sleep(chance.random() * 0.2)  # somewhere in the midst of it
            own_broker.kill()
            own_broker.start()
    finish(path, own_broker, "outcomes", sent)
    assert_each_once(path, sent)


@pytest.mark.kafka
@pytest.mark.parametrize("own_broker", ["tansu"], indirect=True)
def test_cuts_of_the_connection_to_a_broker_in_memory(own_broker, tmp_path, rounds):
    path, sent, chance = tmp_path / "router.db", Sent(), random.Random(3)
    own_broker.make("outcomes")
    own_broker.put("outcomes", sent.next())
    with running("victim", path, own_broker.url("outcomes")):
        for _ in range(rounds):
            time.sleep(chance.random() * 0.5)
            own_broker.cut()
            own_broker.put("outcomes", sent.next(bad=0))  # which a producer that is cut off may send twice
    finish(path, own_broker, "outcomes", sent)
    assert_each_once(path, sent)


@KEEPING
def test_a_broker_that_is_away_for_a_while(own_broker, tmp_path, request):
    path, sent = tmp_path / "router.db", Sent()
    away_s = 60.0 if request.config.getoption("--reliability") else 3.0
    own_broker.put("outcomes", sent.next())
    with open_router(path) as router, running("victim", path, own_broker.url("outcomes")):

        def said():
            return (router.status()["streams"] or [{"state": "", "error": None, "stored": 0, "refused": 0}])[-1]

        wait_for(lambda: said()["stored"] + said()["refused"] == len(sent.good + sent.bad))
        own_broker.kill()
        wait_for(lambda: said()["state"] == "waiting")
        assert own_broker.name in said()["error"]
        time.sleep(away_s)
        own_broker.start()
        own_broker.put("outcomes", sent.next())
        wait_for(lambda: said()["state"] == "reading" and len(held(path)[0]) == len(sent.good))
    finish(path, own_broker, "outcomes", sent)
    assert_each_once(path, sent)


@OWN
def test_three_consumers_of_a_group_come_and_go_under_load(own_broker, tmp_path, request):
    path, sent, url = tmp_path / "router.db", Sent(), own_broker.url("outcomes")
    pieces = 100 if request.config.getoption("--reliability") else 20
    own_broker.put("outcomes", sent.next())
    with running("victim", path, url) as first, running("victim", path, url), running("victim", path, url):
        for number in range(pieces):
            own_broker.put("outcomes", sent.next())
            if number == pieces // 3:
                first.kill()
            if number == pieces // 2:
                with running("victim", path, url) as passing:
                    own_broker.put("outcomes", sent.next())
                    passing.send_signal(signal.SIGTERM)
                    assert passing.wait(60) == 0
    finish(path, own_broker, "outcomes", sent)
    assert_each_once(path, sent)


def wait_for(holds):
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
