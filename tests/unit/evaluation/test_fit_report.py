import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.evaluation.continual import Change, forgetting_table
from router_sdk.evaluation.fit_report import FitReport

from .conftest import Scenario

CURVE = [{"epoch": 1, "loss": 0.9, "accuracy": 0.5}, {"epoch": 2, "loss": float("nan"), "accuracy": 0.75}]
SAID = st.sampled_from(["a", "b", None, "-"])


def changed(before, after, examples=1.0):
    return Change(examples, before, after)


def test_old_and_fresh_examples_are_told_apart(scenario):
    story = scenario("ab")
    story.add("a", "b", label="a")
    story.add("a", "a", label="a")
    story.add("a", "b", label="b")
    story.add("a", "b", acted="b", reward=1.0)
    everybody, a, b = forgetting_table(story.evaluated("before"), story.evaluated("after"), fresh_after=21)
    assert (everybody.overall, everybody.old, everybody.fresh) == (True, changed(1.0, 0.5, 2.0), changed(0.0, 1.0))
    assert (a.name, a.old, a.fresh) == ("a", changed(1.0, 0.5, 2.0), None)
    assert (b.name, b.old, b.fresh) == ("b", None, changed(0.0, 1.0))
    assert a.old.gained == -0.5


def test_without_labels_rewards_are_compared(scenario):
    story = scenario("ab")
    story.add("a", "a", acted="a", reward=0.25)
    story.add("a", "b", acted="b", reward=1.0)
    (everybody,) = forgetting_table(story.evaluated("before"), story.evaluated("after"), fresh_after=0)
    assert everybody.fresh == changed(0.25, 0.625)
    assert everybody.old is None


def test_a_report_sums_both_evaluations_up(scenario):
    story = scenario("ab")
    for before, after, label in [("a", "a", "a"), ("a", "b", "b"), ("-", "b", "b"), ("a", None, None)]:
        story.add(before, after, label=label)
    story.add("a", "a", acted="a", reward=0.5)
    report = story.report(curve=CURVE, settings={"update": "lora"})
    assert (report.examples, report.held_out, report.duration_s) == (10, 5, 2.0)
    assert (report.before.accuracy, report.after.accuracy) == (0.25, 1.0)
    assert (report.before.abstained, report.after.abstained) == (0.2, 0.0)
    assert report.before.confusion.unanswered == (0, 1, 0)
    assert report.after.confusion.counts == ((1, 0, 0), (0, 2, 0), (0, 0, 1))
    assert report.after.macro_f1 == 1.0
    assert report.before.ece == pytest.approx(0.8 - 1 / 3)
    assert report.after.n_matched == 1
    assert report.curve == ({"epoch": 1.0, "loss": 0.9, "accuracy": 0.5}, {"epoch": 2.0, "accuracy": 0.75})
    assert (report.passed, report.version) == (None, None)


def test_the_gates_word_is_added_later(scenario):
    story = scenario("ab")
    story.add("a", "a", label="a")
    report = story.report().judged(False, [("no_regression", "fail", "worse")], version=3)
    assert (report.passed, report.version, report.verdicts[0].status) == (False, 3, "fail")


@given(
    st.lists(st.tuples(SAID, SAID, st.sampled_from(["a", "b", "gone", None, ""])), max_size=12),
    st.integers(0, 130),
)
def test_a_report_survives_json(rows, fresh_after):
    story = Scenario("ab")
    for before, after, label in rows:
        story.add(before, after, label=label, acted="a", reward=0.5)
    report = story.report(fresh_after, curve=CURVE, settings={"epochs": 2})
    report = report.judged(True, [("check", "pass", "why")], version=1)
    assert FitReport.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report
