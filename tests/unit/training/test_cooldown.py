"""When a strategy was last fitted, whatever happens to the clock of the wall."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.soak.virtual_time import VirtualTime
from router_sdk.store import events
from router_sdk.store.events import LearningEvent, write_learning_events
from router_sdk.training.cooldown import Cooldown

from ..store.conftest import Log

HOUR, DAY = 3_600.0, 86_400.0


class World:
    """A log, a clock that jumps and one that does not; each process is a ``Cooldown`` of its own."""

    def __init__(self, log):
        self.log, self.wall, self.true, self.boot = log, 1_000_000.0, 500.0, "first"

    def pass_by(self, seconds):
        self.wall += seconds
        self.true += seconds

    def process(self):
        return Process(self)

    @contextmanager
    def entered(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "time", SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.true))
            patch.setattr(events, "_boot", lambda: self.boot)
            yield

    def start_machine(self):
        """Its monotonic clock begins again."""
        self.boot, self.true = "another", 3.0

    def fit(self, strategy="s", kind="fit", cursor=7):
        with self.entered():
            write_learning_events(self.log.writer, [LearningEvent(strategy, kind, 1, cursor, 1.0, 1)])


class Process:
    """One that asks for the last fit."""

    def __init__(self, world):
        self.world = world
        self.cooldown = Cooldown(world.log.store.reader, lambda: world.wall, lambda: world.true)

    def last(self, strategy):
        with self.world.entered():
            return self.cooldown.last(strategy)


@pytest.fixture
def world(open_log):
    return World(open_log(":memory:"))


def test_nothing_was_ever_fitted(world):
    world.fit(kind="learn")
    world.fit("another")
    assert world.process().last("s") == (0, 0, None)


@pytest.mark.parametrize("leap", [-HOUR, -10 * DAY, DAY, 0.0])
def test_in_a_process_that_goes_on_no_leap_changes_anything(world, leap):
    process = world.process()
    process.last("s")
    world.fit()
    assert process.last("s") == (1, 7, 0.0)
    world.pass_by(10.0)
    world.wall += leap
    assert process.last("s").seconds == pytest.approx(10.0)
    world.pass_by(20.0)
    assert process.last("s").seconds == pytest.approx(30.0)


@pytest.mark.parametrize("leap", [-HOUR, DAY])
def test_an_attempt_by_another_process_after_a_leap_is_as_old_as_it_can_be_at_most(world, leap):
    process = world.process()
    process.last("s")
    world.pass_by(1.0)
    world.fit()
    world.wall += leap  # before this process hears of it
    world.pass_by(1.0)
    assert 0.0 <= process.last("s").seconds <= 2.0


@pytest.mark.parametrize("leap", [-HOUR, DAY, 0.0])
def test_a_restart_dates_by_the_clock_that_never_jumps(world, leap):
    world.fit()
    world.pass_by(100.0)
    world.wall += leap
    process = world.process()
    assert process.last("s").seconds == pytest.approx(100.0)
    world.pass_by(30.0)
    world.wall += leap
    assert process.last("s").seconds == pytest.approx(130.0)


@pytest.mark.parametrize("boot", ["another", None])
def test_a_machine_that_was_started_again_dates_by_the_log(world, boot):
    world.fit()
    world.pass_by(100.0)
    world.start_machine()
    world.boot = boot
    assert world.process().last("s").seconds == pytest.approx(100.0)


def test_after_a_start_of_the_machine_with_the_clock_set_back_it_lasts_once_more_at_most(world):
    world.fit()
    world.pass_by(100.0)
    world.start_machine()
    world.wall -= HOUR
    process = world.process()
    assert process.last("s").seconds == 0.0  # not of the future
    world.pass_by(30.0)
    assert process.last("s").seconds == pytest.approx(30.0)


def test_after_a_start_of_the_machine_with_the_clock_set_forward_nothing_is_blocked(world):
    world.fit()
    world.start_machine()
    world.wall += DAY
    assert world.process().last("s").seconds == pytest.approx(DAY)


def test_an_attempt_that_was_cut_off_counts_from_its_beginning(world):
    world.fit(cursor=7)
    world.pass_by(500.0)
    world.fit(kind="begin", cursor=7)  # and its process is killed
    world.pass_by(20.0)
    number, cursor, seconds = world.process().last("s")
    assert (number, cursor) == (2, 7)  # what was fresh is so still
    assert seconds == pytest.approx(20.0)


def test_an_attempt_by_a_release_that_noted_no_clock_is_dated_by_the_log(world):
    world.fit()
    world.log.writer.transact(lambda connection, seq: connection.execute("DELETE FROM meta WHERE name LIKE 'fit %'"))
    world.pass_by(100.0)
    assert world.process().last("s").seconds == pytest.approx(100.0)


def test_a_simulation_s_clock_counts(world):
    process = Cooldown(world.log.store.reader)
    process.last("s")
    world.wall = time.time()
    world.fit()
    with VirtualTime() as clock:
        process.last("s")
        clock.skip(HOUR)
        assert process.last("s").seconds == pytest.approx(HOUR, abs=30.0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 1_000)),
        st.tuples(st.just("leap"), st.floats(-10 * DAY, 10 * DAY)),
        st.tuples(st.just("fit"), st.none()),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=25)
@given(steps)
def test_it_is_never_older_and_no_younger_than_what_was_seen_of_it(steps):
    log = Log(":memory:")
    try:
        world = World(log)
        process = world.process()
        process.last("s")
        ended = seen = None
        looked = before = world.true
        for what, value in steps:
            if what == "pass":
                world.pass_by(value)
            elif what == "leap":
                world.wall += value
            elif what == "fit":
                world.fit()
                ended, seen, before = world.true, None, looked
            else:
                told, looked = process.last("s").seconds, world.true
                if ended is None:
                    assert told is None
                    continue
                seen = looked if seen is None else seen
                # it may have come at any time since the look at which it was not there yet
                assert looked - seen - 1e-6 <= told <= looked - before + 1e-6
    finally:
        log.close()
