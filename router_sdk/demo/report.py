"""What the demonstration found out, in numbers that a table, a page and a program can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ROUTER = "router"
HEURISTIC = "heuristic"
BEST_SINGLE = "best single agent"
RANDOM = "random"
ORACLE = "oracle"


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
