import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.demo.report import (
    BEST_SINGLE,
    HEURISTIC,
    NO_AGENT,
    ORACLE,
    OTHERS,
    RANDOM,
    ROUTER,
    Trace,
    compared,
    moving_averages,
    shares,
    summarise,
)
from router_sdk.demo.stream import Phase, Stream, StreamItem
from router_sdk.records import Agent, Task

TASK = Task("text")


def stream_of(rows: list[tuple[float, float]]) -> Stream:
    items = [StreamItem(TASK, {"a": a, "b": b}, "a" if a >= b else "b") for a, b in rows]
    half = len(items) // 2
    return Stream("set", (Agent("a"), Agent("b")), (Phase("one", items[:half]), Phase("two", items[half:])))


def test_every_number_of_a_small_report() -> None:
    stream = stream_of([(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.0)])
    trace = Trace(
        ["a", "a", "a", "b"], ["x", "x", "y", "y"], [False, False, False, True], [1000] * 4, ["b", "b", "b", "a"]
    )
    report = summarise(stream, trace, seconds=1.0, seed=7, events={"decisions": 4}, feedback={}, notes=["note"])
    assert report.rewards == {ROUTER: 0.5, HEURISTIC: 0.375, BEST_SINGLE: 0.625, RANDOM: 0.4375, ORACLE: 0.875}
    assert report.regret == {ROUTER: 1.5, HEURISTIC: 2.0, BEST_SINGLE: 1.0, RANDOM: 1.75, ORACLE: 0.0}
    assert report.single == "a"
    assert report.label(BEST_SINGLE) == "always a"
    assert [phase.rewards[ROUTER] for phase in report.phases] == [0.5, 0.5]
    assert report.phases[1].agents == {"a": 0.5, "b": 0.5}
    assert report.phases[1].strategies == {"y": 1.0}
    assert (report.phases[1].opening, report.phases[1].closing) == (1.0, 0.0)
    assert report.explored == 0.25
    assert report.route_p50_us == 1.0
    assert report.to_dict()["comparisons"][0]["verdict"] == "even"


def test_no_agent_is_right_where_none_fits() -> None:
    items = [StreamItem(TASK, {"a": 0.0, "b": 0.0}, None)] * 10
    stream = Stream("set", (Agent("a"), Agent("b")), (Phase("only", items),))
    trace = Trace([None] * 10, ["x"] * 10, [False] * 10, [1] * 10, ["a"] * 10)
    report = summarise(stream, trace, seconds=1.0, seed=0, events={}, feedback={}, notes=[])
    assert report.rewards[ROUTER] == report.rewards[ORACLE] == 1.0
    assert report.phases[0].agents == {NO_AGENT: 1.0}


def test_a_comparison_says_when_the_router_loses() -> None:
    rng = np.random.default_rng(0)
    better, worse = rng.random(2000) * 0.5 + 0.2, rng.random(2000) * 0.5
    assert compared(better, worse, HEURISTIC, "overall").verdict == "won"
    lost = compared(worse, better, BEST_SINGLE, "two")
    assert lost.verdict == "lost"
    assert lost.sentence.startswith("Against the best single agent, in “two”: -0.")
    assert compared(better, rng.permutation(better), HEURISTIC, "overall").verdict == "even"


def test_the_interval_of_a_comparison_covers() -> None:
    rng = np.random.default_rng(1)
    trials = [compared(rng.random(400) + 0.1, rng.random(400), HEURISTIC, "overall") for _ in range(400)]
    assert np.mean([trial.low <= 0.1 <= trial.high for trial in trials]) == pytest.approx(0.95, abs=0.03)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=400))
def test_moving_averages_are_means_of_the_last_tasks(rewards: list[float]) -> None:
    series = moving_averages({ROUTER: np.array(rewards)})
    assert series.positions[-1] == len(rewards)
    for end, value in zip(series.positions, series.values[ROUTER], strict=True):
        assert value == pytest.approx(float(np.mean(rewards[max(0, end - series.window) : end])), abs=1e-9)


@given(st.lists(st.sampled_from(["a", "b", "c", OTHERS]), min_size=1, max_size=300))
def test_shares_sum_to_one_and_others_come_last(names: list[str]) -> None:
    series = shares(names)
    assert np.array(list(series.values.values())).sum(axis=0) == pytest.approx(np.ones(len(series.positions)))
    assert set(series.values) == set(names)
    assert OTHERS not in names or list(series.values)[-1] == OTHERS


def test_a_crowd_of_agents_is_folded_into_others() -> None:
    names = [f"agent-{i}" for i in range(20)]
    items = [StreamItem(TASK, dict.fromkeys(names, 0.5), names[0])] * 60
    stream = Stream("set", tuple(map(Agent, names)), (Phase("only", items),))
    choices: list[str | None] = [names[min(i % 25, 19)] for i in range(60)]
    trace = Trace(choices, ["x"] * 60, [False] * 60, [1] * 60, choices)
    report = summarise(stream, trace, seconds=1.0, seed=0, events={}, feedback={}, notes=[])
    assert len(report.chosen.values) == 7
    assert list(report.chosen.values)[-1] == OTHERS
