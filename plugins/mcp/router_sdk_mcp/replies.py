"""What the tools answer: models, so that clients get schemas and structured content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, JsonValue

if TYPE_CHECKING:
    from router_sdk import Agent, Decision


class Routed(BaseModel):
    """Who gets the task."""

    decision_id: str = Field(description="What record, explain and a later task's parent_decision_id take.")
    agent: str | None = Field(description="The chosen agent; null where no agent fits.")
    confidence: float | None = Field(description="Expected reward of the favourite, before exploration, from 0 to 1.")
    propensity: float | None = Field(description="The probability with which the agent was chosen.")
    explored: bool = Field(description="Whether another than the favourite was drawn, to learn about it.")
    strategy: str = Field(description="Which strategy answered.")
    ranking: list[str] = Field(description="Everybody who could have been chosen, best first.")
    logged: bool = Field(description="False where the log's queue was full; record it all the same.")
    evidence: dict[str, JsonValue] | None = Field(description="What the choice rests on, where that was asked for.")

    @classmethod
    def of(cls, decision: Decision, *, explain: bool = False) -> Self:
        """In short, or with the evidence, which the log does not keep."""
        fields = {name: getattr(decision, name) for name in cls.model_fields if name not in ("ranking", "evidence")}
        evidence = decision.explain()["evidence"] if explain else None
        return cls(ranking=list(decision.ranking), evidence=evidence, **fields)


class Recorded(BaseModel):
    """The outcome is on disk."""

    decision_id: str
    recorded: bool = True


class RankedAgent(BaseModel):
    """One agent in a ranking."""

    agent: str
    rank: int = Field(description="1 is best.")
    score: float = Field(description="On the strategy's own scale.")
    probability: float = Field(description="With which it would be chosen.")


class Ranking(BaseModel):
    """Eligible agents, best first; empty where no agent fits."""

    agents: list[RankedAgent]


class PassedOver(BaseModel):
    """A strategy that did not answer."""

    strategy: str
    reason: str


class Explanation(BaseModel):
    """Who answered, what was drawn, who was asked before, and who was not eligible."""

    decision_id: str
    agent: str | None
    strategy: str
    model_version: int | None
    confidence: float | None
    calibrated: bool
    raw_confidence: float | None
    explored: bool
    propensity: float | None
    epsilon: float
    probabilities: dict[str, float]
    skipped: list[PassedOver]
    excluded: dict[str, str]


class Question(BaseModel):
    """A decision of which nobody said how it went."""

    decision_id: str
    agent: str | None
    text: str = Field(description="The task's text; empty where the log does not keep it.")
    task_type: str
    session_id: str | None
    confidence: float | None


class Questions(BaseModel):
    """Decisions to ask people about, those first whose outcome would teach most."""

    decisions: list[Question]


class Known(BaseModel):
    """The agent as it is known from now on."""

    name: str
    description: str
    examples: list[str]
    capabilities: list[str]
    cost_usd: float | None
    latency_ms: float | None
    enabled: bool

    @classmethod
    def of(cls, agent: Agent) -> Self:
        """Without its metadata, which are the program's own."""
        fields = {name: getattr(agent, name) for name in cls.model_fields}
        return cls(**{**fields, "examples": list(agent.examples), "capabilities": sorted(agent.capabilities)})
