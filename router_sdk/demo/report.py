"""What the demonstration found out, in numbers that a table, a page and a program can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from router_sdk.demo.contestant import LEARNING_OFF, ROUTER, FitMark

if TYPE_CHECKING:
    from router_sdk.demo.acts import Contest
    from router_sdk.demo.serving import ServingReport

BEST_SINGLE = "best single agent"
RANDOM = "random"
ORACLE = "oracle"
OVERALL = "overall"
NO_AGENT = "no agent"
OTHERS = "others"
FORGIVEN = 0.05
"""By how much accuracy on the old may fall where nothing contradicts it."""


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One stretch of the stream, over all seeds.

    Attributes:
        name: What to call it.
        start: Position of its first task, from 0.
        end: Position after its last task.
        rewards: Mean reward in [0, 1] by contestant.
        opening: The router's mean reward over the first fifth.
        closing: The router's mean reward over the last fifth.
        strategies: Share of tasks that each strategy of the router answered; they sum to 1.
        agents: Share of tasks that each agent got from it; they sum to 1. "no agent" stands for none.
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
        window: Over how many tasks of each seed every value is averaged.
    """

    positions: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    window: int


Verdict = Literal["won", "lost", "even"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The router against another contestant on the same tasks.

    Attributes:
        contestant: The other one.
        scope: Over which part: "overall" or a phase's name.
        difference: Mean reward of the router less the other's.
        low: Lower end of its 95 % interval, by session.
        high: Upper end.
        ahead: With how many seeds the router's mean is the higher one.
        seeds: Of how many.
    """

    contestant: str
    scope: str
    difference: float
    low: float
    high: float
    ahead: int
    seeds: int

    @property
    def verdict(self) -> Verdict:
        """``"won"``, ``"lost"`` or ``"even"``, where the interval holds 0."""
        return "won" if self.low > 0.0 else "lost" if self.high < 0.0 else "even"

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        where = self.scope if self.scope == OVERALL else f"in “{self.scope}”"
        seeds = f"; ahead with {self.ahead} of {self.seeds} seeds" if self.seeds > 1 else ""
        return (
            f"Against {self.contestant}, {where}: {self.difference:+.3f} reward per task "
            f"(95 % interval {self.low:+.3f} to {self.high:+.3f}{seeds})."
        )


Memory = Literal["kept", "forgot", "followed", "steady", "unclear"]


@dataclass(frozen=True, slots=True)
class Retention:
    """What a phase left of an earlier one: the router's accuracy on tasks of its kind that nobody learns from.

    Attributes:
        phase: Which.
        kind: The earlier one.
        before: Share of right favourites when the phase began, by what was right then.
        after: The same when it ended.
        low: Lower end of the 95 % interval of the difference, by session.
        high: Upper end.
        contradicted: Whether some of the old answers are wrong in this phase, so that to keep them would be a fault.
    """

    phase: str
    kind: str
    before: float
    after: float
    low: float
    high: float
    contradicted: bool

    @property
    def verdict(self) -> Memory:
        """``"kept"`` within five points or ``"forgot"``; of what is contradicted ``"followed"`` or ``"steady"``.

        It is ``"unclear"`` where more was lost on these tasks, but not beyond what chance does: the interval holds the
        five points, too.
        """
        if self.after >= self.before - FORGIVEN:
            return "steady" if self.contradicted else "kept"
        if self.high >= -FORGIVEN:
            return "unclear"
        return "followed" if self.contradicted else "forgot"

    @property
    def sentence(self) -> str:
        """It in words, and whether it is right so."""
        figures = (
            f"{self.before:.0%} before and {self.after:.0%} after “{self.phase}” "
            f"({100.0 * (self.after - self.before):+.0f} points, 95 % interval {100.0 * self.low:+.0f} to "
            f"{100.0 * self.high:+.0f})"
        )
        why = {
            "kept": "Nothing in it contradicts them, and they are kept",
            "forgot": f"Nothing in it contradicts them: to lose more than {FORGIVEN * 100.0:.0f} points is a fault",
            "followed": "Some of these answers are wrong now, so that it is right to give them up",
            "steady": "Some of these answers are wrong now, and are given up slowly or not at all",
            "unclear": f"So few tasks do not tell whether more than {FORGIVEN * 100.0:.0f} points were lost",
        }[self.verdict]
        return f"“{self.kind}”: {figures}. {why}."


@dataclass(frozen=True, slots=True)
class Fit:
    """One fit of one contestant: what it changed.

    Attributes:
        contestant: Whose.
        seed: With which seed.
        mark: What is known of it.
    """

    contestant: str
    seed: int
    mark: FitMark

    @property
    def sentence(self) -> str:
        """Whose, when, and what decided."""
        return f"{self.contestant}, seed {self.seed}, after {self.mark.at:,} tasks: {self.mark.words}"


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of some calls of the router's ``route``, in microseconds."""

    calls: int
    p50_us: float
    p99_us: float
    slowest_us: float


@dataclass(frozen=True, slots=True)
class ActReport:
    """What came of one act.

    Attributes:
        act: Which.
        title: What was played.
        tasks: How many, with each seed.
        sessions: In how many sessions, over all seeds.
        seeds: With which seeds.
        agents: Names of the agents.
        contestants: Names, the router first.
        single: Which agent the best single one is, in hindsight over everything.
        phases: In order.
        rewards: Mean reward in [0, 1] by contestant, over everything.
        by_seed: The same with each seed.
        regret: Reward that each contestant left lying against the oracle, in sum over one seed's tasks.
        comparisons: The router against every other contestant but the oracle, over everything and in each phase.
        curve: Moving average of the reward, by contestant.
        answered: Share of tasks that each strategy of the router answered, over the stream.
        chosen: Share of tasks that each agent got from the router, over the stream.
        explored: Share of the router's decisions in which another agent than the favourite was drawn.
        accuracy: Share of the router's favourites that are right, after so many tasks, on tasks that nobody learns
            from, by their kind; over all seeds.
        confidence: Its mean confidence on them.
        retentions: What each phase left of the earlier ones, by these accuracies.
        fits: All fits, the router's first.
        idle: Times of ``route`` while no fit of that router ran, or None.
        during_fits: Times of ``route`` while one ran, or None.
        events: Counts of what is in the router's log, with the first seed.
        feedback: How many outcomes came back in which way, with the first seed.
        notes: What the reader should know.
    """

    act: Contest
    title: str
    tasks: int
    sessions: int
    seeds: tuple[int, ...]
    agents: tuple[str, ...]
    contestants: tuple[str, ...]
    single: str
    phases: tuple[PhaseReport, ...]
    rewards: Mapping[str, float]
    by_seed: Mapping[str, tuple[float, ...]]
    regret: Mapping[str, float]
    comparisons: tuple[Comparison, ...]
    curve: Series
    answered: Series
    chosen: Series
    explored: float
    accuracy: Mapping[str, tuple[tuple[int, float], ...]]
    confidence: tuple[tuple[int, float], ...]
    retentions: tuple[Retention, ...]
    fits: tuple[Fit, ...]
    idle: Latency | None
    during_fits: Latency | None
    events: Mapping[str, int]
    feedback: Mapping[str, int]
    notes: tuple[str, ...]

    def label(self, contestant: str) -> str:
        """A contestant's name for people; the best single agent is named."""
        return f"always {self.single}" if contestant == BEST_SINGLE else contestant

    @property
    def ranking(self) -> list[str]:
        """The contestants, the best first."""
        return sorted(self.contestants, key=lambda name: -self.rewards[name])

    @property
    def compared(self) -> list[str]:
        """With whom the router is compared: all but itself and the oracle."""
        return [name for name in self.contestants if name not in (ROUTER, ORACLE)]

    @property
    def best_member(self) -> str | None:
        """Which strategy alone had most reward; None where the chain has one member."""
        alone = [name for name in self.ranking if name.endswith(" alone")]
        return alone[0] if alone else None

    def comparison(self, contestant: str, scope: str = OVERALL) -> Comparison:
        """The router against a contestant.

        Raises:
            KeyError: if there is no such comparison.
        """
        for one in self.comparisons:
            if (one.contestant, one.scope) == (contestant, scope):
                return one
        raise KeyError((contestant, scope))

    @property
    def not_promoted(self) -> list[Fit]:
        """The fits that did not come to serve."""
        return [one for one in self.fits if one.mark.state != "promoted"]

    @property
    def finding(self) -> str:
        """In a line: whether learning paid, and whether the chain was as good as its best member."""
        words = {"won": "beats", "lost": "loses to", "even": "does as well as"}
        parts = [
            f"{words[one.verdict]} {self.label(name)} ({one.difference:+.3f} reward per task)"
            for name in (LEARNING_OFF, self.best_member, BEST_SINGLE)
            if name is not None and (one := self.comparison(name))
        ]
        return f"The router {', '.join(parts[:-1])} and {parts[-1]}"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The whole outcome of one demonstration.

    Attributes:
        acts: What came of each contest, in order.
        chain: The strategies of the whole chain.
        seconds: Wall-clock time of the whole demonstration.
        processes: In how many processes it was played.
        notes: What the reader should know of all acts.
        serving: How a model got to serve; None where that was not played.
    """

    acts: tuple[ActReport, ...]
    chain: tuple[str, ...]
    seconds: float
    processes: int
    notes: tuple[str, ...]
    serving: ServingReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        found = asdict(self)
        for told, act in zip(found["acts"], self.acts, strict=True):
            told["finding"] = act.finding
            told["comparisons"] = [
                {**asdict(one), "verdict": one.verdict, "sentence": one.sentence} for one in act.comparisons
            ]
            told["retentions"] = [
                {**asdict(one), "verdict": one.verdict, "sentence": one.sentence} for one in act.retentions
            ]
            told["fits"] = [{"contestant": one.contestant, "seed": one.seed, **asdict(one.mark)} for one in act.fits]
        found["serving"] = None if self.serving is None else self.serving.to_dict()
        return found
