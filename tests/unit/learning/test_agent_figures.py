import json
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.errors import InvalidTaskError
from router_sdk.learning.cells import OTHERS
from router_sdk.learning.figures import SMOOTHING, WINDOW
from router_sdk.learning.performance import Performance
from router_sdk.numerics import recency
from router_sdk.records import Example, Signals, Task
from router_sdk.testing.examples import make_example

parts = st.builds(
    Signals,
    success=st.none() | st.booleans(),
    quality=st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    feedback=st.none() | st.sampled_from([-1.0, 0.0, 1.0]),
    correct_agent=st.none() | st.sampled_from(["a", "b"]),
    no_agent_fits=st.none(),
    latency_ms=st.none() | st.sampled_from([100.0, 200.0]),
    cost_usd=st.none() | st.sampled_from([0.25, 0.5]),
    tokens=st.none(),
    metrics=st.none(),
)
told = st.lists(st.tuples(st.integers(0, 5), parts), max_size=30)


def example(number, seq, signals, previous=None, *, agent="a", task_type="default", revision=0):
    return Example(
        f"{number}",
        seq,
        number,
        revision,
        agent,
        task_type,
        signals.quality,
        None if previous is None else previous.quality,
        signals,
        previous,
        0.5,
        0.0,
        0.0,
        0.0,
        "routed",
        None,
    )


def lessons(told):
    known, found = {}, []
    for seq, (number, part) in enumerate(told, start=1):
        previous, revision = known.get(number, (None, -1))
        joined = part if previous is None else previous.updated(part)
        if joined != previous:
            agent, kind = "ab"[number % 2], ["default", "code"][number % 3 == 0]
            found.append(example(number, seq, joined, previous, agent=agent, task_type=kind, revision=revision + 1))
            known[number] = (joined, revision + 1)
    return found, {number: joined for number, (joined, _) in known.items()}


def reported(performance):
    told = performance.statistics(), [report.to_dict() for report in performance.agents(["a", "b", "idle"])]
    return *told, performance.costs()


@given(told, st.integers(0, 30), st.booleans())
def test_batches_and_restarts_do_not_matter(tmp_path_factory, told, cut, restart):
    stream, _ = lessons(told)
    whole, pieces = Performance(), Performance()
    whole.learn(stream)
    pieces.learn(stream[:cut])
    if restart:
        folder = tmp_path_factory.mktemp("figures")
        pieces.save(folder)
        pieces = Performance()
        pieces.load(folder)
    for one in stream[cut:]:
        pieces.learn([one])
    assert reported(pieces) == reported(whole)


@given(told)
def test_figures_are_those_of_the_newest_revisions(told):
    stream, final = lessons(told)
    performance = Performance()
    performance.learn(stream)
    found = performance.statistics()
    assert found["total_examples"] == len(final)
    with_quality = [joined.quality for joined in final.values() if joined.quality is not None]
    with_feedback = [joined.feedback for joined in final.values() if joined.feedback is not None]
    if final:
        assert found["feedback_rate"] == len(with_feedback) / len(final)
    if with_quality:
        mean = sum(with_quality) / len(with_quality)
        assert found["avg_quality_score"] == pytest.approx(mean)
        assert found["current_model_score"] == pytest.approx(mean)
    if with_feedback:
        assert found["positive_feedback_rate"] == sum(value > 0 for value in with_feedback) / len(with_feedback)
    labels = [joined.correct_agent for joined in final.values() if joined.correct_agent]
    assert found["label_distribution"] == {name: labels.count(name) for name in set(labels)}
    for report in performance.agents(["a", "b", "idle"]):
        mine = [joined for number, joined in final.items() if "ab"[number % 2] == report.agent]
        assert report.executions == len(mine)
        known = [joined.latency_ms for joined in mine if joined.latency_ms is not None]
        expected = pytest.approx(sum(known) / len(known)) if known else None
        assert report.lifetime["latency_ms"] == report.last_100["latency_ms"] == expected
        assert sum(kind["executions"] for kind in report.task_types.values()) == len(mine)
        cells = [cell for (agent, _), cell in performance.costs().items() if agent == report.agent]
        for figure, values in {
            "cost_usd": [joined.cost_usd for joined in mine if joined.cost_usd is not None],
            "reward": [joined.quality for joined in mine if joined.quality is not None],
        }.items():
            assert sum(getattr(cell, figure).size for cell in cells) == len(values)
            squares = sum(getattr(cell, figure).squares for cell in cells)
            assert squares == pytest.approx(sum(value * value for value in values))


def test_the_window_holds_the_last_hundred_and_improvement_compares_with_those_before():
    performance = Performance()
    performance.learn([example(i, i, Signals(quality=0.4)) for i in range(1, WINDOW + 1)])
    performance.learn([example(i, i, Signals(quality=0.5)) for i in range(WINDOW + 1, 2 * WINDOW + 1)])
    assert performance.statistics()["current_model_score"] == pytest.approx(0.5)
    assert performance.statistics()["improvement_rate"] == pytest.approx(0.25)
    (report,) = performance.agents(["a"])
    assert report.last_100["reward"] == pytest.approx(0.5)
    assert report.lifetime["reward"] == pytest.approx(0.45)
    assert report.score == pytest.approx((WINDOW * 0.5 + 1) / (WINDOW + 2))
    ema = 0.4
    for _ in range(WINDOW):
        ema += SMOOTHING * (0.5 - ema)
    assert report.ema["reward"] == pytest.approx(ema)


def test_moving_averages_and_windows_are_those_of_the_corrected_values():
    reported_at_first = [0.1, 0.9, None, 0.4] * 10
    true = [0.8, 0.9, 0.3, None] * 10
    performance, known = Performance(), Performance()
    for i, value in enumerate(reported_at_first):
        performance.learn([example(i, i + 1, Signals(quality=value, success=True))])
    for i, (old, new) in enumerate(zip(reported_at_first, true, strict=True)):
        was, now = Signals(quality=old, success=True), Signals(quality=new, success=True)
        if new != old:
            performance.learn([example(i, 100 + i, now, was, revision=1)])
        known.learn([example(i, i + 1, now)])
    (report,), (right,) = performance.agents(["a"]), known.agents(["a"])
    assert report.ema == right.ema
    assert report.last_100 == right.last_100
    values = [value for value in true if value is not None]
    ema = values[0]
    for value in values[1:]:
        ema += SMOOTHING * (value - ema)
    assert report.ema["quality"] == pytest.approx(ema)
    assert performance.statistics()["current_model_score"] == pytest.approx(sum(values) / len(values))


def test_what_another_agent_did_is_in_nobodys_window_but_its_own():
    performance = Performance()
    performance.learn([example(i, i + 1, Signals(quality=0.5)) for i in range(3)])
    wrong = Signals(quality=1.0)
    performance.learn([example(3, 4, wrong)])
    performance.learn([example(3, 5, Signals(), wrong, revision=1), example(3, 5, Signals(agent="b"), agent="b")])
    first, second = performance.agents(["a", "b"])
    assert (first.agent, first.executions, first.ema["reward"], first.last_100["reward"]) == ("a", 3, 0.5, 0.5)
    assert (second.executions, second.ema["reward"]) == (1, None)
    assert performance.statistics()["current_model_score"] == 0.5


def test_a_correction_of_what_left_the_window_does_not_come_back_into_it():
    performance = Performance()
    stream = [example(i, i, Signals(quality=1.0)) for i in range(1, 2 * WINDOW + 11)]
    performance.learn(stream)
    performance.learn([example(1, 999, Signals(quality=0.0), Signals(quality=1.0), revision=1)])
    assert performance.statistics()["current_model_score"] == 1.0
    (report,) = performance.agents(["a"])
    assert report.last_100["reward"] == 1.0
    assert report.lifetime["reward"] == pytest.approx(1 - 1 / len(stream))


def test_ranks_go_by_score_and_strangers_are_left_out():
    performance = Performance()
    performance.learn([example(1, 1, Signals(quality=0.9)), example(2, 2, Signals(quality=0.1), agent="b")])
    performance.learn([example(3, 3, Signals(quality=1.0), agent="stranger")])
    assert [(r.rank, r.agent) for r in performance.agents(["b", "idle", "a"])] == [(1, "a"), (2, "idle"), (3, "b")]
    assert json.dumps([report.to_dict() for report in performance.agents(["a"], "code")])
    assert performance.agents(["a"], "code")[0].executions == 0


def test_reports_may_be_asked_for_while_the_learner_learns():
    performance = Performance()
    errors, stop = [], threading.Event()

    def read():
        try:
            while not stop.is_set():
                performance.agents(["a"])
                performance.statistics()
        except RuntimeError as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=read) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for i in range(1, 1_500):
            performance.learn([example(i, i, Signals(quality=0.5, correct_agent=f"label{i}"), task_type=f"t{i % 40}")])
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert errors == []


def test_what_was_said_at_the_bounds_and_taken_back_leaves_nothing_behind(tmp_path):
    """A thousand absurd costs and latencies, each corrected, and the figures are those of the corrections."""
    said = Signals(quality=1.0, cost_usd=1e9, latency_ms=1e12)
    meant = Signals(quality=0.5, cost_usd=0.01, latency_ms=100.0)
    figures = Performance()
    lessons = []
    for number in range(1_000):
        lessons += [
            example(number, 2 * number, said),
            example(number, 2 * number + 1, meant, said, revision=1),
        ]
    figures.learn([*lessons[::2], *lessons[1::2]])
    figures.save(tmp_path)
    again = Performance()
    again.load(tmp_path)
    for one in (figures, again):
        lifetime = one.agents(["a"])[0].lifetime
        assert lifetime["cost_usd"] == pytest.approx(0.01, abs=1e-5)
        assert lifetime["latency_ms"] == pytest.approx(100.0, abs=1e-2)


def test_figures_that_are_not_finite_are_not_saved(tmp_path):
    figures = Performance()
    figures.learn([example(number, number, Signals(cost_usd=1e308)) for number in range(2)])
    with pytest.raises(ValueError, match="JSON"):
        figures.save(tmp_path)


def test_types_that_were_not_heard_of_for_long_count_together_and_corrections_find_them(monkeypatch, tmp_path):
    monkeypatch.setattr(recency, "MOST_KINDS", 4)
    performance, whole = Performance(), Performance()
    told = [
        make_example("a", float(number % 3 > 0), number=number, task=Task(task_type=f"id {number}"))
        for number in range(1, 31)
    ]
    corrected = replace(
        told[4],
        seq=10_000,
        revision=1,
        reward=1.0 - told[4].reward,
        previous_reward=told[4].reward,
        previous=told[4].signals,
        signals=Signals(success=told[4].reward < 0.5),
    )
    performance.learn([*told, corrected])
    performance.save(tmp_path)
    again = Performance()
    again.load(tmp_path)
    monkeypatch.setattr(recency, "MOST_KINDS", 1_000)
    whole.learn([*told, corrected])
    (report,), (complete,) = performance.agents(["a"]), whole.agents(["a"])
    assert again.agents(["a"]) == [report]
    assert (report.executions, report.lifetime, report.score) == (30, complete.lifetime, complete.score)
    assert {kind: one["executions"] for kind, one in report.task_types.items()} == {
        OTHERS: 27,
        **{f"id {number}": 1 for number in (28, 29, 30)},
    }
    rewards = [one.reward for one in told[:27]]
    rewards[4] = corrected.reward
    assert report.task_types[OTHERS]["lifetime"]["reward"] == pytest.approx(sum(rewards) / 27)


def test_a_correction_stays_with_the_type_whose_newest_executions_no_more_hold_it(monkeypatch):
    monkeypatch.setattr(recency, "MOST_KINDS", 4)
    performance = Performance()
    told = [make_example("a", 0.0, number=number, task=Task(task_type=f"id {number}")) for number in range(1, 9)]
    told += [make_example("a", 1.0, number=number, task=Task(task_type="t")) for number in range(9, 110)]
    oldest, newest = told[8], told[-1]
    revised = {"revision": 1, "previous_reward": 1.0, "previous": newest.signals}
    performance.learn([*told, replace(newest, seq=1_000, reward=None, signals=Signals(), **revised)])
    performance.learn([replace(oldest, seq=1_001, reward=0.0, signals=told[0].signals, **revised)])
    (report,) = performance.agents(["a"])
    kinds = report.task_types
    assert {kind: (one["executions"], one["lifetime"]["reward"]) for kind, one in kinds.items()} == {
        OTHERS: (6, 0.0),
        "id 7": (1, 0.0),
        "id 8": (1, 0.0),
        "t": (100, 0.99),
    }


def test_a_correction_of_what_made_room_finds_it_though_its_type_came_back(monkeypatch):
    monkeypatch.setattr(recency, "MOST_KINDS", 4)
    performance = Performance()
    kinds = ["t", *(f"id {number}" for number in range(8)), *["t"] * 150]
    told = [
        make_example("a", float(number == 1), number=number, task=Task(task_type=kind))
        for number, kind in enumerate(kinds, 1)
    ]
    first = told[0]
    performance.learn(told)
    performance.learn(
        [
            replace(
                first,
                seq=10_000,
                revision=1,
                reward=0.0,
                signals=told[1].signals,
                previous_reward=1.0,
                previous=first.signals,
            )
        ]
    )
    (report,) = performance.agents(["a"])
    kinds = report.task_types
    assert [(kinds[kind]["executions"], kinds[kind]["lifetime"]["reward"]) for kind in ("t", OTHERS)] == [
        (150, 0.0),
        (7, 0.0),
    ]


def test_no_task_can_have_the_type_that_stands_for_the_others():
    assert Task(task_type="other types").task_type != OTHERS
    with pytest.raises(InvalidTaskError):
        Task(task_type=OTHERS)
