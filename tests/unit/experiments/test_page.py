"""The report as a page: well-formed, self-contained, and with what a reader looks for."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from page_reader import read_page
from rich.console import Console

from router_sdk.cli.experiment_tables import experiment_details
from router_sdk.experiments.analysis import Verdict, analyse
from router_sdk.experiments.effects import Path
from router_sdk.experiments.page import headline, outlook, render_experiment
from router_sdk.loop_settings import ExperimentConfig

from .made_up import drawn, units

EVEN = ExperimentConfig(challenger_share=0.5)


def test_a_decided_experiment_says_so_and_shows_its_path():
    found = analyse(drawn(1, 3_000, (0.6, 0.8)), EVEN, 0.0)
    page = read_page(render_experiment("tri<b>al", found))
    assert headline("trial", found) == "trial: new is better than old"
    assert "b" not in page.seen
    (drawn_path,) = page.charts
    assert [line["name"] for line in drawn_path["series"]] == ["highest", "estimate", "lowest", "no difference"]
    low, high = drawn_path["series"][2]["values"][-1], drawn_path["series"][0]["values"][-1]
    assert low == pytest.approx(100 * found.comparisons[0].difference.low, rel=1e-3)
    assert high == pytest.approx(100 * found.comparisons[0].difference.high, rel=1e-3)
    assert {found.verdict.reason, "Guardrails", "share of units with outcome", "quality, ask", "as configured"} <= {
        *page.words
    }


def test_an_open_one_says_how_long_it_may_take():
    found = analyse(drawn(1, 400, (0.7, 0.7), hours=40.0, waited_h=0.0), EVEN, 0.0)
    assert headline("trial", found) == "trial: not decided yet"
    assert f"{found.comparisons[0].remaining.units:,} more units" in outlook(found)
    assert outlook(found) in read_page(render_experiment("trial", found)).words


@pytest.mark.parametrize(("winner", "words"), [(None, "trial: stopped"), ("new", "trial: stopped, new serves")])
def test_one_that_was_stopped_says_so(winner, words):
    found = analyse(drawn(1, 400, (0.2, 0.9)), EVEN, 0.0, Verdict("stopped", winner, "another plan", 1.0))
    assert headline("trial", found) == words
    assert "another plan" in read_page(render_experiment("trial", found)).words


def test_a_sequence_is_drawn_from_where_it_stays_narrow():
    """At the first units, which may look alike, it can be narrower than soon afterwards."""
    found = analyse(drawn(1, 400, (0.6, 0.8)), EVEN, 0.0)
    half = np.array([0.1, 9.0, 2.0, 0.5, 0.5])  # of its width
    path = Path(np.arange(5.0), np.arange(5), np.zeros(5), -half, half)
    found = replace(found, comparisons=(replace(found.comparisons[0], path=path),))
    (drawn_path,) = read_page(render_experiment("trial", found)).charts
    assert drawn_path["series"][0]["values"] == [200.0, 50.0, 50.0]


@pytest.mark.parametrize("arms", [("old", "new"), ("old", "new", "newer")])
def test_before_any_unit_came(arms):
    found = analyse(units([], [], arms=arms), EVEN, 0.0)
    page = read_page(render_experiment("trial", found))
    assert page.charts == []


def test_a_raised_guardrail_and_several_challengers_stand_there():
    rng = np.random.default_rng(1)
    arm = rng.integers(0, 3, 6_000)
    quality = rng.random(6_000) < np.choose(arm, [0.8, 0.5, 0.8])
    found = analyse(units(arm, quality, 1 / 3, arms=("old", "bad", "even")), EVEN, 0.0)
    page = read_page(render_experiment("trial", found))
    assert "raised" in page.words
    assert any(word.startswith("bad: is worse by") for word in page.words)
    assert {"bad: quality of the tasks of a", "even: quality of the tasks of a"} <= {*page.words}


def test_the_command_line_says_what_the_page_does():
    found = analyse(drawn(1, 3_000, (0.6, 0.8)), EVEN, 0.0)
    told = {"analysis": found.to_dict(), "sequences": found.sequences()}
    console = Console(width=200, record=True, file=StringIO())
    for one in experiment_details(told):
        console.print(one)
    text = console.export_text()
    (gap,) = found.comparisons
    for title in ("new over time", "By metric", "Guardrails", "Who was chosen", "Units by arm"):
        assert title in text
    for mean in (gap.difference, gap.metrics["quality"], gap.task_types["ask"], gap.guardrails[0].difference):
        assert f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})" in text
    assert all(f"{arm.assigned:,}" in text for arm in found.arms)
    empty = analyse(units([], []), EVEN, 0.0)
    told = {"analysis": empty.to_dict(), "sequences": empty.sequences()}
    assert len(list(experiment_details(told))) >= 1, "before any unit came, too"
    assert list(experiment_details({"analysis": None, "sequences": {}})) == []
