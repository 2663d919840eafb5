import math

import numpy as np
import pytest

from router_sdk.evaluation.held_out import held_out_evaluation
from router_sdk.plugin import Agent, AgentSet, Proposal, Signals, Task
from router_sdk.testing import HashedWordsEncoder, make_example

from ..doubles import Fixed

AGENTS = AgentSet([Agent("a"), Agent("b"), Agent("c")])
A = {"a": 0.8, "b": 0.1, "c": 0.1}


def labelled(label, number=1, **fields):
    signals = Signals(no_agent_fits=True) if label is None else Signals(correct_agent=label)
    return make_example("a", 0.0, number=number, signals=signals, **fields)


def evaluated(answer, examples, encoders=None):
    return held_out_evaluation(Fixed(answer), examples, AGENTS, encoders or {})


def test_labels_are_compared_with_the_favourite():
    found = evaluated(A, [labelled("a"), labelled("b", 2), labelled("a", 3), labelled(None, 4)])
    assert (found.accuracy, found.value, found.ess) == (0.5, 0.5, 4.0)
    assert (found.n_labelled, found.n_matched, found.abstained, found.failed) == (4, 0, 0.0, 0)
    assert found.favourites == ("a",) * 4
    assert found.labels == ("a", "b", "a", None)
    assert found.confidences == (0.8,) * 4
    assert found.log_loss == pytest.approx(-(2 * math.log(0.8) + math.log(0.1)) / 3)


def test_nobody_fits_is_a_label_too():
    nobody = Proposal(dict.fromkeys("abc", 1 / 3), no_agent_fits=True, confidence=0.7)
    found = evaluated(lambda *_: nobody, [labelled(None), labelled("a", 2)])
    assert found.accuracy == 0.5
    assert found.favourites == (None, None)
    assert found.log_loss == pytest.approx(-math.log(0.3 / 3))


def test_rewards_count_where_the_favourite_acted_by_inverse_propensity():
    examples = [
        make_example("a", 1.0, number=1, propensity=0.5),
        make_example("a", 0.0, number=2, propensity=0.25),
        make_example("b", 1.0, number=3, propensity=0.5),
        make_example("a", 0.5, number=4, propensity=None),
        make_example("a", 1.0, number=5, propensity=0.001),
        make_example("a", None, number=6),
    ]
    found = evaluated(A, examples)
    assert (found.n_matched, found.n_labelled, found.accuracy, found.log_loss) == (4, 0, None, None)
    assert found.value == pytest.approx((2 + 0 + 0.5 + 20) / (2 + 4 + 1 + 20))
    assert found.ess == pytest.approx(27**2 / (4 + 16 + 1 + 400))


def test_a_label_counts_more_than_the_reward_beside_it():
    example = make_example("a", 1.0, signals=Signals(success=True, correct_agent="b"), propensity=0.5)
    found = evaluated(A, [example])
    assert (found.value, found.n_labelled, found.n_matched) == (0.0, 1, 0)


def test_the_estimate_is_that_of_the_target_policy():
    """Logged by a policy that prefers the worst agent; the favourite's true value is .7."""
    rng = np.random.default_rng(0)
    chances, means = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.4, 0.1])
    examples = [
        make_example("abc"[i], float(rng.random() < means[i]), number=n, propensity=chances[i])
        for n, i in enumerate(rng.choice(3, size=4_000, p=chances), start=1)
    ]
    found = evaluated(A, examples)
    assert found.value == pytest.approx(0.7, abs=0.04)
    assert found.ess == pytest.approx(found.n_matched)


def test_an_abstention_is_wrong_where_a_label_is_known_and_is_reported():
    found = evaluated(None, [labelled("a"), labelled(None, 2), make_example("a", 1.0, number=3)])
    assert (found.accuracy, found.abstained, found.n_labelled, found.n_matched) == (0.0, 1.0, 2, 0)
    assert found.log_loss == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("broken"),
        Proposal({"a": float("nan"), "b": 0.5, "c": 0.5}),
        Proposal({"a": 1.0}),
        Proposal({"a": 2.0, "b": -1.0, "c": 0.0}),
        Proposal(A, confidence=1.5),
    ],
)
def test_a_strategy_that_fails_counts_as_abstaining(answer):
    found = evaluated(lambda *_: answer, [labelled("a"), labelled("b", 2)])
    assert (found.accuracy, found.abstained, found.failed) == (0.0, 1.0, 2)


def test_a_label_that_cannot_be_chosen_says_nothing():
    found = evaluated(A, [labelled("gone"), labelled("a", 2)])
    assert (found.accuracy, found.n_labelled, found.ess) == (1.0, 1, 1.0)
    nothing = evaluated(A, [labelled("gone")])
    assert (nothing.accuracy, nothing.value, nothing.ess) == (None, None, 0.0)
    assert evaluated(A, []).answers == ()


def test_only_agents_that_can_do_what_is_required_are_chosen_from():
    agents = AgentSet([Agent("a"), Agent("b", capabilities=["sql"]), Agent("c", capabilities=["sql"])])
    seen = []

    def answer(task, among, context):
        seen.append(among.names)
        return Proposal(dict.fromkeys(among.names, 1 / len(among)))

    examples = [labelled("b", task=Task("x", requires={"sql"})), labelled("b", 2, task=Task("x", requires={"magic"}))]
    found = held_out_evaluation(Fixed(answer), examples, agents, {})
    assert seen == [("b", "c"), ("a", "b", "c")]
    assert found.accuracy == 0.5


def test_the_context_is_the_requests_own_and_logged_vectors_are_not_made_again():
    encoder = HashedWordsEncoder()
    logged = np.full(64, 7.0)
    seen = []

    def answer(task, agents, context):
        seen.append((task.text, context.history, context.now, context.encode("words")[0], context.rng.random()))
        return Proposal(A)

    examples = [
        labelled("a", task=Task("hello", history=("b",)), vectors={encoder.tag: logged}),
        labelled("a", 2, task="hello", vectors={"other:fp32": logged}),
    ]
    evaluated(answer, examples, {"words": encoder})
    evaluated(answer, examples, {"words": encoder})
    assert seen[0][:4] == ("hello", ("b",), 1.0, 7.0)
    assert seen[1][3] == encoder.encode(["hello"])[0][0] != 7.0
    assert seen[:2] == seen[2:]
