import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Task
from router_sdk.store.agents import add_agents

from .conftest import Log

rewards = st.sampled_from([0.0, 0.25, 0.5, 1.0])
events = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 4), st.none()),
        st.tuples(st.just("tell"), st.integers(0, 4), rewards),
        st.tuples(st.just("latency"), st.integers(0, 4), rewards),
        st.tuples(st.just("fresh"), st.sampled_from([0, 1]), st.none()),
        st.tuples(st.just("forget"), st.integers(0, 4), st.none()),
    ),
    max_size=24,
)


def play(log, events):
    """Decisions before, between and after their outcomes; agents added afresh; sessions forgotten."""
    decisions = [log.decision(agent="ab"[i % 2], task=Task("x", session_id=f"s{i}")) for i in range(5)]
    for kind, which, value in events:
        if kind == "decide":
            log.decide(decisions[which])
        elif kind == "tell":
            log.tell(decisions[which], quality=value)
        elif kind == "latency":
            log.tell(decisions[which], latency_ms=value)
        elif kind == "fresh":
            add_agents(log.writer, [Agent("ab"[which])], fresh=True)
        else:
            log.forget(f"s{which}")
    return decisions


@given(events, st.lists(st.integers(0, 24), max_size=6), st.integers(1, 9))
def test_revisions_depend_neither_on_batches_nor_on_where_a_reader_starts(tmp_path_factory, events, cuts, most):
    log = Log(tmp_path_factory.mktemp("log") / "router.db")
    try:
        play(log, events)
        head = log.tail.head()
        steps = sorted({min(cut, head) for cut in cuts})
        whole = log.lessons()
        assert log.lessons(steps, most) == whole
        assert len({(decision, revision) for decision, _, revision, *_ in whole}) == len(whole)
        for cut in steps:  # a reader that was opened at a snapshot
            restarted = log.store.tail(log.tail._reward)
            found, cursor = [], cut
            while cursor < head:
                batch = restarted.read(cursor, head, most)
                found += [(e.decision_id, e.seq, e.revision, e.reward, e.previous_reward) for e in batch.examples]
                cursor = batch.upto
            restarted.close()
            assert found == [lesson for lesson in whole if lesson[1] > cut]
    finally:
        log.close()


@given(events)
def test_each_revision_takes_back_exactly_what_the_one_before_gave(tmp_path_factory, events):
    log = Log(tmp_path_factory.mktemp("log") / "router.db")
    try:
        play(log, [event for event in events if event[0] != "fresh"])
        known = {}
        for decision, _, revision, reward, previous in log.lessons():
            assert (revision, previous) == known.get(decision, (0, None))
            known[decision] = (revision + 1, reward)
    finally:
        log.close()


def test_a_decision_that_comes_late_joins_what_waited_for_it_once(log):
    decision = log.decision()
    log.tell(decision, quality=0.25)
    log.tell(decision, latency_ms=5.0)
    assert log.lessons() == []
    log.decide(decision)
    log.tell(decision, quality=1.0)
    assert [lesson[1:] for lesson in log.lessons()] == [(3, 0, 0.25, None), (4, 1, 1.0, 0.25)]


def test_an_agent_added_afresh_twice_counts_the_same_for_who_restarts_in_between(log):
    old = log.decide(agent="a")
    add_agents(log.writer, [Agent("a")], fresh=True)
    cut = log.tail.head()
    log.tell(old, quality=1.0)
    add_agents(log.writer, [Agent("a")], fresh=True)
    assert log.lessons([cut]) == []
    restarted = log.store.tail(log.tail._reward)
    assert restarted.read(cut, cut + 1, 100).examples == []
    restarted.close()


def test_an_event_that_changes_the_past_stands_alone(log):
    log.tell(log.decide(), quality=0.5)
    add_agents(log.writer, [Agent("b")], fresh=True)
    log.tell(log.decide(), quality=0.5)
    batches, cursor = [], 0
    while cursor < log.tail.head():
        batches.append(log.tail.read(cursor, log.tail.head(), 100))
        cursor = batches[-1].upto
    assert [(len(batch.examples), batch.fresh_agents) for batch in batches] == [(1, ()), (0, ("b",)), (1, ())]


def test_a_reward_that_fails_on_the_log_is_unknown_and_said_so(log, caplog):
    log.tell(log.decide(), quality=0.5)
    tail = log.store.tail(lambda signals, agent: 7.0)
    assert [example.reward for example in tail.read(0, tail.head(), 10).examples] == [None]
    tail.close()
    assert "7.0" in caplog.text


@pytest.mark.parametrize("count", [1, 70])
def test_the_context_of_a_batch_is_what_was_decided(log, count):
    decisions = [log.decide(agent="ab"[i % 2]) for i in range(count)]
    for decision in decisions:
        log.tell(decision, success=True)
    for example, decision in zip(log.tail.read(0, log.tail.head(), 1_000).examples, decisions, strict=True):
        assert example.task.text == "x"
        assert example.eligible == ("a", "b")
        assert example.probabilities == {"a": 0.5, "b": 0.5}
        assert (example.agent, example.propensity) == (decision.agent, 0.5)
