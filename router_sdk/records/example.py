"""A decision joined with what is known of its outcome: what strategies learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from router_sdk.records.outcome import Signals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records.agent import AgentSet
    from router_sdk.records.task import Task


class Forecast(NamedTuple):
    """What a strategy gave for its favourite's reward when it decided, and the favourite, or its like, was chosen.

    Its like is whom the strategy gave the same chance: where many are alike, the favourite is but the first of them.

    Attributes:
        strategy: Its name.
        model_version: Which fitted version of it, or None.
        confidence: What it gave, in [0, 1], before that was calibrated.
        tenant: Whose task it was.
        since: Position in the log of the agent that came last before the decision; 0 where none did.
        newcomer: Its name.
        chance: Probability with which the favourite or its like was chosen, above 0: the less, the more decisions of
            that sort there were of which nothing is known.
        of_favourite: Whether the favourite itself was chosen, and not its like.
    """

    strategy: str
    model_version: int | None
    confidence: float
    tenant: str | None
    since: int = 0
    newcomer: str | None = None
    chance: float = 1.0
    of_favourite: bool = True


class Context(Protocol):
    """What was known when the decision was made; loaded for a whole batch at the first question."""

    def task(self, decision_seq: int) -> Task:
        """The routed task; without its text where privacy or ``forget`` removed it."""

    def hashes(self, decision_seq: int) -> tuple[str | None, str | None]:
        """Equal for texts that differ in form alone, and for equal tasks; None where nothing of them is kept."""

    def vectors(self, decision_seq: int) -> Mapping[str, NDArray[Any]]:
        """Logged embeddings by encoder tag."""

    def eligible(self, decision_seq: int) -> tuple[str, ...]:
        """Names of the agents that were eligible."""

    def probabilities(self, decision_seq: int) -> Mapping[str, float]:
        """Logged probabilities, in float32 precision; empty where somebody else decided."""

    def forecast(self, decision_seq: int) -> Forecast | None:
        """What was given for the favourite's reward; None where an agent was chosen that was given less chance."""

    def favourites(self, decision_seq: int) -> Mapping[str, str]:
        """Whom each strategy preferred that was compared with others and had an answer, by its name."""


@dataclass(slots=True, frozen=True)
class FixedExampleContext:
    """What was known when one decision was made, given instead of loaded."""

    fixed_task: Task
    fixed_vectors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    fixed_eligible: tuple[str, ...] = ()
    fixed_probabilities: Mapping[str, float] = field(default_factory=dict)
    fixed_forecast: Forecast | None = None
    fixed_favourites: Mapping[str, str] = field(default_factory=dict)

    def task(self, decision_seq: int) -> Task:
        """The routed task."""
        return self.fixed_task

    def hashes(self, decision_seq: int) -> tuple[str | None, str | None]:
        """Its text, and all of it that makes it a task, as they are."""
        task = self.fixed_task
        return task.text or None, f"{task.text} {dict(task.features)} {task.task_type}"

    def vectors(self, decision_seq: int) -> Mapping[str, NDArray[Any]]:
        """Logged embeddings by encoder tag."""
        return self.fixed_vectors

    def eligible(self, decision_seq: int) -> tuple[str, ...]:
        """Names of the agents that were eligible."""
        return self.fixed_eligible

    def probabilities(self, decision_seq: int) -> Mapping[str, float]:
        """The logged distribution."""
        return self.fixed_probabilities

    def forecast(self, decision_seq: int) -> Forecast | None:
        """What was given for the favourite's reward."""
        return self.fixed_forecast

    def favourites(self, decision_seq: int) -> Mapping[str, str]:
        """Whom the compared strategies preferred."""
        return self.fixed_favourites


@dataclass(slots=True)
class Example:
    """One revision of one decision's joined outcome.

    Attributes:
        decision_id: Which decision.
        seq: Position in the log of the event that made this revision.
        decision_seq: Position in the log of the decision.
        revision: 0 for the first thing known, then 1, 2, … for each correction.
        agent: The agent that acted, whomever the decision named; None where it was "no agent fits".
        task_type: The task's type.
        reward: Joined reward of ``agent`` in [0, 1], or None while unknown.
        previous_reward: What the revision before said, or None.
        signals: Joined parts of the outcome.
        previous: Joined parts at the revision before, or None at revision 0.
        propensity: Probability with which ``agent`` was chosen; None where somebody else chose, or another one ran.
        at: The log's time when this revision took effect, in seconds since the epoch: never back from one example to
            the next, and no single clock carries it far away.
        first_at: The same of revision 0.
        decided_at: When the decision was made, by the clock of the process that made it.
        source: ``"routed"``, or ``"observed"`` where somebody else decided, or another agent ran than was chosen; in
            a fit ``"synthetic"`` where it was made up around an error, and is of no log.
    """

    decision_id: str
    seq: int
    decision_seq: int
    revision: int
    agent: str | None
    task_type: str
    reward: float | None
    previous_reward: float | None
    signals: Signals
    previous: Signals | None
    propensity: float | None
    at: float
    first_at: float
    decided_at: float
    source: str
    context: Context = field(repr=False, compare=False)

    @property
    def withdrawn(self) -> bool:
        """Whether it takes back what was said of ``agent``, because another one turned out to have acted."""
        return self.previous is not None and self.signals == Signals()

    @property
    def label(self) -> str | None:
        """The agent that would have been right; with ``labelled``, None means that none would."""
        return self.signals.correct_agent

    @property
    def labelled(self) -> bool:
        """Whether a label is known."""
        return self.signals.labelled

    @property
    def task(self) -> Task:
        """The routed task."""
        return self.context.task(self.decision_seq)

    @property
    def context_hash(self) -> str | None:
        """Equal for texts that differ in case, white space or Unicode form alone; None where there is none."""
        return self.context.hashes(self.decision_seq)[0]

    @property
    def dedupe_hash(self) -> str | None:
        """Equal for equal tasks; None where nothing of the task is kept."""
        return self.context.hashes(self.decision_seq)[1]

    @property
    def vectors(self) -> Mapping[str, NDArray[Any]]:
        """Embeddings that were made when routing, by encoder tag."""
        return self.context.vectors(self.decision_seq)

    @property
    def eligible(self) -> tuple[str, ...]:
        """Names of the agents that could have been chosen."""
        return self.context.eligible(self.decision_seq)

    @property
    def probabilities(self) -> Mapping[str, float]:
        """The logged distribution, in float32 precision."""
        return self.context.probabilities(self.decision_seq)

    @property
    def forecast(self) -> Forecast | None:
        """What the strategy gave for the reward of ``agent``; None where that is neither its favourite nor its like."""
        return self.context.forecast(self.decision_seq) if self.source == "routed" else None

    @property
    def favourites(self) -> Mapping[str, str]:
        """Whom each strategy preferred that was compared with others and had an answer, by its name."""
        return self.context.favourites(self.decision_seq)


@dataclass(slots=True, frozen=True)
class TrainingData:
    """What ``Strategy.fit`` is given.

    Attributes:
        examples: The newest revision of each usable decision, oldest first.
        agents: The agents to fit for.
        upto: Position in the log up to which ``examples`` reach; the rest is learnt before serving.
        held_out: Examples kept apart, oldest first: for early stopping and calibration, never for gradients. The
            same decision is held out of every fit.
        fresh_after: Position in the log up to which the fit before reached: later examples are fresh, earlier ones
            are there to be replayed.
        synthetic: Whether the examples come from a generator or a file rather than from what happened here.
    """

    examples: Sequence[Example]
    agents: AgentSet
    upto: int
    held_out: Sequence[Example] = ()
    fresh_after: int = 0
    synthetic: bool = False
