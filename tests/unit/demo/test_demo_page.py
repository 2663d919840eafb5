import numpy as np
import pytest
from page_reader import read_page

from router_sdk.demo.contestant import LEARNING_OFF, ROUTER, FitMark, Trace
from router_sdk.demo.page import headline, render_page
from router_sdk.demo.report import OVERALL, DemoReport
from router_sdk.demo.stream import Phase, Stream, StreamItem
from router_sdk.demo.summary import summarise
from router_sdk.records import Agent, Task


def trace_of(choices: list[str | None], **more: object) -> Trace:
    n = len(choices)
    fields = {"strategies": ["thompson"] * n, "explored": [False] * n, "route_ns": [20_000] * n, "fitting": [False] * n}
    return Trace(agents=choices, **{**fields, **more})


def report_of(names: tuple[str, ...], tasks: int = 200, phase: str = "only", seeds: int = 2) -> DemoReport:
    rng = np.random.default_rng(0)
    streams, traces = {}, {ROUTER: [], "thompson alone": [], LEARNING_OFF: []}
    for seed in range(seeds):
        items = [
            StreamItem(Task(f"t{i}", session_id=f"{seed}-{i // 3}"), dict(zip(names, row, strict=True)), names[0])
            for i, row in enumerate(rng.random((tasks, len(names))))
        ]
        half = tasks // 2
        streams[seed] = Stream(
            "A <set> & more",
            tuple(map(Agent, names)),
            (Phase("first", items[:half]), Phase(phase, items[half:])),
            probes={"first": [(Task(f"p{i}"), names[0]) for i in range(5)]},
            notes=("5 < 7 & so on",),
        )
        for each in traces.values():
            each.append(trace_of([names[i] for i in rng.integers(len(names), size=tasks)]))
        traces[ROUTER][-1].fits = [FitMark(9, "bert", "by hand", "refused", 4, 2.0, 0.7, 0.61, 30, False, "1 < 2")]
        traces[ROUTER][-1].probed = {
            "first": [(half, (True, True, True, False, False)), (tasks, (True, True) + (False,) * 3)]
        }
        traces[ROUTER][-1].confidence = [(half, 0.5), (tasks, 0.5)]
        traces[ROUTER][-1].feedback = {"late": 3}
    act = summarise("file", streams, traces)
    return DemoReport((act,), ("thompson", "<x>"), 3.0, 1, ("all < of them",))


@pytest.mark.parametrize("names", [("a",), ("a", "b<i>"), tuple(f"agent-{i}" for i in range(77))])
def test_a_page_is_well_formed_and_needs_nothing_from_outside(names: tuple[str, ...]) -> None:
    page = read_page(render_page(report_of(names)))
    assert len(page.charts) == 5
    assert "i" not in page.seen
    assert {"5 < 7 & so on", "all < of them", "router, seed 0, after 9 tasks: 1 < 2"} <= set(page.words)


def test_every_act_contestant_and_phase_stands_in_the_tables() -> None:
    act = report_of(("a", "b"), phase="<second>").acts[0]
    report = DemoReport((act, act), ("thompson",), 3.0, 1, ())
    page = read_page(render_page(report))
    words = set(page.words)
    assert len(page.charts) == 10
    assert {"oracle", "router", "thompson alone", "learning off", "random", f"always {act.single}"} <= words
    assert {"first", "<second>", OVERALL, "regret", "seeds ahead"} <= words
    assert {f"{act.rewards[name]:.3f}" for name in act.contestants} <= words
    assert {f"{one.difference:+.3f}" for one in act.comparisons} <= words
    assert {"0.700", "0.610", "refused"} <= words  # what the fit changed
    assert any(word.startswith("Act 2 of 2") for word in words)


def test_the_charts_hold_what_the_report_says() -> None:
    act = report_of(("a", "b"), phase="<second>").acts[0]
    curve, answered, chosen, accuracy, _ = read_page(render_page(DemoReport((act,), ("x",), 1.0, 1, ()))).charts
    assert curve["positions"] == list(act.curve.positions)
    assert {line["name"] for line in curve["series"]} == set(map(act.label, act.contestants))
    assert curve["series"][-1]["values"] == pytest.approx(act.curve.values["router"], abs=1e-4)
    assert len({line["colour"] for line in curve["series"]}) == len(act.contestants)
    assert curve["phases"] == [["first", 0, 100], ["<second>", 100, 200]]
    assert [line["name"] for line in answered["series"]] == ["thompson"]
    assert chosen["stacked"]
    stacked = np.sum([line["values"] for line in chosen["series"]], axis=0)
    assert stacked == pytest.approx(np.ones(len(chosen["positions"])), abs=1e-4)
    assert accuracy["series"][0]["values"] == [0.6, 0.4]


def test_a_constant_reward_and_a_tiny_stream_can_be_drawn() -> None:
    items = [StreamItem(Task("t"), {"a": 1.0}, "a")] * 2
    stream = Stream("tiny", (Agent("a"),), (Phase("only", items),))
    act = summarise("file", {0: stream}, {ROUTER: [trace_of(["a", "a"])], LEARNING_OFF: [trace_of(["a", "a"])]})
    page = render_page(DemoReport((act,), ("x",), 0.1, 1, ()))
    assert "Learning makes no difference that can be told" in page
    assert "None of the 6 comparisons was lost." in page


def test_the_headline_does_not_hide_a_loss_and_losses_stand_beside_wins() -> None:
    rng = np.random.default_rng(0)
    items = [StreamItem(Task(f"{i}"), {"good": float(r), "bad": 0.0}, "good") for i, r in enumerate(rng.random(200))]
    stream = Stream("set", (Agent("good"), Agent("bad")), (Phase("only", items),))
    traces = {
        ROUTER: [trace_of(["good", "bad"] * 100)],
        "x alone": [trace_of(["good"] * 200)],
        LEARNING_OFF: [trace_of(["bad"] * 200)],
    }
    report = DemoReport((summarise("file", {0: stream}, traces),), ("x",), 0.1, 1, ())
    assert headline(report).startswith("Learning pays: +0.")
    assert headline(report).endswith("but the router lost to x alone and always good")
    page = render_page(report)
    assert 'class="loss">-0.' in page
    assert 'class="gain">+0.' in page
    assert "Against x alone, in “only”: -0." in page
