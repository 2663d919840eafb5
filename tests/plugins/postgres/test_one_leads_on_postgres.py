"""One process of all machines leads: whoever is killed, stopped or cut off is replaced, and all end with the same.

Processes with a folder each are machines of their own here: nothing but the server is between them.
"""

import time

import pytest
from hosts import GO_ON, KILL, STOP, agree_on, hosts, leader_of, opened

from router_sdk import Outcome
from router_sdk.store import Store
from router_sdk.store.leadership import Mark

SessionLease = pytest.importorskip("router_sdk_postgres.leases").SessionLease

pytestmark = [pytest.mark.services, pytest.mark.skipif(KILL is None, reason="needs kill -9")]

PATIENCE_S, REPLACED_S = 60.0, 5.0
"""How long is waited in a test on a machine with much to do, and within how long a lost leader is replaced."""


def stores(store_url, count):
    return [f"{store_url}/{number}" for number in range(count)]


@pytest.mark.parametrize("within_s", [PATIENCE_S, pytest.param(REPLACED_S, marks=pytest.mark.reliability)])
def test_a_leader_that_is_killed_or_stopped_is_replaced_in_time_and_all_agree(store_url, within_s):
    with hosts(stores(store_url, 3)) as processes:
        first = leader_of(processes)
        assert sum(process("leads") for process in processes) == 1
        for process in processes:
            process("flood")
        first.signal(KILL)
        left = [process for process in processes if process is not first]
        second = leader_of(left, within_s)
        (third,) = (process for process in left if process is not second)
        second("stop")
        term = second("term")
        second.signal(STOP)
        leader_of([third], within_s)
        second.signal(GO_ON)
        assert not second("leads")
        assert third("term") > term
        third("stop")
        assert agree_on(left, within_s)
        assert leader_of(left) is third


@pytest.mark.parametrize("within_s", [PATIENCE_S, pytest.param(REPLACED_S, marks=pytest.mark.reliability)])
def test_when_the_server_is_back_one_leads(cluster, tmp_path, within_s):
    with hosts([f"{cluster.url}&folder={tmp_path}/{number}" for number in range(2)]) as processes:
        leader_of(processes)
        cluster.crash()
        until = time.monotonic() + within_s
        while any(process("leads") for process in processes):
            assert time.monotonic() < until
            time.sleep(0.02)
        cluster.start()
        leader_of(processes, within_s)
        assert agree_on(processes, within_s)


def test_followers_on_other_machines_take_over_what_the_leader_published(store_url, tmp_path):
    with opened(f"{store_url}/1") as leader, opened(f"{store_url}/2") as follower:
        one, other = (router._parts.learner for router in (leader, follower))
        lead(leader._parts.store)
        assert not follower._parts.store.leadership.take()
        assert (one._following.leads, other._following.leads) == (True, False)
        decision = leader.route("a question")
        leader.record(decision, Outcome(success=True))
        leader.flush()
        follower._parts.store.leadership.ask()
        until = time.monotonic() + PATIENCE_S
        while (told := follower._parts.store.leadership.newest()) is None:
            assert time.monotonic() < until
            one.submit(one._following.publish).result()
        assert told.marks["thompson"].cursor == one.folding["thompson"].cursor > 0
        folder = tmp_path / "fetched"
        folder.mkdir()
        follower._parts.store.leadership.fetch(told, folder)
        own = tmp_path / "own"
        own.mkdir()
        one.folding["thompson"].state.save(own)
        for path in own.iterdir():
            assert (folder / "thompson" / path.name).read_bytes() == path.read_bytes()


@pytest.fixture
def two(store_url):
    opened = [Store(url) for url in stores(store_url, 2)]
    yield opened
    for store in opened:
        store.close()


def lead(store):
    until = time.monotonic() + PATIENCE_S
    while not store.leadership.take():
        assert time.monotonic() < until
        time.sleep(0.01)


def shelf_of(store):
    return store.engine.shelf().abandoned("leader", (), float("-inf"))


def publish(store, cursor=5):
    def fill(folder):
        (folder / "s").mkdir()
        (folder / "s" / "state").write_text(str(cursor))

    store.leadership.publish({"s": Mark(cursor, "mark")}, fill)


def test_a_former_leader_that_wakes_publishes_nothing(two, monkeypatch):
    former, leader = two
    own, held = former.leadership._lease, SessionLease.held.fget
    lead(former)
    believed = former.leadership._lease.held
    former.leadership.close()
    lead(leader)
    monkeypatch.setattr(SessionLease, "held", property(lambda lease: believed if lease is own else held(lease)))
    assert former.leadership.leads  # it was stopped meanwhile, and has not looked since
    publish(leader, 7)
    publish(former, 5)
    assert former.leadership.newest().marks == {"s": Mark(7, "mark")}
    assert shelf_of(leader) == [leader.leadership.newest().name]


def test_the_leaders_snapshots_stand_for_the_followers(store_url):
    with opened(f"{store_url}/1") as leader, opened(f"{store_url}/2") as follower:
        leader.record(leader.route("a question"), Outcome(success=True))
        leader.flush()
        follower.flush()
        leader.snapshot()
        folding = follower._parts.learner.folding
        count = "SELECT count(*) FROM snapshots"
        (before,) = follower._parts.store.reader.query(lambda connection: connection.execute(count).fetchone())
        follower._parts.learner.submit(lambda: folding.save(others=True)).result()
        (after,) = follower._parts.store.reader.query(lambda connection: connection.execute(count).fetchone())
        assert before == after > 0
        assert folding["thompson"].saved == folding["thompson"].cursor > 0
