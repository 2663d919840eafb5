"""What is quarantined teaches nothing: a log read without it is a log in which it was never recorded."""

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Outcome, OutcomeReward, Task
from router_sdk.errors import InvalidIdError, InvalidInputError, UnknownDecisionError
from router_sdk.store import Store
from router_sdk.store.agents import add_agents
from router_sdk.store.quarantine import (
    above,
    add_quarantine,
    below,
    lift_quarantine,
    position_of,
    quarantined,
    quarantines,
    union,
)
from router_sdk.store.retention import archived_upto

from .conftest import Log

AT = 1_000.0
_EFFECT = "max(o.seq, d.seq)"

rewards = st.sampled_from([0.0, 0.25, 1.0])
events = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 3), st.none()),
        st.tuples(st.just("tell"), st.integers(0, 3), st.fixed_dictionaries({"quality": rewards})),
        st.tuples(st.just("tell"), st.integers(0, 3), st.just({"latency_ms": 5.0})),
        st.tuples(st.just("tell"), st.integers(0, 3), st.fixed_dictionaries({"agent": st.sampled_from("ab")})),
        st.tuples(st.just("tell"), st.integers(0, 3), st.fixed_dictionaries({"correct_agent": st.sampled_from("ab")})),
        st.tuples(st.just("fresh"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("forget"), st.integers(0, 3), st.none()),
    ),
    min_size=4,
    max_size=24,
)
ranges = st.lists(st.tuples(st.integers(0, 24), st.integers(1, 9)).map(lambda one: (one[0], sum(one))), max_size=3)


def tell(log, decision, **fields):
    """Record an outcome whose time in the log is that of all others."""
    outcome = Outcome(**fields)
    log.writer.append([log.store.entry(decision.decision_id, outcome, outcome.signals(), at=AT)])


def play(log, events):
    decisions = [log.decision(agent="ab"[i % 2], task=Task("x", session_id=f"s{i}")) for i in range(4)]
    for kind, which, value in events:
        if kind == "decide":
            log.decide(decisions[which])
        elif kind == "tell":
            tell(log, decisions[which], **value)
        elif kind == "fresh":
            add_agents(log.writer, [Agent(which)], fresh=True)
        else:
            log.forget(f"s{which}")


def without(log, path, left_out):
    """A copy of a log in which what takes effect in some ranges was never recorded."""
    with closing(sqlite3.connect(path)) as copy, closing(sqlite3.connect(log.path)) as source:
        source.backup(copy)
        with copy:
            for begin, end in left_out:
                copy.execute(
                    f"""DELETE FROM outcomes WHERE seq IN (SELECT o.seq FROM outcomes o
                        JOIN decisions d USING (decision_id) WHERE {_EFFECT} > ? AND {_EFFECT} <= ?)""",
                    (begin, end),
                )
    return Store(path)


def examples(tail, head, most, cursor=0):
    """All that is learnt from behind a position, in pieces of at most so many positions, and what else is told."""
    found, told = [], []
    while cursor < head:
        batch = tail.read(cursor, head, most)
        assert cursor < batch.upto <= head
        found += [(one, one.task.text, one.eligible) for one in batch.examples]
        told += [(batch.upto, batch.fresh_agents, batch.forgotten)] * bool(batch.fresh_agents or batch.forgotten)
        cursor = batch.upto
    return found, told


@given(events, ranges, st.integers(0, 24), st.sampled_from([1, 3, 100]))
def test_a_log_read_without_a_range_is_one_in_which_it_was_never_recorded(
    tmp_path_factory, events, ranges, start, most
):
    folder = tmp_path_factory.mktemp("log")
    log = Log(folder / "router.db")
    try:
        play(log, events)
        head, left_out = log.tail.head(), union(ranges)
        never = without(log, folder / "never.db", left_out)
        expected, reading = never.tail(OutcomeReward()), log.store.tail(OutcomeReward(), left_out)
        try:
            whole = examples(expected, head, 1_000)
            assert examples(reading, head, most) == whole
            assert {one.decision_id: one for one, *_ in whole[0]} == {
                one.decision_id: one for one, *_ in examples(reading, head, most)[0]
            }
            fresh = log.store.tail(OutcomeReward(), left_out)  # that remembers no part that it has read
            some, told = examples(fresh, head, most, start)
            assert some == [one for one in whole[0] if one[0].seq > start]
            assert told == [one for one in whole[1] if one[0] > start]
            fresh.close()
        finally:
            for each in (reading, expected):
                each.close()
            never.close()
    finally:
        log.close()


@pytest.mark.parametrize("most", [1_000, 90, 17])
@pytest.mark.parametrize(("odd", "again", "early"), [(0, 0.1, 0), (0.1, 0.3, 0), (0.1, 0.1, 0.1), (0.9, 0.5, 0.1)])
def test_in_columns_too(log, tmp_path, odd, again, early, most):
    rng = random.Random(f"{odd} {again} {early}")
    decisions = []
    for number in range(120):
        decision = log.decision(agent=rng.choice(["a", "b"]), task=Task("x", task_type=rng.choice("st")))
        late = rng.random() < early
        if not late:
            log.decide(decision)
        more = rng.choice([{"feedback": 0.5}, {"correct_agent": "b"}, {"agent": "b"}]) if rng.random() < odd else {}
        tell(log, decision, success=rng.random() < 0.5, quality=rng.random(), **more)
        if late:
            log.decide(decision)
        decisions.append(decision)
        if rng.random() < again:
            tell(log, decisions[rng.randrange(number + 1)], quality=rng.random())
    head = log.tail.head()
    for left_out in [((40, 90),), ((0, 1), (10, 11), (100, 200)), ((head - 20, head),), ((150, 170), (171, 172))]:
        never = without(log, tmp_path / f"{left_out[0][0]}.db", left_out)
        expected, reading = never.tail(OutcomeReward()), log.store.tail(OutcomeReward(), left_out)
        assert examples(reading, head, most) == examples(expected, head, 1_000)
        for cursor in range(0, head, 40):
            batch = reading.read(cursor, head, most)
            assert list(batch.columns.decision_id) == [one.decision_id for one in batch.examples]
        for each in (reading, expected, never):
            each.close()


def test_a_correction_is_learnt_against_what_was_learnt_and_not_against_what_was_left_out(log):
    one, two = log.decide(), log.decide()
    tell(log, one, quality=0.25)  # 3
    tell(log, one, quality=1.0)  # 4, left out
    tell(log, two, quality=1.0)  # 5, left out
    tell(log, one, latency_ms=3.0)  # 6
    tell(log, two, quality=0.0)  # 7
    tell(log, one, quality=0.5)  # 8
    tail = log.store.tail(OutcomeReward(), ((3, 5),))
    read = [one for one, *_ in examples(tail, 8, 100)[0]]
    found = [(one.seq, one.revision, one.reward, one.previous_reward) for one in read]
    tail.close()
    assert found == [(3, 0, 0.25, None), (6, 1, 0.25, 0.25), (7, 0, 0.0, None), (8, 2, 0.5, 0.25)]


# -- the events


def test_they_are_events_of_the_log_and_can_be_lifted(log):
    for _ in range(4):
        log.tell(log.decide(), quality=0.5)
    first = add_quarantine(log.writer, "s", 2, 5, "a judge went wild", "ops")
    assert (first, log.tail.head()) == (9, 9)
    assert add_quarantine(log.writer, "s", 2, 5, "said again", None) == 9
    second = add_quarantine(log.writer, None, 4, None, "all of it", None)
    assert [ask(log, quarantined, name) for name in ("s", "t")] == [((2, 9),), ((4, 9),)]
    lift_quarantine(log.writer, first, "it was right", "ops")
    assert log.tail.head() == 11
    assert [ask(log, quarantined, name) for name in ("s", "t")] == [((4, 9),), ((4, 9),)]
    assert [ask(log, quarantined, "s", upto) for upto in (8, 9, 10, 11)] == [(), ((2, 5),), ((2, 9),), ((4, 9),)]
    told = ask(log, quarantines)
    assert [(one.number, one.strategy, one.from_seq, one.upto_seq, one.lifted_because) for one in told] == [
        (first, "s", 2, 5, "it was right"),
        (second, None, 4, 9, None),
    ]
    assert add_quarantine(log.writer, "s", 2, 5, "and yet", None) == 12, "what was lifted may be said again"


def ask(log, query, *told):
    return log.store.reader.query(lambda connection: query(connection, *told))


@pytest.mark.parametrize(("begin", "end"), [(2, 2), (3, 2), (2, 9), (-1, 2), (2, None), (7, None)])
def test_what_holds_nothing_or_is_still_to_come_is_refused(log, begin, end):
    log.tell(log.decide(), quality=0.5)
    with pytest.raises(InvalidInputError, match="ends at 2"):
        add_quarantine(log.writer, None, begin, end, "x", None)
    assert ask(log, quarantines) == []


def test_what_is_not_in_force_is_not_lifted(log):
    log.tell(log.decide(), quality=0.5)
    number = add_quarantine(log.writer, None, 0, 2, "x", None)
    with pytest.raises(InvalidInputError, match=r"no quarantine 2 is in force; there are \[3\]"):
        lift_quarantine(log.writer, 2, "x", None)
    lift_quarantine(log.writer, number, "x", None)
    with pytest.raises(InvalidInputError, match=r"there are \[\]"):
        lift_quarantine(log.writer, number, "x", None)


def test_a_position_is_a_number_a_decision_or_a_time(log):
    decisions = [log.decide() for _ in range(3)]
    for number, decision in enumerate(decisions):
        outcome = Outcome(quality=0.5)
        log.writer.append([log.store.entry(decision.decision_id, outcome, outcome.signals(), at=AT + 60.0 * number)])
    found = {
        5: 5,
        "5": 5,
        decisions[1].decision_id: 2,
        datetime.fromtimestamp(AT + 61.0, UTC): 5,
        datetime.fromtimestamp(AT + 60.0, UTC).isoformat(): 5,
        datetime.fromtimestamp(AT + 59.0).isoformat(sep=" "): 4,
        "1970-01-01": 0,
    }
    assert {where: ask(log, position_of, where, "from_seq") for where in found} == found
    for wrong, error in (
        (7, InvalidInputError),
        (-1, InvalidInputError),
        (True, InvalidInputError),
        (None, ValueError),
    ):
        with pytest.raises(error, match=r"from_seq: expected a position of the log \(0 to 6\)"):
            ask(log, position_of, wrong, "from_seq")
    with pytest.raises(UnknownDecisionError, match="from_seq"):
        ask(log, position_of, "f" * 32, "from_seq")
    with pytest.raises(InvalidIdError, match="from_seq"):
        ask(log, position_of, "yesterday", "from_seq")


def test_how_far_back_the_log_is_whole_is_known(log):
    decisions = [log.decide(at=1.0 if number < 2 else 5.0) for number in range(3)]
    for decision in decisions:
        log.tell(decision, quality=0.5)
    assert ask(log, archived_upto) == 0
    log.archive(2.0, 6)
    assert ask(log, archived_upto) == 5
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("DELETE FROM positions WHERE name = 'moved'")
    assert ask(log, archived_upto) == 6, "an earlier release archived"


pairs = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda one: (one[0], sum(one))), max_size=6)


@given(pairs, st.integers(0, 40))
def test_ranges_are_sets_of_positions(pairs, position):
    def members(ranges):
        return {seq for begin, end in ranges for seq in range(begin + 1, end + 1)}

    joined = union(pairs)
    assert members(joined) == members(pairs)
    assert all(one[1] < other[0] for one, other in pairwise(joined))
    assert members(below(joined, position)) == {seq for seq in members(pairs) if seq <= position}
    assert members(above(joined, position)) == {seq for seq in members(pairs) if seq > position}
    assert union((*below(joined, position), *above(joined, position))) == joined
