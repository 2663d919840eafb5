"""What a fit learns from and what judges it: equal texts and sessions are on one side, in this and in later fits."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk import Agent, Task
from router_sdk.errors import TooFewExamplesError
from router_sdk.exchange.existing import FileContext
from router_sdk.loop_settings import TrainingConfig
from router_sdk.records import Example, Signals
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


# -- what of the learning side is trained on


def file_of(*rows):
    """Examples as a file brings them: texts, or texts with their labels."""
    context = FileContext(("a", "b"))
    found = []
    for number, row in enumerate(rows):
        text, label = (row, "a") if isinstance(row, str) else row
        told = (f"f{number:031x}", 0, context.add(Task(text)), 0, label, "default", 1.0, None)
        found.append(Example(*told, Signals(correct_agent=label), None, None, 0.0, 0.0, 0.0, "observed", context))
    return found


curations = st.builds(
    TrainingConfig,
    min_quality=st.sampled_from([None, 0.6]),
    balance=st.sampled_from([None, 1.0, 2.0]),
    replay_ratio=st.sampled_from([None, 0.0, 0.5]),
    most_examples=st.sampled_from([3, 50_000]),
    prefer=st.just("uncertain"),
)


@given(histories, curations, st.integers(0, 40))
@settings(max_examples=12)
def test_what_judges_is_what_happened_whatever_is_trained_on(tmp_path_factory, history, training, fresh_after):
    log = Log(tmp_path_factory.mktemp("log") / "router.db")
    try:
        play(log, history)
        plain, curated = (
            chosen(log, held_out=0.5, fresh_after=fresh_after, training=told) for told in (None, training)
        )
        for before, after in zip(plain.divisions, curated.divisions, strict=True):
            assert ids(after.data.held_out) == ids(before.data.held_out)
            assert (after.unlearn, after.texts) == (before.unlearn, before.texts)
            assert set(ids(after.data.examples)) <= set(ids(before.data.examples))
            assert ids(after.data.examples) == [
                one for one in ids(before.data.examples) if one in ids(after.data.examples)
            ]
        assert ids(curated.left_over) == ids(plain.left_over)
        assert curated.left_out == len(plain.whole.examples) - len(curated.whole.examples)
        assert (curated.data_hash == plain.data_hash) == (training == TrainingConfig())
    finally:
        log.close()


def ids(examples):
    return [one.decision_id for one in examples]


def test_nothing_set_changes_nothing(log):
    play(log, [(Task(f"text {number // 2}"), "both") for number in range(40)])
    before, after = chosen(log), chosen(log, training=TrainingConfig())
    assert ids(before.whole.examples) == ids(after.whole.examples)
    assert (before.data_hash, before.left_out) == (after.data_hash, 0)


def test_each_part_of_a_cross_validation_is_balanced(log):
    for number in range(30):
        log.tell(log.decide(task=Task(f"text {number}")), correct_agent="b" if number % 5 == 0 else "a")
    found = chosen(log, needed=20, training=TrainingConfig(balance=1.0))
    assert found.cross_validated
    for part in (*(division.data for division in found.divisions), found.whole):
        count = Counter(one.label for one in part.examples)
        assert count["a"] <= (count["a"] + 24) / 2
        assert count["b"] > 3
    assert sum(len(division.data.held_out) for division in found.divisions) == 30
    assert found.left_out > 5


def test_without_deduplication_equal_labels_count_each(log):
    for _ in range(3):
        log.tell(log.decide(task=Task("same")), correct_agent="a")
    assert len(chosen(log, held_out=0.0).whole.examples) == 1
    assert len(chosen(log, held_out=0.0, training=TrainingConfig(dedupe=False)).whole.examples) == 3


def test_a_file_is_trained_on_and_judges_nothing(log):
    for number in range(40):
        log.tell(log.decide(task=Task(f"text {number}")), correct_agent="a")
    existing = file_of(*((f"text {number}", "b") for number in range(40)), "text 1", "new")
    found = chosen(log, held_out=0.4, training=TrainingConfig(existing_ratio=0.5), existing=existing)
    (division,) = found.divisions
    judging = {one.task.text for one in division.data.held_out}
    brought = [one for one in division.data.examples if one.decision_seq < 0]
    assert len(judging) > 5
    assert judging.isdisjoint(one.task.text for one in brought)
    assert all(one.decision_seq > 0 for one in (*division.data.held_out, *found.left_over))
    assert len(brought) == len(division.data.examples) / 2
    assert ("text 1", "a") not in {(one.task.text, one.label) for one in brought}  # so says the log


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_a_file_is_no_more_than_its_share(log, share):
    for number in range(30):
        log.tell(log.decide(task=Task(f"text {number}")), correct_agent="a")
    existing = file_of(*(f"file {number}" for number in range(100)))
    training = TrainingConfig(existing_ratio=share)
    data = chosen(log, held_out=0.0, training=training, existing=existing).whole
    brought = sum(one.decision_seq < 0 for one in data.examples)
    assert brought == min(100, int(share / (1 - share) * 30 + 1e-9))
    again = chosen(log, held_out=0.0, training=training, existing=existing).whole
    assert ids(again.examples) == ids(data.examples)


def test_another_file_is_other_data(log):
    play(log, [(Task(f"text {number}"), "both") for number in range(12)])
    hashes = {chosen(log, existing=file_of(*texts)).data_hash for texts in (["one"], ["one", "two"])}
    assert len(hashes | {chosen(log).data_hash}) == 3
