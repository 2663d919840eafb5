import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.demo.page import headline, render_page
from router_sdk.demo.report import DemoReport, Trace, summarise
from router_sdk.demo.stream import Phase, Stream, StreamItem
from router_sdk.evaluation.drawing.svg import LABEL_GAP, kept_apart, round_ticks, shortened
from router_sdk.records import Agent, Task

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balanced(HTMLParser):
    """Collects the elements, and fails where they do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


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
    page = render_page(report_of(names))
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert parser.seen.count("svg") == 3
    assert not {"script", "link", "img", "iframe", "i"} & set(parser.seen)
    assert not re.search(r"https?:|url\(|@import|nan|inf\b", page, re.IGNORECASE)
    assert "5 < 7 & so on" in parser.words


def test_every_contender_and_phase_stands_in_the_table() -> None:
    report = report_of(("a", "b"), phase="<second>")
    parser = Balanced()
    parser.feed(render_page(report))
    assert {"oracle", "router", "heuristic", "random", f"always {report.single}", "first", "<second>"} <= set(
        parser.words
    )
    assert {f"{report.rewards[name]:.3f}" for name in report.contenders} <= set(parser.words)


def test_a_constant_reward_and_a_tiny_stream_can_be_drawn() -> None:
    items = [StreamItem(Task("t"), {"a": 1.0}, "a")] * 2
    stream = Stream("tiny", (Agent("a"),), (Phase("only", items),))
    trace = Trace(["a", "a"], ["x", "x"], [False] * 2, [1] * 2, ["a", "a"])
    page = render_page(summarise(stream, trace, seconds=0.1, seed=0, events={}, feedback={}, notes=[]))
    assert "By the end the router does as well as the heuristic" in page


@given(st.lists(st.floats(50.0, 300.0), min_size=1, max_size=10))
def test_labels_keep_apart_in_their_order_and_inside(wanted: list[float]) -> None:
    placed = kept_apart(wanted, 50.0, 300.0)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    stacked = [placed[i] for i in order]
    assert all(later - earlier >= LABEL_GAP - 1e-6 for earlier, later in pairwise(stacked))
    assert all(50.0 - 1e-6 <= at <= 300.0 + 1e-6 for at in placed)


@given(st.floats(0.0, 1.0), st.floats(0.001, 50_000.0))
def test_ticks_are_few_even_and_within_the_range(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span, 6)
    assert len(ticks) <= 7
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert np.ptp(np.diff(ticks)) <= 1e-6 * span if len(ticks) > 1 else True


def test_long_names_are_cut_in_the_middle() -> None:
    assert shortened("llama-3.1-nemotron-51b-instruct", 17) == "llama-3.1-…struct"
    assert shortened("short", 17) == "short"


def test_the_headline_does_not_hide_a_loss() -> None:
    rng = np.random.default_rng(0)
    items = [StreamItem(Task("t"), {"good": float(reward), "bad": 0.0}, "good") for reward in rng.random(200)]
    stream = Stream("set", (Agent("good"), Agent("bad")), (Phase("only", items),))
    choices: list[str | None] = ["good", "bad"] * 100
    trace = Trace(choices, ["x"] * 200, [False] * 200, [1] * 200, ["bad"] * 200)
    report = summarise(stream, trace, seconds=0.1, seed=0, events={}, feedback={}, notes=[])
    assert headline(report).startswith("By the end the router is ahead of the heuristic")
    assert headline(report).endswith("but lost to the best single agent")
