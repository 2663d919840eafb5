"""What a fit learns from and what judges it: equal texts and sessions are on one side, in this and in later fits."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk import Agent, Task
from router_sdk.config import TrainingConfig
from router_sdk.errors import TooFewExamplesError
from router_sdk.store.agents import add_agents
from router_sdk.training import selection
from router_sdk.training.selection import select

from ..store.conftest import AGENTS, Log

tasks = st.builds(
    lambda word, spelling, session: Task(spelling(f"Text {word}"), session_id=session),
    st.integers(0, 8),
    st.sampled_from([str, str.upper, str.lower, "  {}  ".format, lambda text: text.replace(" ", "\t")]),
    st.sampled_from([None, None, "s1", "s2", "s3", "s4"]),
)
histories = st.lists(st.tuples(tasks, st.sampled_from(["label", "reward", "latency", "both"])), min_size=1, max_size=40)


def play(log, history):
    for number, (task, kind) in enumerate(history):
        decision = log.decide(task=task, agent="ab"[number % 2])
        told = {
            "label": {"correct_agent": "ab"[number % 2]},
            "reward": {"quality": 0.5},
            "latency": {"latency_ms": 5.0},
            "both": {"correct_agent": "a", "quality": 1.0},
        }
        log.tell(decision, **told[kind])


def chosen(log, **options):
    return select(log.tail, AGENTS, log.tail.head(), **options)


@given(histories, st.sampled_from([0.2, 0.5]))
@settings(max_examples=30)
def test_no_text_and_no_session_is_on_both_sides(tmp_path_factory, history, share):
    log = Log(tmp_path_factory.mktemp("log") / "router.db")
    try:
        play(log, history)
        found = chosen(log, held_out=share)
        (division,) = found.divisions
        learnt, judging = division.data.examples, division.data.held_out
        sessions = [{one.task.session_id for one in side} - {None} for side in (learnt, judging)]
        texts = [{one.context_hash for one in side} - {None} for side in (learnt, judging)]
        assert sessions[0].isdisjoint(sessions[1])
        assert texts[0].isdisjoint(texts[1])
        # What serves forgets whatever it has learnt of a text or a session that judges it.
        known = {one.decision_id: one for one in selection.newest_examples(log.tail, log.tail.head())}
        kept = {known[key].context_hash for key in known.keys() - set(division.unlearn)}
        assert kept.isdisjoint(texts[1])
        assert {one.decision_id for one in judging} <= set(division.unlearn)
        assert set(division.texts) >= texts[1]
        # Nothing is lost: what neither side has is learnt afterwards.
        usable = {one.decision_id for one in (*learnt, *found.left_over)}
        told = [key for key, one in known.items() if one.labelled or one.reward is not None]
        assert usable <= set(told)
        assert [one.seq for one in found.left_over] == sorted(one.seq for one in found.left_over)
        assert {one.decision_id for one in judging} <= {one.decision_id for one in found.left_over}
    finally:
        log.close()


loners = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(loners, loners)
@settings(max_examples=20)
def test_an_example_stays_on_its_side_while_the_log_grows(tmp_path_factory, before, after):
    """A candidate must not be judged on what the version before was taught, nor taught what judged it."""
    log = Log(tmp_path_factory.mktemp("log") / "router.db")
    try:
        sides = []
        for texts in (before, after):
            play(log, [(Task(f"text {number}"), "reward") for number in texts])
            (division,) = chosen(log, held_out=0.5).divisions
            sides.append(
                [{one.context_hash for one in side} for side in (division.data.examples, division.data.held_out)]
            )
        (learnt, judging), (learnt_later, judging_later) = sides
        assert learnt <= learnt_later
        assert judging <= judging_later
        assert learnt_later.isdisjoint(judging_later)
    finally:
        log.close()


def test_copies_in_any_spelling_are_on_one_side(log):
    for number in range(60):
        for text in (f"Text {number}", f"TEXT  {number}", f"text {number}\n"):
            log.tell(log.decide(task=Task(text)), quality=0.5)
    (division,) = chosen(log, held_out=0.3).divisions
    held = Counter(one.context_hash for one in division.data.held_out)
    assert 5 < len(held) < 35
    assert set(held.values()) == {3}


def test_texts_of_another_script_are_equal_in_either_unicode_form(log):
    for text in ("caf\u00e9", "cafe\u0301", "CAF\u00c9"):
        log.tell(log.decide(task=Task(text)), quality=0.5)
    assert len({one.context_hash for one in selection.newest_examples(log.tail, log.tail.head())}) == 1


def test_what_was_pre_trained_and_is_imported_later_has_the_same_side(log, open_log):
    """The same texts in two stores: what one holds out, the other does."""
    texts = [f"question {number}" for number in range(50)]
    sides = []
    for one in (log, open_log("other.db")):
        for text in texts:
            one.tell(one.decide(task=Task(text)), correct_agent="a")
        (division,) = chosen(one).divisions
        sides.append({example.task.text for example in division.data.held_out})
    assert sides[0] == sides[1]
    assert 3 < len(sides[0]) < 20


def test_few_examples_judge_in_turn_and_each_once(log):
    for number in range(12):
        log.tell(log.decide(task=Task(f"text {number // 2}")), quality=0.5)
    found = chosen(log, needed=5)
    assert found.cross_validated
    judged = Counter(one.decision_id for division in found.divisions for one in division.data.held_out)
    assert len(judged) == 12
    assert set(judged.values()) == {1}
    for division in found.divisions:
        learnt, judging = (
            {one.context_hash for one in side} for side in (division.data.examples, division.data.held_out)
        )
        assert learnt.isdisjoint(judging)
        assert len(division.data.examples) + len(division.data.held_out) == 12
        assert set(division.unlearn) == {one.decision_id for one in division.data.held_out}
    assert len(found.whole.examples) == 12
    assert list(found.whole.held_out) == []
    assert list(found.left_over) == []


def test_sessions_that_share_a_text_judge_together(log):
    for session, text in (
        ("s1", "one"),
        ("s1", "shared"),
        ("s2", "shared"),
        ("s2", "two"),
        ("s3", "three"),
        (None, "two"),
    ):
        log.tell(log.decide(task=Task(text, session_id=session)), quality=0.5)
    parts = [{one.task.text for one in part.data.held_out} for part in chosen(log, needed=5).divisions]
    assert sorted(map(sorted, parts)) == [["one", "shared", "two"], ["three"]]


def test_enough_examples_are_held_out_once(log):
    for number in range(120):
        log.tell(log.decide(task=Task(f"text {number}")), quality=0.5)
    found = chosen(log, needed=5)
    assert not found.cross_validated
    assert 10 <= len(found.divisions[0].data.held_out) < 50


def test_a_session_of_two_tenants_is_two_groups(log):
    for tenant in ("acme", "globex"):
        for number in range(4):
            task = Task(f"{tenant} {number}", session_id="1", tenant=tenant)
            log.tell(log.decide(task=task), quality=0.5)
    found = chosen(log, needed=2)
    judged = [{one.task.tenant for one in division.data.held_out} for division in found.divisions]
    assert judged == [{"acme"}, {"globex"}]


@pytest.mark.parametrize("kind", ["few", "one text", "one session", "latency alone"])
def test_where_nothing_can_judge_nothing_is_begun(log, kind):
    for number in range(4 if kind == "few" else 12):
        task = Task(
            "the same" if kind == "one text" else f"t {number}", session_id="s" if kind == "one session" else None
        )
        log.tell(log.decide(task=task), **({"latency_ms": 1.0} if kind == "latency alone" else {"quality": 0.5}))
    with pytest.raises(TooFewExamplesError, match="insufficient"):
        chosen(log, needed=5)


def test_of_equal_labelled_tasks_the_newest_counts_and_rewards_count_each(log):
    task = Task("same", features={"x": 1.0})
    for label in ("a", "b", "a"):
        log.tell(log.decide(task=task), correct_agent=label)
    other = log.decide(task=Task("same", features={"x": 2.0}))
    log.tell(other, correct_agent="a")
    for _ in range(3):
        log.tell(log.decide(task=task), quality=0.5)
    learnt = chosen(log, held_out=0.0).whole.examples
    labelled = [(one.label, one.task.features["x"]) for one in learnt if one.label]
    assert labelled == [("b", 1.0), ("a", 1.0), ("a", 2.0)]
    assert sum(one.reward == 0.5 for one in learnt) == 3


def test_what_was_forgotten_or_belongs_to_an_agent_added_afresh_is_left_out(log):
    log.tell(log.decide(agent="a", task=Task("before")), quality=0.5)
    log.tell(log.decide(agent="b", task=Task("mine", session_id="s")), quality=0.5)
    kept = log.decide(agent="b", task=Task("kept"))
    log.tell(kept, quality=0.5)
    add_agents(log.writer, [Agent("a")], fresh=True)
    log.forget("s")
    upto = log.tail.head()
    log.tell(log.decide(task=Task("later")), quality=0.5)
    found = select(log.tail, AGENTS, upto, held_out=0.0).whole
    assert [one.decision_id for one in found.examples] == [kept.decision_id]
    assert (found.upto, found.agents) == (upto, AGENTS)


def test_the_newest_are_taken_where_there_are_too_many(log, monkeypatch):
    monkeypatch.setattr("router_sdk.training.division.MOST_HELD_OUT", 3)
    decisions = [log.decide(task=Task(f"text {number}")) for number in range(50)]
    for decision in decisions:
        log.tell(decision, quality=0.5)
    found = chosen(log, held_out=0.5, training=TrainingConfig(most_examples=40))
    (one,) = found.divisions
    held, learnt = ([one.decision_id for one in side] for side in (one.data.held_out, one.data.examples))
    assert len(held) == 3
    newest = [one.decision_id for one in decisions[10:]]
    assert sorted(held + learnt) == sorted(newest)
    assert held == sorted(held, key=newest.index)


def test_of_what_could_be_held_out_the_older_is_not_learnt_where_the_newer_is_its_copy(log, monkeypatch):
    monkeypatch.setattr("router_sdk.training.division.MOST_HELD_OUT", 2)
    texts = [f"text {number}" for number in range(30)] * 2
    for text in texts:
        log.tell(log.decide(task=Task(text)), quality=0.5)
    (only,) = chosen(log, held_out=0.5).divisions
    judging = {one.context_hash for one in only.data.held_out}
    assert len(judging) == 2
    assert judging.isdisjoint(one.context_hash for one in only.data.examples)


def test_the_same_examples_have_the_same_hash_and_one_more_another(log):
    for number in range(12):
        log.tell(log.decide(task=Task(f"text {number}")), quality=0.5)
    first = chosen(log).data_hash
    assert chosen(log, held_out=0.5, needed=5).data_hash == first
    log.tell(log.decide(task=Task("one more")), quality=0.5)
    assert chosen(log).data_hash != first
