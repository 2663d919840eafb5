"""Quarantines on a live router: its learners go back, and hold what they would hold had it never been recorded."""

import random
import shutil
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killable import KilledError, Living, Told

from router_sdk import Outcome, Router, Task
from router_sdk.plugins import PluginRegistry
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")
TYPES = ("account", "default", "card")
PATIENCE_S = 20.0


def thompson(folder, **config):
    """The real thing, with drift detection and fading as they come."""
    kind = PluginRegistry.load().strategy("thompson")
    return kind(kind.Config(**config), make_services(folder))


class Life:
    """A store, a router on it, and another one as a second process would have it."""

    def __init__(self, folder, **config):
        self.folder, self.config, self.chance = folder, config, random.Random(4)
        self.path = folder / "router.db"
        self.decisions, self.numbers, self.copies = [], [], 0
        self.open()

    def router(self, path, **settings):
        settings = {"batch_events": 3, "seed": 1, "retrain": False, **settings}
        return Router(AGENTS, [thompson(self.folder / "services", **self.config)], path, **settings)

    def open(self):
        self.routers = [self.router(self.path), self.router(self.path, batch_events=7)]

    def close(self):
        for router in self.routers:
            router.close()

    @property
    def one(self):
        return self.routers[0]

    # -- what happens

    def record(self, which, fields):
        number = len(self.decisions) if which is None or not self.decisions else which % len(self.decisions)
        if number == len(self.decisions):
            task = Task(
                f"case {number % 5} of {self.chance.choice('xyz')}",
                task_type=self.chance.choice(TYPES),
                session_id=f"s{number % 3}",
                features={"size": self.chance.random()},
            )
            self.decisions.append(self.one.route(task).decision_id)
            self.one.flush()
        self.routers[number % 2].record(self.decisions[number], Outcome(**fields))

    def quarantine(self, begin, length, everybody):
        self.one.flush()
        head = self.one.status()["learner"]["head"]
        begin = min(begin, head - 1)
        number = self.one.models.quarantine(
            None if everybody else "thompson", from_seq=begin, to_seq=min(begin + length, head), reason="suspect"
        )
        self.numbers.append(number)

    def lift(self, which):
        standing = [one.number for one in self.one.models.quarantines() if one.lifted_at is None]
        if standing:
            self.routers[1].models.lift(standing[which % len(standing)])

    def snapshot(self):
        self.one.snapshot()

    def restart(self):
        self.close()
        self.open()

    def forget(self, session):
        self.one.forget(session)

    def fresh(self, agent):
        self.one.add_agent(agent, fresh=True)
        self.one.flush()

    # -- what has come of it

    def state(self, router):
        router.flush()
        self.copies += 1
        folder = self.folder / f"state-{self.copies}"
        folder.mkdir()
        router.strategy("thompson").save(folder)
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def expected(self):
        """What a router holds that finds a log in which nothing of what is quarantined was ever recorded."""
        self.copies += 1
        path = self.folder / f"never-{self.copies}.db"
        left_out = [(one.from_seq, one.upto_seq) for one in self.one.models.quarantines() if one.lifted_at is None]
        with closing(sqlite3.connect(path)) as copy, closing(sqlite3.connect(self.path)) as source:
            source.backup(copy)
            with copy:
                copy.executemany("DELETE FROM outcomes WHERE seq > ? AND seq <= ?", left_out)
                for table in ("quarantines", "snapshots", "consumers", "intents"):
                    copy.execute(f"DELETE FROM {table}")
        with self.router(path) as router:
            return self.state(router)

    def check(self):
        expected = self.expected()
        for router in self.routers:
            assert self.state(router) == expected
            assert router.status()["learner"]["unheeded"] == {}


said = st.one_of(
    st.fixed_dictionaries({"success": st.booleans()}),
    st.fixed_dictionaries({"quality": st.sampled_from([0.0, 0.5, 1.0]), "latency_ms": st.just(20.0)}),
    st.fixed_dictionaries({"correct_agent": st.sampled_from(AGENTS)}),
    st.fixed_dictionaries({"agent": st.sampled_from(AGENTS), "success": st.booleans()}),
)
new = st.tuples(st.just("record"), st.none(), said)
again = st.tuples(st.just("record"), st.integers(0, 30), said)
ranges = st.tuples(st.just("quarantine"), st.integers(0, 40), st.integers(1, 12), st.booleans())
happenings = st.one_of(
    *(new, new, again, again, ranges, ranges),
    st.tuples(st.just("lift"), st.integers(0, 3)),
    *(st.just(("snapshot",)), st.just(("restart",)), st.just(("check",))),
)
others = st.one_of(
    st.tuples(st.just("forget"), st.sampled_from(["s0", "s1"])), st.tuples(st.just("fresh"), st.sampled_from(AGENTS))
)


def live(folder, start, story, **config):
    life = Life(folder, **config)
    try:
        for fields in start:
            life.record(None, fields)
        for name, *told in story:
            getattr(life, name)(*told)
        life.check()
    finally:
        life.close()


many = (st.lists(said, min_size=3, max_size=6), st.lists(happenings, min_size=4, max_size=14))
many_more = (st.lists(said, min_size=3, max_size=6), st.lists(st.one_of(happenings, others), min_size=4, max_size=14))


@pytest.mark.slow
@settings(max_examples=6)
@given(*many)
def test_thompson_holds_to_the_last_bit_what_it_would_have_learnt(tmp_path_factory, start, story):
    live(tmp_path_factory.mktemp("life"), start, story)


@pytest.mark.slow
@settings(max_examples=5)
@given(*many_more)
def test_also_where_sessions_are_forgotten_and_agents_begin_afresh(tmp_path_factory, start, story):
    """What was learnt of texts is not unlearnt, and agents have rows in the order in which they came: none here."""
    live(tmp_path_factory.mktemp("life"), start, story, contextual=False)


@pytest.mark.reliability
@settings(max_examples=150)
@given(*many)
def test_many_lives(tmp_path_factory, start, story):
    live(tmp_path_factory.mktemp("life"), start, story)


@pytest.mark.reliability
@settings(max_examples=150)
@given(*many_more)
def test_many_lives_of_who_looks_at_no_text(tmp_path_factory, start, story):
    live(tmp_path_factory.mktemp("life"), start, story, contextual=False)


# -- every process, and whoever comes next


def wait_until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def never(store, copy, begin, end):
    """The folder of a store, copied as if nothing had been recorded in a range, and nothing been saved."""
    shutil.copytree(store.parent, copy)
    with closing(sqlite3.connect(copy / store.name)) as connection, connection:
        connection.execute("DELETE FROM outcomes WHERE seq > ? AND seq <= ?", (begin, end))
        connection.execute("DELETE FROM snapshots")
    return copy / store.name


def learnt_anew(store):
    """What the log of a store gives whoever finds it."""
    with Router(AGENTS, ["thompson"], store, retrain=False, seed=1) as router:
        return Told(router, None).learnt("thompson")


def kept(tmp_path):
    """A store with a history, half of it in a snapshot, that nobody has open."""
    store = tmp_path / "store" / "router.db"
    store.parent.mkdir()
    with Router(AGENTS, ["thompson"], store, retrain=False, seed=1) as router:
        for number in range(20):
            decision = router.route(Task(f"case {number}", features={"size": number / 7}))
            router.record(decision, Outcome(success=number % 3 > 0))
            router.record(decision.decision_id, Outcome(quality=number / 20))
            if number == 8:
                router.flush()
                router.snapshot()
    return store


@pytest.mark.slow
def test_every_process_goes_back_within_two_seconds(tmp_path):
    store = kept(tmp_path)
    expected = learnt_anew(never(store, tmp_path / "never", 20, 35))
    processes = [Living(store, ["thompson"]) for _ in range(2)]
    one, other = processes
    before = other.tell("learnt", "thompson")
    assert before == one.tell("learnt", "thompson") != expected
    number = one.tell("quarantine", "thompson", 20, 35)
    assert one.tell("learnt", "thompson") == expected
    started = time.monotonic()
    wait_until(lambda: other.tell("learnt", "thompson") == expected)
    assert time.monotonic() - started < 2.0 * 5, "with room for a machine that is busy with other tests"
    other.tell("lift", number)
    assert other.tell("learnt", "thompson") == before
    wait_until(lambda: one.tell("learnt", "thompson") == before)
    for living in processes:
        living.close()


@pytest.mark.slow
def test_killed_at_any_step_whoever_comes_next_holds_what_the_log_says(tmp_path, request):
    store, step = kept(tmp_path), 1 if request.config.getoption("--reliability") else 24
    states = {
        False: learnt_anew(never(store, tmp_path / "whole", 0, 0)),
        True: learnt_anew(never(store, tmp_path / "never", 20, 35)),
    }
    point, told = 1, []
    while True:
        copy = tmp_path / f"copy-{point}"
        shutil.copytree(store.parent, copy)
        living = Living(copy / store.name, ["thompson"])
        try:
            living.tell("quarantine", "thompson", 20, 35, kill_at=point)
        except KilledError:
            pass
        else:
            assert living.tell("learnt", "thompson") == states[True]
            living.close()
            break
        living = Living(copy / store.name, ["thompson"])
        assert living.tell("settled")["broken"] == []
        with closing(sqlite3.connect(copy / store.name)) as connection:
            (logged,) = connection.execute("SELECT count(*) FROM quarantines").fetchone()
        assert living.tell("learnt", "thompson") == states[bool(logged)]
        told.append(logged)
        living.close()
        point += step
    assert set(told) == {0, 1}, "killed before it was said, and after it"
