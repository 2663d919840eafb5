"""From what was played to the report: means, moving averages, shares, regret and paired comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.demo.report import (
    BEST_SINGLE,
    HEURISTIC,
    ORACLE,
    RANDOM,
    ROUTER,
    Adaptation,
    Comparison,
    DemoReport,
    PhaseReport,
    Series,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.demo.stream import Stream, StreamItem

CURVE_POINTS = 240
SHARE_POINTS = 60
SHOWN_AGENTS = 6
NO_AGENT = "no agent"
OTHERS = "others"


@dataclass(slots=True)
class Trace:
    """What the router and the heuristic did with each task of the stream, in order.

    Attributes:
        agents: Whom the router chose; None for no agent.
        strategies: Which strategy answered.
        explored: Whether another than the favourite was drawn.
        route_ns: Time of each ``route``, in nanoseconds.
        heuristic: Whom the heuristic alone would have chosen.
        fitting: Whether a fit was running.
    """

    agents: list[str | None] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    explored: list[bool] = field(default_factory=list)
    route_ns: list[int] = field(default_factory=list)
    heuristic: list[str | None] = field(default_factory=list)
    fitting: list[bool] = field(default_factory=list)


def contender_rewards(
    items: Sequence[StreamItem], trace: Trace, agents: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], str]:
    """Each contender's reward on each task, shape ``(n,)``, and the name of the best single agent in hindsight."""
    every = np.array([[item.rewards[agent] for agent in agents] for item in items])
    single = int(every.mean(axis=0).argmax())
    rewards = {
        ROUTER: _rewards(items, trace.agents),
        HEURISTIC: _rewards(items, trace.heuristic),
        BEST_SINGLE: every[:, single],
        RANDOM: every.mean(axis=1),
        ORACLE: _rewards(items, [item.best for item in items]),
    }
    return rewards, agents[single]


def summarise(
    stream: Stream,
    trace: Trace,
    *,
    seconds: float,
    seed: int,
    events: Mapping[str, int],
    feedback: Mapping[str, int],
    notes: Sequence[str],
    adaptation: Adaptation | None = None,
) -> DemoReport:
    """Turn a trace into the report."""
    items, names = stream.items, [agent.name for agent in stream.agents]
    rewards, single = contender_rewards(items, trace, names)
    edges = np.cumsum([0, *(len(phase.items) for phase in stream.phases)]).tolist()
    spans = [(phase.name, start, end) for phase, (start, end) in zip(stream.phases, pairwise(edges), strict=True)]
    chosen = [NO_AGENT if agent is None else agent for agent in trace.agents]
    latencies = np.percentile(np.array(trace.route_ns) / 1e3, [50.0, 99.0])
    return DemoReport(
        title=stream.title,
        tasks=len(items),
        seconds=seconds,
        seed=seed,
        agents=tuple(names),
        contenders=tuple(rewards),
        single=single,
        phases=tuple(_phase(name, start, end, rewards, trace.strategies, chosen) for name, start, end in spans),
        rewards={name: float(values.mean()) for name, values in rewards.items()},
        regret={name: float((rewards[ORACLE] - values).sum()) for name, values in rewards.items()},
        comparisons=tuple(
            compared(rewards[ROUTER][start:end], rewards[contender][start:end], contender, scope)
            for contender in (HEURISTIC, BEST_SINGLE)
            for scope, start, end in (("overall", 0, len(items)), spans[-1])
        ),
        curve=moving_averages(rewards),
        answered=shares(trace.strategies),
        chosen=shares(_most_chosen(chosen)),
        explored=float(np.mean(trace.explored)),
        route_p50_us=float(latencies[0]),
        route_p99_us=float(latencies[1]),
        events=dict(events),
        feedback=dict(feedback),
        notes=tuple(notes),
        adaptation=adaptation,
    )


def compared(ours: NDArray[np.float64], theirs: NDArray[np.float64], contender: str, scope: str) -> Comparison:
    """Pair the rewards task by task; the interval is the normal one for the mean of the differences."""
    differences = ours - theirs
    mean = float(differences.mean())
    half = 1.96 * float(differences.std()) / len(differences) ** 0.5
    return Comparison(contender, scope, mean, mean - half, mean + half)


def moving_averages(rewards: Mapping[str, NDArray[np.float64]]) -> Series:
    """Trailing means over a thirtieth of the stream, at least 250 tasks; the first points average what there is."""
    n = len(next(iter(rewards.values())))
    window = max(n // 30, min(250, max(1, n // 4)))
    ends = np.unique(np.linspace(min(window // 2, n - 1) + 1, n, CURVE_POINTS).astype(int))
    starts = np.maximum(0, ends - window)
    values = {}
    for name, each in rewards.items():
        sums = np.concatenate([[0.0], np.cumsum(each)])
        values[name] = tuple(((sums[ends] - sums[starts]) / (ends - starts)).tolist())
    return Series(tuple(ends.tolist()), values, window)


def shares(names: Sequence[str]) -> Series:
    """How the names are shared out in each stretch of the stream; at every position the shares sum to 1."""
    edges = np.unique(np.linspace(0, len(names), SHARE_POINTS + 1).astype(int))
    counts = [Counter(names[start:end]) for start, end in pairwise(edges)]
    order = [name for name, _ in Counter(names).most_common()]
    order.sort(key=lambda name: name == OTHERS)
    values = {name: tuple(count[name] / count.total() for count in counts) for name in order}
    return Series(tuple(edges[1:].tolist()), values, int(edges[1] - edges[0]))


def _rewards(items: Sequence[StreamItem], choices: Sequence[str | None]) -> NDArray[np.float64]:
    return np.array([item.reward(agent) for item, agent in zip(items, choices, strict=True)])


def _phase(
    name: str,
    start: int,
    end: int,
    rewards: Mapping[str, NDArray[np.float64]],
    strategies: Sequence[str],
    chosen: Sequence[str],
) -> PhaseReport:
    ours = rewards[ROUTER][start:end]
    fifth = max(1, (end - start) // 5)
    return PhaseReport(
        name=name,
        start=start,
        end=end,
        rewards={contender: float(values[start:end].mean()) for contender, values in rewards.items()},
        opening=float(ours[:fifth].mean()),
        closing=float(ours[-fifth:].mean()),
        strategies=_portions(strategies[start:end]),
        agents=_portions(chosen[start:end]),
    )


def _portions(names: Sequence[str]) -> dict[str, float]:
    return {name: count / len(names) for name, count in Counter(names).most_common()}


def _most_chosen(chosen: Sequence[str]) -> list[str]:
    """Fold all but the most chosen agents into one, so that a chart of many agents can be read."""
    ranked = [name for name, _ in Counter(chosen).most_common()]
    shown = set(ranked if len(ranked) <= SHOWN_AGENTS + 1 else ranked[:SHOWN_AGENTS])
    return [name if name in shown else OTHERS for name in chosen]
