import numpy as np
import pytest
from page_reader import read_page

from router_sdk.demo.page import headline, render_page
from router_sdk.demo.report import DemoReport, Trace, summarise
from router_sdk.demo.stream import Phase, Stream, StreamItem
from router_sdk.records import Agent, Task


def report_of(names: tuple[str, ...], tasks: int = 200, phase: str = "only") -> DemoReport:
    rng = np.random.default_rng(0)
    items = [
        StreamItem(Task("t"), dict(zip(names, row, strict=True)), names[int(row.argmax())])
        for row in rng.random((tasks, len(names)))
    ]
    choices: list[str | None] = [names[i] for i in rng.integers(len(names), size=tasks)]
    trace = Trace(choices, ["thompson"] * tasks, [False] * tasks, [20_000] * tasks, choices)
    half = tasks // 2
    stream = Stream(
        "A <set> & more", tuple(map(Agent, names)), (Phase("first", items[:half]), Phase(phase, items[half:]))
    )
    return summarise(stream, trace, seconds=3.0, seed=0, events={}, feedback={"late": 3}, notes=["5 < 7 & so on"])


@pytest.mark.parametrize("names", [("a",), ("a", "b<i>"), tuple(f"agent-{i}" for i in range(77))])
def test_a_page_is_well_formed_and_needs_nothing_from_outside(names: tuple[str, ...]) -> None:
    page = read_page(render_page(report_of(names)))
    assert len(page.charts) == 3
    assert "i" not in page.seen
    assert "5 < 7 & so on" in page.words


def test_every_contender_and_phase_stands_in_the_table() -> None:
    report = report_of(("a", "b"), phase="<second>")
    words = set(read_page(render_page(report)).words)
    assert {"oracle", "router", "heuristic", "random", f"always {report.single}", "first", "<second>"} <= words
    assert {f"{report.rewards[name]:.3f}" for name in report.contenders} <= words


def test_the_charts_hold_what_the_report_says() -> None:
    report = report_of(("a", "b"), phase="<second>")
    curve, answered, chosen = read_page(render_page(report)).charts
    assert curve["positions"] == list(report.curve.positions)
    assert {line["name"] for line in curve["series"]} == set(map(report.label, report.contenders))
    assert curve["series"][-1]["values"] == pytest.approx(report.curve.values["router"], abs=1e-4)
    assert curve["phases"] == [["first", 0, 100], ["<second>", 100, 200]]
    assert [line["name"] for line in answered["series"]] == ["thompson"]
    assert chosen["stacked"]
    stacked = np.sum([line["values"] for line in chosen["series"]], axis=0)
    assert stacked == pytest.approx(np.ones(len(chosen["positions"])), abs=1e-4)


def test_a_constant_reward_and_a_tiny_stream_can_be_drawn() -> None:
    items = [StreamItem(Task("t"), {"a": 1.0}, "a")] * 2
    stream = Stream("tiny", (Agent("a"),), (Phase("only", items),))
    trace = Trace(["a", "a"], ["x", "x"], [False] * 2, [1] * 2, ["a", "a"])
    page = render_page(summarise(stream, trace, seconds=0.1, seed=0, events={}, feedback={}, notes=[]))
    assert "By the end the router does as well as the heuristic" in page


def test_the_headline_does_not_hide_a_loss() -> None:
    rng = np.random.default_rng(0)
    items = [StreamItem(Task("t"), {"good": float(reward), "bad": 0.0}, "good") for reward in rng.random(200)]
    stream = Stream("set", (Agent("good"), Agent("bad")), (Phase("only", items),))
    choices: list[str | None] = ["good", "bad"] * 100
    trace = Trace(choices, ["x"] * 200, [False] * 200, [1] * 200, ["bad"] * 200)
    report = summarise(stream, trace, seconds=0.1, seed=0, events={}, feedback={}, notes=[])
    assert headline(report).startswith("By the end the router is ahead of the heuristic")
    assert headline(report).endswith("but lost to the best single agent")
