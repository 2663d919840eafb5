"""The logged choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records.distribution import Distribution
    from router_sdk.records.task import Task

Source = Literal["routed", "observed", "kept", "shadow"]


class Skipped(NamedTuple):
    """A strategy that did not answer, and why the next one was asked."""

    strategy: str
    reason: str


@dataclass(slots=True, eq=False)
class Decision:
    """Which agent got a task, and everything needed to learn from it later. Treat it as read-only.

    Attributes:
        decision_id: 32 hexadecimal digits that sort by time.
        agent: The chosen agent's name; None means that no agent fits.
        task: What was routed.
        at: When, in seconds since the epoch.
        propensity: The probability with which ``agent`` was chosen; None where somebody else chose.
        explored: Whether another agent than the strategy's favourite was drawn.
        source: ``"routed"`` by this router, ``"observed"`` where somebody else decided, ``"kept"`` from a step before,
            or ``"shadow"`` where another decision was acted on.
        logged: False when the log's queue was full and the decision could not be kept.
        skipped: Strategies that abstained or failed before one answered.
        session_propensity: The probability with which the session's choices so far were made, where that is known.
        arm: Of an experiment, or None.
        arm_probability: With which the task came to that arm.
        excluded: Agents that were not eligible, by name, and why: disabled, unhealthy, without what the task requires,
            excluded by the caller, beyond a limit of the task, or left out by a plugin or a hard rule. A decision that
            is read from the log names at most 256 of them.
    """

    decision_id: str
    agent: str | None
    task: Task
    at: float
    propensity: float | None
    explored: bool
    distribution: Distribution
    source: Source = "routed"
    logged: bool = True
    skipped: tuple[Skipped, ...] = ()
    vectors: Mapping[str, NDArray[Any]] | None = None
    durable: bool = False
    session_propensity: float | None = None
    arm: str | None = None
    arm_probability: float | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        """Name of the strategy that answered."""
        return self.distribution.strategy

    @property
    def model_version(self) -> int | None:
        """Fitted version of that strategy, or None."""
        return self.distribution.model_version

    @property
    def confidence(self) -> float | None:
        """The favourite's chance before the exploration floor, in [0, 1]."""
        return self.distribution.confidence

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Eligible agents' probabilities after the floor; they sum to 1."""
        return self.distribution.probabilities

    @property
    def ranking(self) -> tuple[str, ...]:
        """Eligible agents' names, best first."""
        return self.distribution.ranking

    @property
    def scores(self) -> Mapping[str, float] | None:
        """The strategy's own scores, on its own scale."""
        return self.distribution.scores

    def explain(self) -> dict[str, Any]:
        """Say who answered, why, what was drawn, who was asked before, and who was not eligible."""
        return {
            "decision_id": self.decision_id,
            "agent": self.agent,
            "strategy": self.strategy,
            "model_version": self.model_version,
            "confidence": self.confidence,
            "explored": self.explored,
            "propensity": self.propensity,
            "epsilon": self.distribution.epsilon,
            "probabilities": dict(self.probabilities),
            "evidence": dict(self.distribution.explain()),
            "skipped": [step._asdict() for step in self.skipped],
            "excluded": dict(self.excluded),
        }

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON-ready values, without the task's payload."""
        return {
            **{key: value for key, value in self.explain().items() if key != "evidence"},
            "ranking": list(self.ranking),
            "scores": None if self.scores is None else dict(self.scores),
            "at": self.at,
            "source": self.source,
            "logged": self.logged,
            "task_type": self.task.task_type,
        }

    def __hash__(self) -> int:
        return hash(self.decision_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and other.decision_id == self.decision_id
