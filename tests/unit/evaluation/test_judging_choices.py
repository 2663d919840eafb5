import pytest

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.classification import judge

from ..doubles import Fixed


def test_labels_give_accuracy_and_f1():
    found = judge(["a", "b", None, "a"], ["a", "b", None, "b"], ["a", "b"], [0.9, 0.8, None, 0.1])
    assert (found.size, found.accuracy, found.mean_score, found.oracle) == (4, 0.75, 0.75, 1.0)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert (found.best_single, found.best_single_agent) == (0.5, "b")
    assert found.mean_confidence == pytest.approx(0.6)


def test_scores_give_the_best_single_agent_and_the_oracle():
    scores = [{"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.75}, {"a": 0.5, "b": 0.5}]
    found = judge(["a", "a", "b"], scores, ["a", "b"], [None] * 3)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.mean_score == pytest.approx(2 / 3)
    assert (found.best_single, found.best_single_agent) == (pytest.approx(2 / 3), "a")
    assert found.oracle == pytest.approx(0.75)
    assert found.macro_f1 is found.mean_confidence is None
    assert found.to_dict()["size"] == 3


@pytest.mark.parametrize(("chosen", "labels"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_lengths_must_agree(chosen, labels):
    with pytest.raises(InvalidInputError):
        judge(chosen, labels, ["a"], [])


@pytest.mark.parametrize("score", [float("nan"), 1.5, "high"])
def test_a_score_out_of_range_is_refused(score):
    with pytest.raises(InvalidInputError):
        judge(["a"], [{"a": score}], ["a"], [None])


def test_evaluating_logs_learns_and_explores_nothing(make_router):
    router = make_router([Fixed({"billing": 1.0})], epsilon=0.5, learn_now=True)
    found = router.evaluate(["x"] * 20, ["billing"] * 20)
    assert found.accuracy == 1.0
    assert router.status()["store"]["decisions"] == 0
    assert router.statistics()["total_examples"] == 0
