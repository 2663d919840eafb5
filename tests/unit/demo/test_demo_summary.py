from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.demo.contestant import LEARNING_OFF, ROUTER, FitMark, Trace, contestants
from router_sdk.demo.report import (
    BEST_SINGLE,
    FORGIVEN,
    NO_AGENT,
    ORACLE,
    OTHERS,
    OVERALL,
    RANDOM,
    ActReport,
    DemoReport,
)
from router_sdk.demo.stream import Phase, Stream, StreamItem
from router_sdk.demo.summary import moving_averages, retentions, shares, summarise
from router_sdk.records import Agent, Task


def stream_of(rows: Sequence[tuple[float, float]], sessions: Sequence[str] | None = None) -> Stream:
    items = [
        StreamItem(Task(f"text {i}", session_id=sessions and sessions[i]), {"a": a, "b": b}, "a" if a >= b else "b")
        for i, (a, b) in enumerate(rows)
    ]
    half = len(items) // 2
    return Stream("set", (Agent("a"), Agent("b")), (Phase("one", items[:half]), Phase("two", items[half:])))


def trace_of(agents: Sequence[str | None], strategies: Sequence[str] | None = None, **more: object) -> Trace:
    n = len(agents)
    fields = {"explored": [False] * n, "route_ns": [1_000] * n, "fitting": [False] * n, **more}
    return Trace(agents=list(agents), strategies=list(strategies or ["x"] * n), **fields)


def report_of(streams: Mapping[int, Stream], **agents: Sequence[Sequence[str | None]]) -> ActReport:
    named = {name.replace("_", " "): [trace_of(each) for each in of_seed] for name, of_seed in agents.items()}
    return summarise("file", streams, named)


def test_every_number_of_a_small_report() -> None:
    stream = stream_of([(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.0)])
    ours = trace_of(
        ["a", "a", "a", "b"], ["x", "x", "y", "y"], explored=[False, False, False, True], fitting=[True, *[False] * 3]
    )
    off = trace_of(["b", "b", "b", "a"])
    report = summarise("file", {7: stream}, {ROUTER: [ours], LEARNING_OFF: [off]})
    assert report.rewards == {ROUTER: 0.5, LEARNING_OFF: 0.375, BEST_SINGLE: 0.625, RANDOM: 0.4375, ORACLE: 0.875}
    assert report.regret == {ROUTER: 1.5, LEARNING_OFF: 2.0, BEST_SINGLE: 1.0, RANDOM: 1.75, ORACLE: 0.0}
    assert report.ranking == [ORACLE, BEST_SINGLE, ROUTER, RANDOM, LEARNING_OFF]
    assert (report.single, report.label(BEST_SINGLE)) == ("a", "always a")
    assert [phase.rewards[ROUTER] for phase in report.phases] == [0.5, 0.5]
    assert report.phases[1].agents == {"a": 0.5, "b": 0.5}
    assert report.phases[1].strategies == {"y": 1.0}
    assert (report.phases[1].opening, report.phases[1].closing) == (1.0, 0.0)
    assert report.explored == 0.25
    assert report.idle is not None
    assert report.during_fits is not None
    assert (report.idle.calls, report.idle.p50_us, report.during_fits.calls) == (3, 1.0, 1)


def test_every_contestant_is_compared_in_every_phase() -> None:
    report = report_of(
        {0: stream_of([(1.0, 0.0)] * 8)}, router=[["a"] * 8], x_alone=[["b"] * 8], learning_off=[["a"] * 8]
    )
    scopes = {(one.contestant, one.scope) for one in report.comparisons}
    others = {"x alone", LEARNING_OFF, BEST_SINGLE, RANDOM}
    assert scopes == {(name, scope) for name in others for scope in ("one", "two", OVERALL)}
    with pytest.raises(KeyError):
        report.comparison(ORACLE)


def test_seeds_are_taken_together_and_told_apart() -> None:
    streams = {seed: stream_of([(1.0, 0.0)] * 8) for seed in (4, 5)}
    report = report_of(streams, router=[["a"] * 8, ["b"] * 8], learning_off=[["b"] * 8, ["b"] * 8])
    assert report.seeds == (4, 5)
    assert report.by_seed[ROUTER] == (1.0, 0.0)
    assert report.rewards[ROUTER] == 0.5
    assert (report.comparison(LEARNING_OFF).ahead, report.comparison(LEARNING_OFF).seeds) == (1, 2)
    assert report.phases[0].agents == {"a": 0.5, "b": 0.5}


def test_tasks_of_a_session_count_as_one_and_the_same_row_with_two_seeds_too() -> None:
    rows = [(1.0, 0.0), (0.0, 1.0)] * 6
    of_sessions = stream_of(rows, [f"s{i // 2}" for i in range(12)])
    report = report_of({0: of_sessions}, router=[["a"] * 12], learning_off=[["b"] * 12])
    assert report.sessions == 6
    overall = report.comparison(LEARNING_OFF)
    assert (overall.difference, overall.low, overall.high) == (0.0, 0.0, 0.0)
    again = report_of(dict.fromkeys((0, 1), stream_of(rows)), router=[["a"] * 12] * 2, learning_off=[["b"] * 12] * 2)
    assert again.sessions == 12


def test_no_agent_is_right_where_none_fits() -> None:
    items = [StreamItem(Task(f"t{i}"), {"a": 0.0, "b": 0.0}, None) for i in range(10)]
    stream = Stream("set", (Agent("a"), Agent("b")), (Phase("only", items),))
    report = report_of({0: stream}, router=[[None] * 10], learning_off=[["a"] * 10])
    assert report.rewards[ROUTER] == report.rewards[ORACLE] == 1.0
    assert report.phases[0].agents == {NO_AGENT: 1.0}


def test_a_loss_is_said_as_a_win_is() -> None:
    rng = np.random.default_rng(0)
    rows = [(float(value), 0.0) for value in rng.random(200)]
    won = report_of({0: stream_of(rows)}, router=[["a"] * 200], x_alone=[["b"] * 200], learning_off=[["b"] * 200])
    lost = report_of({0: stream_of(rows)}, router=[["b"] * 200], x_alone=[["a"] * 200], learning_off=[["b"] * 200])
    assert {won.comparison(name).verdict for name in ("x alone", LEARNING_OFF)} == {"won"}
    assert lost.comparison("x alone", "two").verdict == "lost"
    assert lost.comparison("x alone").sentence.startswith("Against x alone, overall: -0.")
    assert lost.comparison(LEARNING_OFF).verdict == "even"
    assert "beats learning off" in won.finding
    assert "does as well as learning off" in lost.finding
    assert "loses to x alone" in lost.finding
    assert "loses to always a" in lost.finding


def phases_of(*contradicts: tuple[str, ...]) -> Stream:
    """Phases ``0``, ``1`` … of ten tasks each, and ten probes of each in sessions of their own."""
    items = [StreamItem(Task("t"), {"a": 1.0}, "a")] * 10
    names = list(map(str, range(len(contradicts))))
    probes = {name: [(Task("p", session_id=f"{name}-{i}"), "a") for i in range(10)] for name in names}
    phases = tuple(Phase(name, items, contradicts=each) for name, each in zip(names, contradicts, strict=True))
    return Stream("set", (Agent("a"),), phases, probes=probes)


def right(count: int) -> tuple[bool, ...]:
    return tuple(i < count for i in range(10))


def test_what_is_lost_is_a_fault_unless_it_is_wrong_now() -> None:
    stream = phases_of((), (), ("0",))
    probed = {
        "0": [(10, right(10)), (20, right(5)), (30, right(0))],
        "1": [(10, right(2)), (20, right(9)), (30, right(9))],
    }
    told = list(retentions([stream], [probed]))
    assert [(one.phase, one.kind, one.verdict) for one in told] == [
        ("1", "0", "forgot"),
        ("2", "0", "followed"),
        ("2", "1", "kept"),
    ]
    lost, followed, kept = told
    assert (lost.before, lost.after) == (1.0, 0.5)
    assert lost.low < -0.5 < lost.high < -FORGIVEN
    assert (kept.low, kept.high) == (0.0, 0.0)
    assert "a fault" in lost.sentence
    assert "right to give them up" in followed.sentence


@pytest.mark.parametrize("contradicts", [(), ("0",)])
def test_what_chance_may_have_done_is_called_neither_a_fault_nor_a_merit(contradicts: tuple[str, ...]) -> None:
    stream = phases_of((), contradicts)
    (told,) = retentions([stream], [{"0": [(10, right(9)), (20, right(8))]}])
    assert (told.before, told.after, told.verdict) == (0.9, 0.8, "unclear")
    assert told.low < -FORGIVEN < told.high
    assert "So few tasks do not tell" in told.sentence
    assert "fault" not in told.sentence


def test_five_points_are_forgiven_and_seeds_count_together() -> None:
    stream = phases_of((), ())
    looks = [{"0": [(10, right(5)), (20, right(after))]} for after in (5, 4)]
    (told,) = retentions([stream, stream], looks)
    assert (told.before, told.after, told.verdict) == (0.5, 0.45, "kept")
    (told,) = retentions([phases_of((), ("0",))], looks[:1])
    assert told.verdict == "steady"
    assert not list(retentions([stream], [{"0": [(0, right(5))]}]))


def test_a_program_gets_everything() -> None:
    mark = FitMark(40, "x", "by hand", "refused", 2, 1.0, 0.5, 0.4, 30, False, "worse")
    stream = stream_of([(1.0, 0.0)] * 8)
    act = summarise(
        "file", {3: stream}, {ROUTER: [trace_of(["a"] * 8, fits=[mark])], LEARNING_OFF: [trace_of(["b"] * 8)]}
    )
    found = DemoReport((act,), ("x",), 1.0, 1, ("note",)).to_dict()["acts"][0]
    assert found["comparisons"][0]["verdict"] == "won"
    assert found["fits"] == [
        {"contestant": ROUTER, "seed": 3, "at": 40, "strategy": "x", "reason": "by hand", "state": "refused"}
        | {"version": 2, "seconds": 1.0, "before": 0.5, "after": 0.4, "held_out": 30, "fine_tuned": False}
        | {"words": "worse"}
    ]
    assert found["finding"] == act.finding


def test_the_contestants_are_the_chain_its_members_and_the_chain_with_learning_off() -> None:
    names = [(one.name, one.chain, one.learning) for one in contestants(("x", "y"))]
    assert names == [
        (ROUTER, ("x", "y"), True),
        ("x alone", ("x",), True),
        ("y alone", ("y",), True),
        (LEARNING_OFF, ("x", "y"), False),
    ]
    assert [one.name for one in contestants(["x"])] == [ROUTER, LEARNING_OFF]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=400))
def test_moving_averages_are_means_of_the_last_tasks(rewards: list[float]) -> None:
    series = moving_averages({ROUTER: np.array(rewards)})
    assert series.positions[-1] == len(rewards)
    for end, value in zip(series.positions, series.values[ROUTER], strict=True):
        assert value == pytest.approx(float(np.mean(rewards[max(0, end - series.window) : end])), abs=1e-9)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", OTHERS]), min_size=9, max_size=9), min_size=1, max_size=30))
def test_shares_sum_to_one_and_others_come_last(names: list[list[str]]) -> None:
    series = shares(names)
    assert np.array(list(series.values.values())).sum(axis=0) == pytest.approx(np.ones(len(series.positions)))
    assert set(series.values) == {name for each in names for name in each}
    assert OTHERS not in series.values or list(series.values)[-1] == OTHERS


def test_a_crowd_of_agents_is_folded_into_others() -> None:
    names = [f"agent-{i}" for i in range(20)]
    items = [StreamItem(Task("text"), dict.fromkeys(names, 0.5), names[0])] * 60
    stream = Stream("set", tuple(map(Agent, names)), (Phase("only", items),))
    choices = [names[min(i % 25, 19)] for i in range(60)]
    report = report_of({0: stream}, router=[choices], learning_off=[choices])
    assert len(report.chosen.values) == 7
    assert list(report.chosen.values)[-1] == OTHERS
