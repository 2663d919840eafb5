import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.classification import Confusion, classify, judge

NAMES = st.sampled_from(["a", "b", "c", None])


def test_a_hand_counted_example():
    found = classify(["a", "a", "b", None, "a"], ["a", "b", "b", None, None])
    assert found.accuracy == 0.6
    assert found.confusion == Confusion(("a", "b", None), ((1, 0, 0), (1, 1, 0), (1, 0, 1)), (0, 0, 0))
    a, b, nobody = found.report
    assert (a.precision, a.recall, a.support) == (pytest.approx(1 / 3), 1.0, 1)
    assert (b.precision, b.recall, b.support) == (1.0, 0.5, 2)
    assert (nobody.name, nobody.f1) == (None, pytest.approx(2 / 3))
    assert found.macro_f1 == pytest.approx((0.5 + 2 / 3 + 2 / 3) / 3)


def test_what_was_not_answered_is_wrong_and_nobodys_false_choice():
    found = classify(["a", None, None], ["a", "a", None], [True, False, True])
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.confusion == Confusion(("a", None), ((1, 0), (0, 1)), (1, 0))
    assert [figures.precision for figures in found.report] == [1.0, 1.0]
    assert [figures.recall for figures in found.report] == [0.5, 1.0]


def test_a_confusion_survives_json():
    confusion = classify(["a", None], ["b", None]).confusion
    assert Confusion.from_dict(json.loads(json.dumps(confusion.to_dict()))) == confusion


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=30))
def test_the_counts_are_complete(rows):
    chosen, labels, answered = map(list, zip(*rows, strict=True))
    found = classify(chosen, labels, answered)
    assert sum(map(sum, found.confusion.counts)) + sum(found.confusion.unanswered) == len(rows)
    assert sum(figures.support for figures in found.report) == len(rows)
    assert found.accuracy == sum(c == y and known for c, y, known in rows) / len(rows)
    assert all(0.0 <= figures.f1 <= 1.0 for figures in found.report)


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=30))
def test_the_figures_are_those_of_scikit_learn(rows):
    from sklearn.metrics import precision_recall_fscore_support

    chosen, labels, answered = map(list, zip(*rows, strict=True))
    found = classify(chosen, labels, answered)
    codes = {name: code for code, name in enumerate(found.confusion.names)}
    choices = [codes[name] if known else len(codes) for name, known in zip(chosen, answered, strict=True)]
    expected = precision_recall_fscore_support(
        [codes[label] for label in labels], choices, labels=range(len(codes)), zero_division=0.0
    )
    figures = [(one.precision, one.recall, one.f1, one.support) for one in found.report]
    assert figures == list(zip(*(column.tolist() for column in expected), strict=True))
    assert found.macro_f1 == expected[2].mean()


@pytest.mark.parametrize(("chosen", "labels"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_lengths_must_agree(chosen, labels):
    with pytest.raises(InvalidInputError):
        classify(chosen, labels)


def test_an_evaluation_brings_report_confusion_and_calibration():
    found = judge(["a", "b", "a"], ["a", "b", "b"], ["a", "b"], [0.9, 0.8, None])
    assert [figures.name for figures in found.report] == ["a", "b"]
    assert found.confusion.counts == ((1, 0), (1, 1))
    assert found.ece == pytest.approx(0.15)
    fields = json.loads(json.dumps(found.to_dict()))
    assert fields["report"][1]["recall"] == 0.5
    scored = judge(["a"], [{"a": 0.5}], ["a"], [0.7])
    assert (scored.report, scored.confusion, scored.ece) == (None, None, pytest.approx(0.2))
