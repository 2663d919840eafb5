import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Outcome
from router_sdk.errors import InvalidOutcomeError
from router_sdk.records import Signals

unit = st.floats(0, 1)
signals = st.builds(
    Signals,
    success=st.none() | st.booleans(),
    quality=st.none() | unit,
    feedback=st.none() | st.floats(-1, 1),
    correct_agent=st.none() | st.sampled_from(["a", "b"]),
    no_agent_fits=st.none() | st.booleans(),
    latency_ms=st.none() | unit,
    cost_usd=st.none() | unit,
    tokens=st.none() | st.integers(0, 9),
    metrics=st.none() | st.dictionaries(st.sampled_from("xy"), unit),
)


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": float("nan")},
        {"quality": float("inf")},
        {"quality": 1.0001},
        {"quality": -0.1},
        {"quality": "0.5"},
        {"quality": True},
        {"feedback": -1.5},
        {"feedback": float("nan")},
        {"success": 1},
        {"success": "yes"},
        {"latency_ms": -1.0},
        {"cost_usd": float("inf")},
        {"tokens": -1},
        {"tokens": 1.5},
        {"tokens": 2**60},
        {"metrics": {"mape": float("nan")}},
        {"metrics": {"mape": "low"}},
        {"metrics": [1]},
        {"correct_agent": "../a"},
        {"correct_agent": 3},
        {"response": "x" * 1_000_001},
        {"response": "\ud83d"},
        {"feedback_text": 5},
        {"error": object()},
        {"reward": 0.5},
        {"metrics": {f"m{number}": 1.0 for number in range(10_001)}},
        {"feedback_text": "x" * 1_000_001},
        {"error": "x" * 1_000_001},
        {"actor": "x" * 201},
    ],
)
def test_a_malformed_part_is_named(fields):
    with pytest.raises(InvalidOutcomeError, match=next(iter(fields))):
        Outcome(**fields)


@pytest.mark.parametrize("value", [None, 5, "ok", [1], {}, {1: 2}])
def test_what_is_no_outcome_is_refused(value):
    with pytest.raises(InvalidOutcomeError):
        Outcome.of(value)


def test_two_labels_that_contradict_each_other_are_refused():
    with pytest.raises(InvalidOutcomeError, match="contradict"):
        Outcome(correct_agent="a", no_agent_fits=True)


def test_an_error_is_a_failure_unless_told_otherwise():
    assert Outcome(error="boom").signals().success is False
    assert Outcome(error="boom", success=True).signals().success is True
    assert Outcome(quality=0.5).signals().success is None


@given(signals, signals)
def test_the_newest_part_wins_field_by_field_and_the_label_as_one(older, newer):
    joined = older.updated(newer)
    for field in ("success", "quality", "feedback", "latency_ms", "cost_usd", "tokens", "metrics"):
        expected = getattr(older, field) if getattr(newer, field) is None else getattr(newer, field)
        assert getattr(joined, field) == expected
    relabelled = newer.correct_agent is not None or newer.no_agent_fits is not None
    source = newer if relabelled else older
    assert (joined.correct_agent, joined.no_agent_fits) == (source.correct_agent, source.no_agent_fits)


@given(signals, signals, signals)
def test_joining_is_associative_and_telling_it_again_changes_nothing(a, b, c):
    assert a.updated(b).updated(c) == a.updated(b.updated(c))
    assert a.updated(b).updated(b) == a.updated(b)
    assert a.updated(Signals()) == a == Signals().updated(a)


def test_what_a_user_did_is_an_outcome_by_itself():
    did = Outcome(origin="signal", actor="retry")
    assert did.signals() == Signals()
    for nothing in ({"origin": "signal"}, {"actor": "retry"}, {"origin": "judge", "actor": "x"}, {"reason": "so"}):
        with pytest.raises(InvalidOutcomeError, match="at least one part"):
            Outcome(**nothing)


class SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("nothing to say")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such card"), "ValueError: no such card"),
        (ValueError("half \ud800 a pair"), "ValueError: half ? a pair"),
        (KeyError("a"), "KeyError: 'a'"),
        (SpeechlessError(), "SpeechlessError"),
    ],
)
def test_an_exception_becomes_a_text_that_every_log_takes(error, words):
    assert Outcome.error_text(error) == Outcome(error=Outcome.error_text(error)).error == words


def test_a_long_message_of_an_exception_is_cut():
    assert len(Outcome.error_text(ValueError("x" * 2_000_000))) == 100_000
