"""Which examples are taken: what passes, no duplicates, balance, ratios, and whom to keep of too many."""

from collections import Counter
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk import Task
from router_sdk.exchange.curation import NEUTRAL, Curation, Mark, doubt_of
from router_sdk.exchange.existing import FileContext
from router_sdk.records import Example, Signals

from ..store.conftest import Log


@pytest.fixture
def log(store_path):
    made = Log(store_path)
    yield made
    made.close()


marks = st.lists(
    st.builds(
        lambda labelled, label, same, doubt, seen: (labelled, label if labelled else None, same, doubt, seen),
        st.booleans(),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from([None, "x", "y", "z"]),
        st.floats(0.0, 1.0),
        st.integers(1, 100),
    ),
    max_size=60,
).map(
    lambda rows: [
        Mark(place, f"{place:032x}", seen, labelled, label, same, doubt)
        for place, (labelled, label, same, doubt, seen) in enumerate(rows, start=1)
    ]
)
prefers = st.sampled_from(["newest", "uncertain"])


@given(marks, st.integers(0, 70), prefers, st.integers(0, 5))
@settings(max_examples=50)
def test_so_many_are_kept_in_order_and_each_time_the_same(given_marks, most, prefer, seed):
    curation = Curation(prefer=prefer, seed=seed)
    kept = curation.kept(given_marks, most)
    assert len(kept) == min(most, len(given_marks))
    assert kept == [mark for mark in given_marks if mark in kept]
    assert curation.kept(given_marks, most) == kept
    assert set(curation.kept(given_marks, most // 2)) <= set(kept)
    if prefer == "newest":
        assert kept == given_marks[len(given_marks) - len(kept) :]


@given(marks, st.floats(1.0, 4.0), prefers)
@settings(max_examples=50)
def test_no_label_is_taken_more_often_than_so_many_times_the_median(given_marks, times, prefer):
    kept = Curation(prefer=prefer)._balanced(given_marks, times)
    before, after = (Counter(mark.label for mark in some if mark.labelled) for some in (given_marks, kept))
    assert [mark for mark in kept if not mark.labelled] == [mark for mark in given_marks if not mark.labelled]
    assert after.keys() == before.keys()  # nobody is left without an example
    most = max(1, times * median(before.values())) if before else 0
    assert all(count == min(before[label], int(most)) for label, count in after.items())
    assert kept == sorted(kept)


@given(marks, st.floats(0.0, 0.9), st.integers(0, 100))
@settings(max_examples=50)
def test_what_is_replayed_is_no_more_than_its_share(given_marks, share, fresh_after):
    kept = Curation(fresh_after=fresh_after)._replayed(given_marks, share)
    fresh = [mark for mark in given_marks if mark.seen > fresh_after]
    assert [mark for mark in kept if mark.seen > fresh_after] == fresh
    old = len(kept) - len(fresh)
    if fresh:
        assert old <= share * len(kept) + 1e-9
    else:
        assert kept == given_marks  # nothing is new: the past alone is trained on again


def test_the_doubtful_are_drawn_more_often():
    sure = [Mark(place, f"s{place}", 1, False, None, None, 0.0) for place in range(1, 1_001)]
    doubtful = [Mark(place, f"d{place}", 1, False, None, None, 1.0) for place in range(1_001, 1_201)]
    kept = Curation(prefer="uncertain").kept([*sure, *doubtful], 200)
    drawn = sum(mark.doubt for mark in kept)
    assert 120 < drawn < 200  # by chance alone 33; and what was sure is not left out altogether
    other = Curation(prefer="uncertain", seed=1).kept([*sure, *doubtful], 200)
    assert other != kept


def taken(log, **options):
    examples = log.tail.read(0, log.tail.head(), 10_000).examples
    return [one.task.text for one in Curation(**options).of(examples)]


def test_what_says_nothing_of_a_least_value_passes_where_it_may(log):
    told = {"good": {"quality": 0.9}, "bad": {"quality": 0.2}, "silent": {"success": True}, "angry": {"feedback": -1.0}}
    for text, outcome in told.items():
        log.tell(log.decide(task=Task(text)), **outcome)
    assert taken(log) == list(told)
    assert taken(log, min_quality=0.5) == ["good", "silent", "angry"]
    assert taken(log, min_feedback=0.0) == ["good", "bad", "silent"]
    assert taken(log, min_quality=0.5, unknown=False) == ["good"]
    assert taken(log, min_quality=0.5, min_feedback=0.0) == ["good", "silent"]
    assert taken(log, min_reward=0.9) == ["good", "silent"]


def test_the_order_of_the_rules_is_filters_duplicates_ratio_balance_most(log):
    for number in range(8):
        log.tell(log.decide(task=Task(f"a {number}")), correct_agent="a", quality=0.9)
    for number in range(2):
        log.tell(log.decide(task=Task(f"b {number}")), correct_agent="b", quality=0.1)
    log.tell(log.decide(task=Task("a 7")), correct_agent="a", quality=0.9)
    assert taken(log, dedupe=True)[-1] == "a 7"
    assert len(taken(log, dedupe=True)) == 10
    assert taken(log, balance=1.0) == [*(f"a {number}" for number in (4, 5, 6, 7)), "b 0", "b 1", "a 7"]
    assert taken(log, min_quality=0.5, balance=1.0, most=2) == ["a 7", "a 7"]
    assert taken(log, min_quality=0.5, dedupe=True, most=2) == ["a 6", "a 7"]


@pytest.mark.parametrize(
    ("agent", "outcome", "expected"),
    [
        ("a", {"latency_ms": 5.0}, 0.5),  # of two, a toss-up
        ("a", {"quality": 0.1}, 0.9),  # the favourite disappointed
        ("a", {"quality": 1.0}, 0.5),
        ("b", {"quality": 0.0}, 0.5),  # of somebody else's failure nothing follows
        ("b", {"correct_agent": "b"}, 1.0),  # somebody else would have been right
        ("b", {"correct_agent": "a"}, 0.5),
        ("a", {"no_agent_fits": True}, 1.0),
    ],
)
def test_doubt_is_what_a_decision_lacked_or_its_favourite(log, agent, outcome, expected):
    log.tell(log.decide(agent=agent), **outcome)
    (example,) = log.tail.read(0, log.tail.head(), 100).examples
    assert doubt_of(example) == pytest.approx(expected)


def test_where_nobody_here_decided_doubt_is_neutral():
    context = FileContext(("a", "b"))
    place = context.add(Task("from a file"))
    told = ("f" * 32, 0, place, 0, "a", "default", 1.0, None, Signals(success=True), None)
    assert doubt_of(Example(*told, None, 0.0, 0.0, 0.0, "observed", context)) == NEUTRAL
