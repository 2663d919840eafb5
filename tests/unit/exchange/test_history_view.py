import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Outcome, Router
from router_sdk.errors import InvalidInputError
from router_sdk.exchange import history

from ..doubles import Counting

SIZE = 13


@pytest.fixture(scope="module")
def router():
    with Router(agents=["a", "b"], strategies=[Counting], store=":memory:") as made:
        for i in range(SIZE):
            made.observe(f"task {i}", "a", Outcome(quality=i / SIZE))
            made.observe(f"unanswered {i}", "a")
        yield made


def texts(examples):
    return [example.task.text for example in examples]


ALL = [f"task {i}" for i in range(SIZE)]
bound = st.none() | st.integers(-SIZE - 4, SIZE + 4)


@given(bound, bound, st.none() | st.integers(-4, 4).filter(bool))
def test_it_slices_like_a_list(router, start, stop, step):
    assert texts(router.examples[start:stop:step]) == ALL[start:stop:step]


@given(st.integers(-SIZE - 4, SIZE + 4))
def test_it_indexes_like_a_list(router, index):
    try:
        expected = ALL[index]
    except IndexError:
        with pytest.raises(IndexError):
            router.examples[index]
    else:
        assert router.examples[index].task.text == expected


def test_it_iterates_counts_and_reverses(router):
    assert len(router.examples) == SIZE
    assert texts(router.examples) == ALL
    assert texts(reversed(router.examples)) == ALL[::-1]
    assert [example.reward for example in router.examples[:2]] == [0.0, 1 / SIZE]


@given(st.sets(st.integers(0, SIZE - 1)), bound, bound)
def test_chosen_decisions_are_a_list_of_their_own(router, chosen, start, stop):
    """Read in pieces of four, so that there are several."""
    seqs = [router.examples[place].decision_seq for place in chosen]
    some, expected = router.examples.only([*seqs, 10**6]), [ALL[place] for place in sorted(chosen)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_CHUNK", 4)
        assert (len(some), texts(some), texts(some[start:stop])) == (len(chosen), expected, expected[start:stop])
        assert texts(example for _, example in some.logged()) == expected
        assert texts(example for example, _ in some.with_responses()) == expected
        assert texts(some.only(seqs[:2])) == [ALL[place] for place in sorted(list(chosen)[:2])]
    assert some.fresh_starts() == []


def test_of_chosen_decisions_what_was_known_at_a_position_is_shown(make_router):
    router = make_router([Counting])
    decision = router.route("x")
    router.record(decision, Outcome(quality=0.1, response="first"))
    router.flush()
    (then,) = router.examples
    router.record(decision, Outcome(quality=0.2, response="second"))
    some = router.examples.only([then.decision_seq], then.seq)
    assert [one.reward for one in some] == [0.1]
    assert [len(logged.parts) for logged, _ in some.logged()] == [1]
    assert [response for _, response in some.with_responses()] == ["first"]
    assert [response for _, response in router.examples.with_responses()] == ["second"]


def test_it_shows_the_newest_revision_once(make_router):
    router = make_router([Counting])
    decision = router.route("x")
    for quality in (0.1, 0.2, 0.3):
        router.record(decision, Outcome(quality=quality))
    assert [(example.reward, example.revision) for example in router.examples] == [(0.3, 2)]


def test_a_fresh_start_of_an_agent_takes_no_example_out_of_the_count(make_router):
    router = make_router([Counting])
    decision = router.observe("x", "billing")
    router.add_agent("billing", fresh=True)
    router.record(decision, Outcome(quality=0.5))
    assert len(router.examples) == len(list(router.examples)) == len(router.examples[:])


def test_what_was_read_can_be_used_after_the_router_was_closed(make_router):
    router = make_router([Counting])
    router.observe("hello", "billing", Outcome(success=True))
    found = router.examples[-5:]
    router.close()
    assert texts(found) == ["hello"]
    assert found[0].eligible == ("analyst", "billing", "coder")


def test_an_empty_log_is_an_empty_sequence(make_router):
    router = make_router([Counting])
    assert (len(router.examples), list(router.examples), router.examples[-5:]) == (0, [], [])
    with pytest.raises(IndexError):
        router.examples[-1]


def test_it_is_filtered_lazily_and_in_order(router):
    found = router.examples.filter(lambda example: example.signals.quality > 0.5)
    assert next(found).task.text == "task 7"
    assert texts(found) == ALL[8:]


@pytest.mark.parametrize("index", [np.int64(-1), 10**30, -(10**30)])
def test_any_whole_number_is_an_index(router, index):
    if abs(index) > SIZE:
        with pytest.raises(IndexError):
            router.examples[index]
        assert texts(router.examples[index:]) == ALL[index:]
    else:
        assert router.examples[index].task.text == ALL[index]
        assert texts(router.examples[index:]) == ALL[index:]


@pytest.mark.parametrize("index", ["x", None, 1.5])
def test_what_is_no_number_is_no_index(router, index):
    with pytest.raises(TypeError):
        router.examples[index]
    with pytest.raises(InvalidInputError, match="keep: expected a function"):
        router.examples.filter(index)
    with pytest.raises(InvalidInputError, match="n: must be a whole number"):
        router.examples.ask_about(index)
