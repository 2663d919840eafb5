"""What the demonstration found out, in numbers that a table, a page and a program can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.demo.stream import Stream, StreamItem


ROUTER = "router"
HEURISTIC = "heuristic"
BEST_SINGLE = "best single agent"
RANDOM = "random"
ORACLE = "oracle"

CURVE_POINTS = 240
SHARE_POINTS = 60
SHOWN_AGENTS = 6
NO_AGENT = "no agent"
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One stretch of the stream.

    Attributes:
        name: What to call it.
        start: Position of its first task, from 0.
        end: Position after its last task.
        rewards: Mean reward in [0, 1] by contender.
        opening: The router's mean reward over the first fifth.
        closing: The router's mean reward over the last fifth.
        strategies: Share of tasks that each strategy answered; they sum to 1.
        agents: Share of tasks that each agent got; they sum to 1. "no agent" stands for none.
    """

    name: str
    start: int
    end: int
    rewards: Mapping[str, float]
    opening: float
    closing: float
    strategies: Mapping[str, float]
    agents: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Lines over the stream that share their positions.

    Attributes:
        positions: Tasks played, shape ``(n,)``.
        values: By name, shape ``(n,)`` each.
        window: Over how many tasks each value is averaged.
    """

    positions: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    window: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The router against one contender on the same tasks.

    Attributes:
        contender: Whom.
        scope: Over which part: "overall" or a phase's name.
        difference: Mean reward of the router less the contender's.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    contender: str
    scope: str
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``"won"``, ``"lost"`` or ``"even"``, where the interval holds 0."""
        return "won" if self.low > 0.0 else "lost" if self.high < 0.0 else "even"

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        where = "overall" if self.scope == "overall" else f"in “{self.scope}”"
        return (
            f"Against the {self.contender}, {where}: {self.difference:+.3f} reward per task "
            f"(95 % interval {self.low:+.3f} to {self.high:+.3f})."
        )


@dataclass(frozen=True, slots=True)
class FitMark:
    """One background fit.

    Attributes:
        at: Tasks played when it ended.
        reason: Why it was started.
        state: How it ended.
        version: What came of it, or None.
        seconds: How long it took.
        words: What decided.
    """

    at: int
    reason: str
    state: str
    version: int | None
    seconds: float
    words: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of some calls of ``route``, in microseconds."""

    calls: int
    p50_us: float
    p99_us: float
    slowest_us: float


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What the background fits did while the stream went on.

    Attributes:
        accuracy: Share of probes whose favourite is right, after so many tasks, by kind of session.
        confidence: Mean confidence on the probes, after so many tasks.
        fits: The fits, in the order in which they ended.
        idle: Times of ``route`` while no fit ran, or None.
        during_fits: Times of ``route`` while one ran, or None.
    """

    accuracy: Mapping[str, tuple[tuple[int, float], ...]]
    confidence: tuple[tuple[int, float], ...]
    fits: tuple[FitMark, ...]
    idle: Latency | None
    during_fits: Latency | None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The whole outcome of one demonstration.

    Attributes:
        title: What was played.
        tasks: How many.
        seconds: Wall-clock time of the whole demonstration.
        seed: With which it was played.
        agents: Names of the agents.
        contenders: Names in the order in which tables show them, the router first.
        single: Which agent the best single one is, in hindsight over the whole stream.
        phases: In order.
        rewards: Mean reward in [0, 1] by contender over the whole stream.
        regret: Reward that each contender left lying against the oracle, in sum.
        comparisons: The router against the heuristic and the best single agent.
        curve: Moving average of the reward, by contender.
        answered: Share of tasks that each strategy answered, over the stream.
        chosen: Share of tasks that each agent got, over the stream.
        explored: Share of decisions in which another agent than the favourite was drawn.
        route_p50_us: Median time of ``route``, in microseconds.
        route_p99_us: 99th percentile of it.
        events: Counts of what is in the log.
        feedback: How many outcomes came back in which way.
        notes: What the reader should know.
        adaptation: What the background fits did, where a strategy is fitted.
    """

    title: str
    tasks: int
    seconds: float
    seed: int
    agents: tuple[str, ...]
    contenders: tuple[str, ...]
    single: str
    phases: tuple[PhaseReport, ...]
    rewards: Mapping[str, float]
    regret: Mapping[str, float]
    comparisons: tuple[Comparison, ...]
    curve: Series
    answered: Series
    chosen: Series
    explored: float
    route_p50_us: float
    route_p99_us: float
    events: Mapping[str, int]
    feedback: Mapping[str, int]
    notes: tuple[str, ...]
    adaptation: Adaptation | None = None

    def label(self, contender: str) -> str:
        """A contender's name for people; the best single agent is named."""
        return f"always {self.single}" if contender == BEST_SINGLE else contender

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        found = asdict(self)
        found["comparisons"] = [
            {**asdict(item), "verdict": item.verdict, "sentence": item.sentence} for item in self.comparisons
        ]
        return found


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
