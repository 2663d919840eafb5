"""From what the contestants did to what is reported of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.demo.contestant import ROUTER, Trace
from router_sdk.demo.report import (
    BEST_SINGLE,
    NO_AGENT,
    ORACLE,
    OTHERS,
    OVERALL,
    RANDOM,
    ActReport,
    Comparison,
    Fit,
    Latency,
    PhaseReport,
    Retention,
    Series,
)
from router_sdk.evaluation.intervals import paired_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.demo.acts import Contest
    from router_sdk.demo.stream import Stream, StreamItem
    from router_sdk.records import Task

    Rewards = NDArray[np.float64]
    """Of one contestant on each task, with each seed, shape ``(seeds, n)``."""

CURVE_POINTS = 240
CURVE_TASKS = 400
"""Tasks behind a point of the curve, over all seeds, where there are enough."""
SHARE_POINTS = 60
SHOWN_AGENTS = 6


def summarise(
    act: Contest,
    streams: Mapping[int, Stream],
    traces: Mapping[str, Sequence[Trace]],
) -> ActReport:
    """Turn traces into a report.

    Args:
        act: Which act.
        streams: What was played, by seed; equally many tasks in each phase.
        traces: What each contestant did, in the order of the seeds.
    """
    first = next(iter(streams.values()))
    names = [agent.name for agent in first.agents]
    items = [stream.items for stream in streams.values()]
    rewards, single = contestant_rewards(items, traces, names)
    sessions = _sessions(items)
    edges = np.cumsum([0, *(len(phase.items) for phase in first.phases)]).tolist()
    spans = [(phase.name, start, end) for phase, (start, end) in zip(first.phases, pairwise(edges), strict=True)]
    ours = traces[ROUTER]
    strategies = [one.strategies for one in ours]
    chosen = [[NO_AGENT if agent is None else agent for agent in one.agents] for one in ours]
    times = np.concatenate([np.array(one.route_ns) / 1e3 for one in ours])
    busy = np.concatenate([np.array(one.fitting, dtype=bool) for one in ours])
    return ActReport(
        act=act,
        title=first.title,
        tasks=len(items[0]),
        sessions=len(np.unique(sessions)),
        seeds=tuple(streams),
        agents=tuple(names),
        contestants=tuple(rewards),
        single=single,
        phases=tuple(_phase(name, start, end, rewards, strategies, chosen) for name, start, end in spans),
        rewards={name: float(values.mean()) for name, values in rewards.items()},
        by_seed={name: tuple(values.mean(axis=1).tolist()) for name, values in rewards.items()},
        regret={name: float((rewards[ORACLE] - values).sum()) / len(items) for name, values in rewards.items()},
        comparisons=tuple(
            compared(rewards[ROUTER], rewards[name], sessions, (scope, start, end), name)
            for name in rewards
            if name not in (ROUTER, ORACLE)
            for scope, start, end in ((OVERALL, 0, len(items[0])), *spans)
        ),
        curve=moving_averages({name: values.mean(axis=0) for name, values in rewards.items()}, len(items)),
        answered=shares(strategies),
        chosen=shares(_most_chosen(chosen)),
        explored=float(np.mean([one.explored for one in ours])),
        accuracy={kind: _mean_points([_accuracy(one.probed[kind]) for one in ours]) for kind in ours[0].probed},
        confidence=_mean_points([one.confidence for one in ours]),
        retentions=tuple(retentions(list(streams.values()), [one.probed for one in ours])),
        fits=tuple(
            Fit(name, seed, mark)
            for name, each in traces.items()
            for seed, trace in zip(streams, each, strict=True)
            for mark in trace.fits
        ),
        idle=_latency(times[~busy]),
        during_fits=_latency(times[busy]),
        events=ours[0].events,
        feedback=ours[0].feedback,
        notes=first.notes,
    )


def contestant_rewards(
    items: Sequence[Sequence[StreamItem]], traces: Mapping[str, Sequence[Trace]], agents: Sequence[str]
) -> tuple[dict[str, Rewards], str]:
    """Each contestant's reward on each task, shape ``(seeds, n)``, and the best single agent's name in hindsight."""
    every = np.array([[[item.rewards[agent] for agent in agents] for item in each] for each in items])
    single = int(every.mean(axis=(0, 1)).argmax())
    rewards = {name: _rewards(items, [trace.agents for trace in each]) for name, each in traces.items()}
    rewards[BEST_SINGLE] = every[:, :, single]
    rewards[RANDOM] = every.mean(axis=2)
    rewards[ORACLE] = _rewards(items, [[item.best for item in each] for each in items])
    return rewards, agents[single]


def compared(
    ours: Rewards, theirs: Rewards, sessions: NDArray[np.int64], scope: tuple[str, int, int], contestant: str
) -> Comparison:
    """The router against another contestant, from one position of the streams to another."""
    name, start, end = scope
    a, b = ours[:, start:end], theirs[:, start:end]
    interval = paired_interval(a.ravel(), b.ravel(), sessions[:, start:end].ravel())
    ahead = int((a.mean(axis=1) > b.mean(axis=1)).sum())
    return Comparison(contestant, name, *interval, ahead=ahead, seeds=len(ours))


def retentions(
    streams: Sequence[Stream], probed: Sequence[Mapping[str, Sequence[tuple[int, Sequence[bool]]]]]
) -> Iterator[Retention]:
    """What each phase left of the earlier ones that there are probes of.

    Args:
        streams: With each seed.
        probed: For each of them whether the router was right about each probe, after so many tasks, by kind.
    """
    ended: list[str] = []
    start = 0
    for phase in streams[0].phases:
        end = start + len(phase.items)
        for kind in ended:
            looks = [dict(one.get(kind, ())) for one in probed]
            if not all({start, end} <= each.keys() for each in looks):
                continue
            before, after = (np.concatenate([each[at] for each in looks]).astype(float) for at in (start, end))
            asked = [_session(task) for stream in streams for task, _ in stream.probes[kind]]
            _, low, high = paired_interval(after, before, np.unique(asked, return_inverse=True)[1])
            shares = float(before.mean()), float(after.mean())
            yield Retention(phase.name, kind, *shares, low, high, contradicted=kind in phase.contradicts)
        ended.append(phase.name)
        start = end


def moving_averages(
    rewards: Mapping[str, NDArray[np.float64]], seeds: int = 1, curve_tasks: int = CURVE_TASKS
) -> Series:
    """Trailing means over as many tasks as make ``curve_tasks`` over all seeds, and at most a quarter of the stream.

    The first points average what there is.
    """
    n = len(next(iter(rewards.values())))
    window = max(n // 30, min(-(-curve_tasks // seeds), max(1, n // 4)))
    ends = np.unique(np.linspace(min(window // 2, n - 1) + 1, n, CURVE_POINTS).astype(int))
    starts = np.maximum(0, ends - window)
    values = {}
    for name, each in rewards.items():
        sums = np.concatenate([[0.0], np.cumsum(each)])
        values[name] = tuple(((sums[ends] - sums[starts]) / (ends - starts)).tolist())
    return Series(tuple(ends.tolist()), values, window)


def shares(names: Sequence[Sequence[str]]) -> Series:
    """How the names are shared out in each stretch of the stream, over all seeds; everywhere they sum to 1."""
    edges = np.unique(np.linspace(0, len(names[0]), SHARE_POINTS + 1).astype(int))
    counts = [Counter(name for each in names for name in each[start:end]) for start, end in pairwise(edges)]
    order = [name for name, _ in Counter(name for each in names for name in each).most_common()]
    order.sort(key=lambda name: name == OTHERS)
    values = {name: tuple(count[name] / count.total() for count in counts) for name in order}
    return Series(tuple(edges[1:].tolist()), values, int(edges[1] - edges[0]))


def _rewards(items: Sequence[Sequence[StreamItem]], choices: Sequence[Sequence[str | None]]) -> Rewards:
    return np.array(
        [
            [item.reward(agent) for item, agent in zip(each, chosen, strict=True)]
            for each, chosen in zip(items, choices, strict=True)
        ]
    )


def _sessions(items: Sequence[Sequence[StreamItem]]) -> NDArray[np.int64]:
    """A number for each session, shape ``(seeds, n)``; a task without one is alone, but the same text is the same."""
    numbers: dict[str, int] = {}
    return np.array([[numbers.setdefault(_session(item.task), len(numbers)) for item in each] for each in items])


def _session(task: Task) -> str:
    return task.session_id or f"text:{task.text}"


def _phase(
    name: str,
    start: int,
    end: int,
    rewards: Mapping[str, Rewards],
    strategies: Sequence[Sequence[str]],
    chosen: Sequence[Sequence[str]],
) -> PhaseReport:
    ours = rewards[ROUTER][:, start:end]
    fifth = max(1, (end - start) // 5)
    return PhaseReport(
        name=name,
        start=start,
        end=end,
        rewards={contestant: float(values[:, start:end].mean()) for contestant, values in rewards.items()},
        opening=float(ours[:, :fifth].mean()),
        closing=float(ours[:, -fifth:].mean()),
        strategies=_portions([each[start:end] for each in strategies]),
        agents=_portions([each[start:end] for each in chosen]),
    )


def _portions(names: Sequence[Sequence[str]]) -> dict[str, float]:
    counts = Counter(name for each in names for name in each)
    return {name: count / counts.total() for name, count in counts.most_common()}


def _most_chosen(chosen: Sequence[Sequence[str]]) -> list[list[str]]:
    """Fold all but the most chosen agents into one, so that a chart of many agents can be read."""
    ranked = [name for name, _ in Counter(name for each in chosen for name in each).most_common()]
    shown = set(ranked if len(ranked) <= SHOWN_AGENTS + 1 else ranked[:SHOWN_AGENTS])
    return [[name if name in shown else OTHERS for name in each] for each in chosen]


def _accuracy(looks: Sequence[tuple[int, Sequence[bool]]]) -> list[tuple[int, float]]:
    return [(at, float(np.mean(right))) for at, right in looks]


def _mean_points(curves: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[int, float], ...]:
    """The mean of curves that stand at the same positions."""
    return tuple((points[0][0], float(np.mean([value for _, value in points]))) for points in zip(*curves, strict=True))


def _latency(times: NDArray[np.float64]) -> Latency | None:
    if not len(times):
        return None
    p50, p99 = np.percentile(times, [50.0, 99.0])
    return Latency(len(times), float(p50), float(p99), float(times.max()))
