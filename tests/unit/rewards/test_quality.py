import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Outcome, Task
from router_sdk.records import Signals
from router_sdk.rewards.discriminator import Discriminator
from router_sdk.rewards.quality import SIGNALS, Execution, FeedbackScorer, Score, ensemble


def execution(text="where is my refund", response=None, *parts, number=0, agent="billing"):
    signals = Signals()
    for part in parts:
        signals = signals.updated(part.signals())
    return Execution(f"{number:032x}", Task(text), agent, response, parts, signals, number)


def did(name):
    return Outcome(origin="signal", actor=name)


THUMB = st.none() | st.floats(-1, 1)
DEEDS = st.lists(st.sampled_from(sorted(SIGNALS)), max_size=4)


def test_without_anything_said_there_is_no_score():
    assert FeedbackScorer().score(execution()) is None
    assert FeedbackScorer().score(execution("x", None, Outcome(success=True))) is None
    assert FeedbackScorer().score(execution("x", None, did("yawn"))) is None


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ([Outcome(feedback=1)], 1.0),
        ([Outcome(feedback=-1)], 0.0),
        ([did("retry")], 0.1),
        ([did("copy")], 0.9),
        ([did("retry"), did("copy")], 0.5),
        ([did("retry"), did("retry")], 0.1),
        ([Outcome(feedback=1), did("retry")], (4.0 + 0.1) / 5.0),
        ([Outcome(feedback=-1), Outcome(feedback=1)], 1.0),
    ],
)
def test_a_thumb_outweighs_four_signals(said, value):
    assert FeedbackScorer().score(execution("x", None, *said)).value == pytest.approx(value)


@given(THUMB, DEEDS)
def test_what_moved_a_score_adds_up_to_it(thumb, deeds):
    said = [did(name) for name in deeds] + ([] if thumb is None else [Outcome(feedback=thumb)])
    score = FeedbackScorer().score(execution("x", None, *said))
    if not said:
        assert score is None
        return
    assert score.value == pytest.approx(0.5 + sum(score.because.values()))
    assert set(score.because) == {*deeds, *(["feedback"] if thumb is not None else [])}
    assert all(name in score.reason for name in score.because)


def test_a_signal_may_be_worth_something_else():
    assert FeedbackScorer({"shared": 1.0}).score(execution("x", None, did("shared"))).value == 1.0
    assert FeedbackScorer({"shared": 1.0}).score(execution("x", None, did("retry"))) is None


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(st.floats(0, 1), st.floats(0.1, 4)), min_size=1))
def test_an_ensemble_lies_between_its_members_and_says_whose_word_it_is(said):
    scores = {name: Score(value, weight, {"x": value - 0.5}) for name, (value, weight) in said.items()}
    joined = ensemble(scores)
    values = [score.value for score in scores.values()]
    assert min(values) - 1e-9 <= joined.value <= max(values) + 1e-9
    assert joined.value == pytest.approx(0.5 + sum(joined.because.values()))
    if len(said) > 1:
        assert set(joined.because) == {f"{name}: x" for name in said}


# -- a scorer that learns


def scored(count, seed=0, noise=0.05, signal=True):
    """Answers that apologise are bad, those with an amount are good."""
    rng = np.random.default_rng(seed)
    filler = ["order", "invoice", "today", "please", "account", "card", "refund", "letter", "week", "month"]
    found = []
    for number in range(count):
        good = rng.random() < 0.5
        words = list(rng.choice(filler, 6))
        words[int(rng.integers(6))] = "euros" if good else "sorry"
        value = float(np.clip((0.85 if good else 0.15) + rng.normal(0, noise), 0, 1)) if signal else float(rng.random())
        found.append((execution(f"question {number} {rng.choice(filler)}", " ".join(words), number=number), value))
    return found


def test_it_learns_what_good_answers_look_like_and_names_the_words():
    learnt = Discriminator()
    assert learnt.fit(scored(200)) is None
    errors = [learnt.score(one).value - value for one, value in scored(200, seed=1)]
    spread = np.std([value for _, value in scored(200, seed=1)])
    assert np.sqrt(np.mean(np.square(errors))) < 0.7 * spread
    bad = learnt.score(execution("question 3 card", "sorry please order account week card"))
    good = learnt.score(execution("question 3 card", "refund 20 euros card week today"))
    assert bad.value < 0.35 < 0.65 < good.value
    assert "response 'sorry'" in bad.because
    assert bad.because["response 'sorry'"] < 0 < good.because["response 'euros'"]
    assert 0 < good.weight <= 1


@pytest.mark.parametrize("seed", range(5))
def test_where_texts_say_nothing_it_says_nothing(seed):
    learnt = Discriminator()
    assert "no less than the mean" in learnt.fit(scored(150, seed, signal=False))
    assert learnt.score(execution("question", "sorry")) is None


def test_too_few_examples_are_said_to_be_too_few():
    assert "it takes 50" in Discriminator().fit(scored(49))
    assert "same quality" in Discriminator().fit([(one, 0.5) for one, _ in scored(60)])


def test_equal_examples_make_equal_scorers():
    first, second = Discriminator(), Discriminator()
    first.fit(scored(100))
    second.fit(scored(300, seed=3))
    second.fit(scored(100))
    told = execution("question 1 week", "sorry order")
    assert first.score(told) == second.score(told)


def test_what_is_learnt_of_repeated_texts_is_not_taken_for_foresight():
    """The same text, over and over, with one quality each: across folds nothing can be foretold."""
    rng = np.random.default_rng(0)
    values = rng.random(12)
    repeated = [
        (execution(f"topic{number % 12} alone{number % 12}", None, number=number), float(values[number % 12]))
        for number in range(240)
    ]
    assert Discriminator().fit(repeated) is not None
