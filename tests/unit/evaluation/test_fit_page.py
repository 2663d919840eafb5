import numpy as np
import pytest
from page_reader import read_page

from router_sdk.evaluation.classification import Confusion
from router_sdk.evaluation.fit_page import UNANSWERED, grids, headline, render_fit_report
from router_sdk.pages.page import curve_chart, heat_table

CURVE = [{"epoch": float(n), "loss": 1 / n, "held_out_loss": 2 / n, "accuracy": 1 - 1 / n} for n in (1, 2, 3)]


def story(scenario, names, count=60):
    made, rng = scenario(names), np.random.default_rng(0)
    for _ in range(count):
        label = names[rng.integers(len(names))]
        wrong = names[rng.integers(len(names))]
        made.add(wrong, label if rng.random() < 0.9 else wrong, label=label)
    return made


NESTED = {"encoder": {"backend": "onnx", "checks": [{"cosine": 0.99}]}, "blend": [0.5, 1.0]}


@pytest.mark.parametrize("names", [("a",), ("a", "b<i>"), tuple(f"agent-{i}" for i in range(77))])
def test_a_page_is_well_formed_and_needs_nothing_from_outside(scenario, names):
    report = story(scenario, names).report(300, curve=CURVE, settings={"update": "<lora>", **NESTED})
    said = [("no_regression", "pass", "5 < 7 & so on", {"low": -0.125, "threshold": None}), ("latency", "fail", "slow")]
    report = report.judged(True, said, version=7)
    found = read_page(render_fit_report(report))
    assert "i" not in found.seen
    assert [chart["unit"] for chart in found.charts] == ["number", "percent"]
    assert [line["name"] for line in found.charts[0]["series"]] == ["loss", "held out loss"]
    assert found.charts[0]["positions"] == [1, 2, 3]
    assert found.seen.count("caption") == 2
    assert {"no_regression", "pass", "5 < 7 & so on", "low -0.125", "latency", "fail"} <= {*found.words}
    assert {"encoder · backend", "onnx", "encoder · checks · 1 · cosine", "0.99", "blend", "0.5, 1.0"} <= {*found.words}
    assert {"<lora>", names[0], f"bert, version 7, may serve: {report.after.accuracy:.1%} right"} <= {
        word.partition(" on held")[0] for word in found.words
    }


def test_a_page_about_nothing_says_so(scenario):
    page = render_fit_report(scenario("ab").report())
    found = read_page(page)
    assert found.charts == []
    assert "uPlot" not in page
    assert "bert was fitted: no held-out example could be judged" in found.words
    assert "Learning curve" not in found.words


def test_rewards_alone_make_a_page_too(scenario):
    made = scenario("ab")
    made.add("a", "b", acted="a", reward=0.25)
    made.add("a", "b", acted="b", reward=0.75)
    report = made.report().judged(False, [("check", "fail", "worse")])
    assert headline(report) == "bert was refused: a mean reward of 0.750 on held-out examples, 0.250 before"
    read_page(render_fit_report(report))


def test_losses_and_gains_are_told_apart(scenario):
    made = scenario("ab")
    made.add("a", "b", label="a")
    made.add("a", "b", label="b")
    page = render_fit_report(made.report(15))
    assert '<span class="loss">-100.0</span>' in page
    assert '<span class="gain">+100.0</span>' in page
    assert "it lost 100.0 points" in page


def test_matrices_side_by_side_have_the_same_rows():
    one = Confusion(("a", "b"), ((3, 1), (0, 2)), (0, 0))
    other = Confusion(("b", "c", None), ((1, 0, 0), (2, 2, 0), (0, 0, 1)), (0, 4, 0))
    before, after = grids([one, other])
    assert before.rows == after.rows == ("a", "b", "c", "no agent fits")
    assert before.columns == after.columns == (*before.rows, UNANSWERED)
    assert before.counts[0] == (3, 1, 0, 0, 0)
    assert after.counts[2] == (0, 2, 2, 0, 4)


def test_of_many_classes_those_with_mistakes_are_shown_and_nothing_is_lost():
    names = tuple(f"c{i:02d}" for i in range(30))
    counts = np.diag([10] * 30)
    counts[28, 29] = counts[3, 29] = 5
    confusion = Confusion(names, tuple(map(tuple, counts.tolist())), (0,) * 30)
    (grid,) = grids([confusion], most=5)
    assert grid.rows == ("c00", "c03", "c28", "c29", "26 others")
    assert np.sum(grid.counts) == 310
    assert grid.counts[-1] == (0, 0, 0, 0, 260)


@pytest.mark.parametrize("unit", ["percent", "number"])
@pytest.mark.parametrize("curve", [[(0.0, 0.0)], [(1.0, 0.5)], [(1.0, 1.0), (40.0, 1.0)], [(0.0, -3.0), (2.0, 900.0)]])
def test_any_curve_can_be_drawn(curve, unit):
    found = read_page(curve_chart({"a": curve, "b": [(7.0, float("nan")), *curve]}, "title", "step", unit=unit))
    (data,) = found.charts
    assert data["positions"] == sorted({7.0, *(x for x, _ in curve)})
    assert data["series"][1]["values"][data["positions"].index(7.0)] is None
    assert {"step", "a", "b"} <= set(found.words)


def test_a_matrix_says_which_counts_are_right():
    table = heat_table(("a", "<b>"), ("a", "<b>", "no answer"), ((9, 1, 0), (0, 0, 4)), "title")
    read_page(table)
    assert '<td class="right strong" style="--share: 0.95" title="a → a: 9 of 10">9</td>' in table
    assert '<td class="wrong" style="--share: 0.38" title="a → &lt;b&gt;: 1 of 10">1</td>' in table
    assert 'title="&lt;b&gt; → no answer: 4 of 4"' in table
