from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.store import transaction as log_time
from router_sdk.store.transaction import LEAP_S, LogClock

from .conftest import Log

NOW = 1_800_000_000.0
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


class Clocks:
    """The wall's clock of a process, which may jump, and one that does not."""

    def __init__(self):
        self.wall, self.passed = NOW, 0.0

    def wait(self, seconds):
        self.wall += seconds
        self.passed += seconds

    @property
    def module(self):
        return SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.passed)


@pytest.fixture
def clocks(monkeypatch):
    clocks = Clocks()
    monkeypatch.setattr(log_time, "time", clocks.module)
    return clocks


@pytest.fixture
def log(clocks, open_log):
    return open_log()


def tell(log, at, decision=None):
    """Log an outcome that its process dates ``at``; a decision of its own, where none is given."""
    entry = log.entry(decision or log.decide(), quality=0.5)
    log.writer.append([entry._replace(outcome=(*entry.outcome[:2], at, *entry.outcome[3:]))])


def times(log):
    return [moment for (moment,) in log.query("SELECT logged_at FROM outcomes ORDER BY seq")]


def after(log):
    """The log's time of an outcome that comes now."""
    tell(log, log_time.time.time())
    return times(log)[-1]


def test_it_is_the_time_of_the_clock(log, clocks):
    for _ in range(3):
        clocks.wait(60.0)
        assert after(log) == clocks.wall


def test_a_leap_ahead_counts_for_a_week_and_once(log, clocks):
    before = after(log)
    clocks.wall += 3 * YEAR_S
    assert after(log) == before + LEAP_S
    for _ in range(3):
        clocks.wait(60.0)
        after(log)
    assert times(log)[-1] == before + LEAP_S + 180.0
    clocks.wall -= 3 * YEAR_S
    assert after(log) == before + LEAP_S + 180.0, "it stands still until the clock has caught up"
    clocks.wait(LEAP_S + 3_600.0)
    assert after(log) == clocks.wall


def test_a_night_of_sleep_is_believed(log, clocks):
    after(log)
    clocks.wall += 12 * 3_600.0
    assert after(log) == clocks.wall


def test_where_the_clock_falls_behind_time_stands_still(log, clocks):
    before = after(log)
    clocks.wall -= 3 * YEAR_S
    clocks.wait(60.0)
    assert after(log) == before
    clocks.wall += 3 * YEAR_S
    assert after(log) == clocks.wall


@pytest.mark.parametrize("leap", [-3 * YEAR_S, 3 * YEAR_S])
def test_a_process_whose_clock_is_wrong_takes_no_other_along(clocks, open_log, leap):
    mine = open_log()
    before = after(mine)
    clocks.wall += leap
    theirs = open_log()
    assert after(theirs) == before + max(0.0, min(leap, LEAP_S))
    clocks.wall -= leap
    found = [after(each) for _ in range(3) for each in (mine, theirs) if not clocks.wait(DAY_S)]
    assert before + 6 * DAY_S <= found[-1] <= before + 6 * DAY_S + LEAP_S


def test_a_first_outcome_is_held_to_the_time_at_which_the_store_was_opened(log, clocks):
    clocks.wall += 3 * YEAR_S
    assert after(log) == NOW + LEAP_S


@given(st.lists(st.tuples(st.floats(0.0, YEAR_S), st.sampled_from([0.0, 0.0, 60.0, YEAR_S, -YEAR_S, 40 * YEAR_S]))))
def test_it_never_goes_back_and_leaps_no_further_than_a_week_each_time(steps):
    clocks = Clocks()
    real, log_time.time = log_time.time, clocks.module
    try:
        clock = LogClock()
        before = clock.present
        for waited, leap in steps:
            clocks.wait(waited)
            clocks.wall += leap
            clock.look()
            assert before <= clock.present <= before + waited + LEAP_S + 1e-3
            before = clock.present
        assert clock.present <= NOW + clocks.passed + LEAP_S * sum(leap != 0.0 for _, leap in steps) + 1e-3
    finally:
        log_time.time = real


def test_a_history_keeps_its_own_times_and_what_comes_after_it_is_now(clocks, open_log):
    log = open_log()
    past = [NOW - YEAR_S + day * DAY_S for day in (0, 2, 1, 300)]
    for at in past:
        tell(log, at)
    assert times(log) == [past[0], past[1], past[1], past[3]]
    assert after(open_log()) == NOW, "also in another process"
    tell(log, past[0])
    assert times(log)[-1] == NOW, "what is imported beside what happens now counts as what happens now"


def test_nothing_is_dated_beyond_the_present(log, clocks):
    tell(log, NOW + YEAR_S)
    assert times(log) == [NOW]


def test_time_goes_on_where_everything_was_archived(clocks, open_log):
    log = open_log()
    after(log)
    clocks.wait(DAY_S)
    newest = after(log)
    log.archive(NOW * 2, log.tail.head())
    assert times(log) == []
    clocks.wall -= YEAR_S
    assert after(open_log()) == newest


def test_what_learns_sees_that_time_whatever_else_was_said(log, clocks):
    """Corrections, other tasks in between, and a decision that comes after its outcome."""
    late, early = log.decision(), log.decide()
    tell(log, NOW, early)
    tell(log, NOW, late)
    clocks.wait(DAY_S)
    tell(log, NOW + 3 * YEAR_S, early)
    tell(log, NOW - 3 * YEAR_S)
    log.decide(late)
    clocks.wait(DAY_S)
    tell(log, NOW - 3 * YEAR_S, late)
    examples = log.tail.read(0, log.tail.head(), 100).examples
    days = [((e.at - NOW) / DAY_S, (e.first_at - NOW) / DAY_S) for e in examples]
    assert days == [(0.0, 0.0), (1.0, 1.0), (1.0, 1.0)]


moments = st.floats(NOW - 2 * YEAR_S, NOW + 2 * YEAR_S)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), moments, st.floats(0.0, 1.0)), max_size=16), st.integers(1, 5)
)
def test_it_never_goes_back_for_who_learns_and_is_the_same_for_every_reader(tmp_path_factory, events, most):
    log = Log(tmp_path_factory.mktemp("log") / "router.db")
    try:
        decisions = [log.decision() for _ in range(4)]
        for which, decides, at, quality in events:
            if decides:
                log.decide(decisions[which])
            else:
                entry = log.entry(decisions[which], quality=quality)
                log.writer.append([entry._replace(outcome=(*entry.outcome[:2], at, *entry.outcome[3:]))])
        head = log.tail.head()
        whole = [(e.seq, e.at, e.first_at) for e in log.tail.read(0, head, 1_000).examples]
        assert all(first_at <= at for _, at, first_at in whole)
        assert [at for _, at, _ in whole] == sorted(at for _, at, _ in whole)
        for start in range(0, head, 3):
            tail, found, cursor = log.store.tail(log.tail._reward), [], start
            while cursor < head:
                batch = tail.read(cursor, head, most)
                found += [(e.seq, e.at, e.first_at) for e in batch.examples]
                cursor = batch.upto
            tail.close()
            assert found == [lesson for lesson in whole if lesson[0] > start]
    finally:
        log.close()
