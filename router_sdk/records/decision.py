"""The logged choice, and the form in which it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from router_sdk.errors import InvalidInputError
from router_sdk.records.agent import Agent, AgentSet
from router_sdk.records.distribution import Distribution
from router_sdk.records.record import describe
from router_sdk.records.task import Task, TaskAsKept

if TYPE_CHECKING:
    from numpy.typing import NDArray

Source = Literal["routed", "observed", "kept", "shadow"]

_ROUNDING = 1e-3
"""By how much probabilities that were logged as float32 may miss a sum of 1."""


class Skipped(NamedTuple):
    """A strategy that did not answer, and why the next one was asked."""

    strategy: str
    reason: str


class Ranked(NamedTuple):
    """One agent in a ranking: rank 1 is best; ``score`` is on the strategy's own scale, or the probability."""

    agent: str
    rank: int
    score: float
    probability: float


@dataclass(slots=True, eq=False)
class Decision:
    """Which agent got a task, and everything needed to learn from it later. Treat it as read-only.

    It travels: as JSON (``model_dump_json``, ``model_validate_json``), as a dict of JSON values, which is msgpack, too
    (``model_dump``, ``model_validate``), by pickle, and as a field of a pydantic model, such as a response of FastAPI.
    Nothing is lost but what agents are beside their names: like the log, it keeps those.

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
        vectors: What the task's text was encoded to, by encoder tag.
        durable: Whether it was read from the log.
        session_propensity: The probability with which the session's choices so far were made, where that is known.
        arm: Of an experiment, or None.
        arm_probability: With which the task came to that arm.
        excluded: Agents that were not eligible, by name, and why: disabled, unhealthy, without what the task requires,
            excluded by the caller, beyond a limit of the task, or left out by a plugin or a hard rule. A decision that
            is read from the log names at most 256 of them.
        favourites: Whom each strategy prefers that is compared with others in the chain and had an answer, by its name;
            empty where none are compared.
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
    favourites: Mapping[str, str] = field(default_factory=dict)

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
        """Expected reward of the favourite, in [0, 1]: for rewards of 0 and 1, the chance that the choice is right.

        Where the strategy says that no agent fits, the chance of that. It is before the exploration floor.
        """
        return self.distribution.confidence

    @property
    def calibrated(self) -> bool:
        """Whether ``confidence`` was corrected by what came of the strategy's earlier ones, as far as the log says."""
        return self.distribution.calibrated

    @property
    def raw_confidence(self) -> float | None:
        """What the strategy itself said, where ``confidence`` is calibrated; else None."""
        return self.distribution.raw_confidence

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
        """Say who answered, why, what was drawn, who was asked before, and who was not eligible, as JSON values."""
        return {
            "decision_id": self.decision_id,
            "agent": self.agent,
            "strategy": self.strategy,
            "model_version": self.model_version,
            "arm": self.arm,
            "confidence": self.confidence,
            "calibrated": self.calibrated,
            "raw_confidence": self.raw_confidence,
            "explored": self.explored,
            "propensity": self.propensity,
            "epsilon": self.distribution.epsilon,
            "probabilities": dict(self.probabilities),
            "evidence": dict(self.distribution.explain()),
            "skipped": [step._asdict() for step in self.skipped],
            "excluded": dict(self.excluded),
            "favourites": dict(self.favourites),
        }

    def to_dict(self) -> dict[str, Any]:
        """The decision in short, as JSON values: without the task's payload, the evidence and what was encoded."""
        told = self.model_dump(exclude={"task", "evidence", "vectors", "durable"})
        return {**told, "task_type": self.task.task_type}

    # -- travel

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The whole decision as JSON values; ``options`` are pydantic's, such as ``exclude={"task"}``."""
        return _Travelling.of(self).model_dump(**{"mode": "json", **options})

    def model_dump_json(self, **options: Any) -> str:
        """The whole decision as JSON; ``options`` are pydantic's."""
        return _Travelling.of(self).model_dump_json(**options)

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        """Inverse of ``model_dump``; a decision is taken as it is.

        Raises:
            InvalidInputError: if a field is missing, unknown or malformed.
        """
        if isinstance(value, cls):
            return value
        try:
            return cls._from(_Travelling.model_validate(value))
        except ValidationError as error:
            raise InvalidInputError(f"Decision: {describe(error)}") from None

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Inverse of ``model_dump_json``.

        Raises:
            InvalidInputError: if the text is no JSON, or a field is missing, unknown or malformed.
        """
        try:
            return cls._from(_Travelling.model_validate_json(text))
        except ValidationError as error:
            raise InvalidInputError(f"Decision: {describe(error)}") from None

    @classmethod
    def model_construct(cls, **fields: Any) -> Self:
        """``model_validate`` of keyword arguments: what LangGraph's checkpointers call for a pydantic model."""
        return cls.model_validate(fields)

    @classmethod
    def _from(cls, told: _Travelling) -> Self:
        fields = {name: getattr(told, name) for name in cls.__dataclass_fields__ if name != "distribution"}
        fields["vectors"] = None if told.vectors is None else {tag: one.array() for tag, one in told.vectors.items()}
        return cls(distribution=told.distribution(), **fields)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        travelling = handler.generate_schema(_Travelling)
        return core_schema.no_info_wrap_validator_function(
            lambda value, check: value if isinstance(value, cls) else cls._from(check(value)),
            travelling,
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda decision, write: write(_Travelling.of(decision)), schema=travelling
            ),
        )

    def __hash__(self) -> int:
        return hash(self.decision_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and other.decision_id == self.decision_id


class _Vector(BaseModel):
    """An array of one dimension: its type as numpy writes it, and its bytes."""

    __qualname__ = "Vector"
    model_config = ConfigDict(extra="forbid")

    dtype: Annotated[str, StringConstraints(pattern=r"^[<>|=][fiu][0-9]{1,2}$")]
    data: Base64Bytes

    @classmethod
    def of(cls, vector: NDArray[Any]) -> _Vector:
        return cls.model_construct(dtype=vector.dtype.str, data=vector.tobytes())

    def array(self) -> NDArray[Any]:
        import numpy as np

        return np.frombuffer(self.data, dtype=self.dtype)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        try:
            self.array()
        except TypeError:
            raise ValueError(f"dtype: numpy knows none called {self.dtype!r}") from None
        return self


_Chance = Annotated[float, Field(ge=0, le=1)]
_STEP = {"type": "object", "properties": {name: {"type": "string"} for name in Skipped._fields}}
_Step = Annotated[Skipped, PlainSerializer(Skipped._asdict), WithJsonSchema({**_STEP, "required": [*Skipped._fields]})]


class _Travelling(BaseModel):
    """Which agent got a task, and everything needed to learn from it later."""

    __qualname__ = "Decision"  # this name, and these words, stand in the schemas of other people's interfaces
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, title="Decision")

    decision_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    agent: str | None
    task: TaskAsKept
    at: float
    strategy: str
    model_version: int | None = None
    confidence: _Chance | None = None
    calibrated: bool = False
    """Whether there is a raw confidence; follows from that."""
    raw_confidence: _Chance | None = None
    propensity: _Chance | None = None
    explored: bool = False
    epsilon: _Chance = 0.0
    eligible: tuple[str, ...]
    """Agents who could have been chosen, in their order."""
    probabilities: dict[str, _Chance]
    """Of each of them, after the floor; empty where no agent fits, or somebody else decided."""
    ranking: tuple[str, ...] = ()
    """The eligible, best first; follows from the rest, and is read by nobody who reads the whole."""
    favourite: str | None = None
    scores: dict[str, float] | None = None
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    source: Source = "routed"
    logged: bool = True
    skipped: tuple[_Step, ...] = ()
    vectors: dict[str, _Vector] | None = None
    durable: bool = False
    session_propensity: _Chance | None = None
    arm: str | None = None
    arm_probability: _Chance | None = None
    excluded: dict[str, str] = Field(default_factory=dict)
    favourites: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.probabilities and set(self.probabilities) != set(self.eligible):
            raise ValueError("probabilities: must name those who were eligible, all of them, or nobody")
        if self.probabilities and abs(sum(self.probabilities.values()) - 1.0) > _ROUNDING:
            raise ValueError("probabilities: must sum to 1")
        if self.source != "observed" and self.agent is not None and self.agent not in self.eligible:
            raise ValueError(f"agent: {self.agent!r} was not eligible")
        if self.favourite is not None and self.favourite not in self.eligible:
            raise ValueError(f"favourite: {self.favourite!r} was not eligible")
        return self

    @classmethod
    def of(cls, decision: Decision) -> _Travelling:
        drawn = decision.distribution
        names = drawn.agents.names
        fields = {name: getattr(decision, name) for name in cls.model_fields if hasattr(decision, name)}
        vectors = decision.vectors
        return cls.model_construct(
            **{
                **fields,
                "epsilon": drawn.epsilon,
                "eligible": names,
                "probabilities": dict(drawn.probabilities),
                "favourite": None if drawn.favourite < 0 else names[drawn.favourite],
                "scores": None if drawn.scores is None else dict(drawn.scores),
                "evidence": dict(drawn.explain()),
                "vectors": None if vectors is None else {tag: _Vector.of(vector) for tag, vector in vectors.items()},
            }
        )

    def distribution(self) -> Distribution:
        agents = AgentSet([Agent(name) for name in self.eligible])
        return Distribution(
            agents,
            tuple(self.probabilities[name] for name in self.eligible) if self.probabilities else (),
            -1 if self.favourite is None else agents.positions[self.favourite],
            self.confidence,
            self.scores,
            self.evidence,
            self.strategy,
            self.model_version,
            self.epsilon,
            self.raw_confidence,
        )
