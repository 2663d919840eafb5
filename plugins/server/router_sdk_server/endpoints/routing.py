"""Who gets a task: decisions, rankings, and on what a decision rests."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json

from router_sdk import Decision
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Key, Names, TaskBody, body_of, idempotency_key_of, json_response
from router_sdk_server.endpoints.reasons import explained
from router_sdk_server.openapi import refusals
from router_sdk_server.service import service_of

_NOT_KEPT = (
    "the log keeps no evidence and no scores of a strategy, which are told in the process that decided alone; "
    "POST /v1/preview tells them of a task as things stand now"
)
endpoints = APIRouter(tags=["routing"], route_class=guarded("route"))


class RouteBody(BaseModel):
    """A task, or several."""

    model_config = ConfigDict(extra="forbid")

    task: TaskBody | None = None
    tasks: Annotated[list[TaskBody], Field(min_length=1, max_length=1_000)] | None = None
    exclude: Names = ()
    idempotency_key: Key | None = Field(default=None, description="The same key gives the same decision; for one task.")

    @model_validator(mode="after")
    def _one(self) -> RouteBody:
        if (self.task is None) == (self.tasks is None):
            raise ValueError("give a task, or tasks, one of the two")
        if self.tasks is not None and self.idempotency_key is not None:
            raise ValueError("idempotency_key: it is for one task; send tasks without it")
        return self


class RankBody(BaseModel):
    """A task to rank agents for."""

    model_config = ConfigDict(extra="forbid")

    task: TaskBody
    top_k: Annotated[int, Field(ge=1)] | None = None
    exclude: Names = ()


class DecisionAnswer(BaseModel):
    """Which agent gets a task; None means that no agent fits."""

    decision_id: str
    agent: str | None
    confidence: float | None
    calibrated: bool
    propensity: float | None
    explored: bool
    ranking: list[str]
    probabilities: dict[str, float]
    strategy: str
    model_version: int | None
    logged: bool
    skipped: list[dict[str, str]]
    excluded: dict[str, str]
    arm: str | None = Field(default=None, description="Of an experiment; there where one runs.")
    arm_probability: float | None = None
    favourites: dict[str, str] | None = Field(
        default=None, description="Whom each strategy prefers that was compared with others; there where some were."
    )


class DecisionsAnswer(BaseModel):
    """Decisions, in the order of the tasks."""

    decisions: list[DecisionAnswer]


class RankedAnswer(BaseModel):
    """Eligible agents, best first; none where no agent fits."""

    ranking: list[RankedAgent]


class RankedAgent(BaseModel):
    """One of them: rank 1 is best; the score is on the strategy's own scale, or the probability."""

    agent: str
    rank: int
    score: float
    probability: float


class Explanation(BaseModel):
    """Who answered, why, what was drawn, who was asked before, and who was not eligible."""

    model_config = ConfigDict(extra="allow")

    decision_id: str
    agent: str | None
    strategy: str
    propensity: float | None
    probabilities: dict[str, float]
    skipped: list[dict[str, str]]
    excluded: dict[str, str]
    arm: str | None = None
    arm_probability: float | None = None
    note: str | None = Field(default=None, description="What the log does not hold of it.")
    reward: float | None = None
    parts: list[dict[str, Any]] | None = Field(
        default=None, description="What was said of it since, by whom and why; told to keys that may record."
    )


def told(decision: Decision) -> dict[str, Any]:
    """A decision as it is answered."""
    more: dict[str, Any] = (
        {} if decision.arm is None else {"arm": decision.arm, "arm_probability": decision.arm_probability}
    )
    if decision.favourites:
        more["favourites"] = dict(decision.favourites)
    return {
        "decision_id": decision.decision_id,
        "agent": decision.agent,
        "confidence": decision.confidence,
        "calibrated": decision.calibrated,
        "propensity": decision.propensity,
        "explored": decision.explored,
        "ranking": decision.ranking,
        "probabilities": dict(decision.probabilities),
        "strategy": decision.strategy,
        "model_version": decision.model_version,
        "logged": decision.logged,
        "skipped": [step._asdict() for step in decision.skipped],
        "excluded": dict(decision.excluded),
        **more,
    }


@endpoints.post(
    "/v1/route",
    response_model=DecisionAnswer | DecisionsAnswer,
    openapi_extra=body_of(RouteBody, "As in the body."),
    responses=refusals(_409="Nobody is left to choose from, or the idempotency key was given for another task."),
)
async def route(request: Request) -> Response:
    """Choose an agent for a task, or for each of several, and log the decisions."""
    service, access = service_of(request), access_of(request)
    asked = RouteBody.model_validate_json(await request.body())
    router = service.router
    if asked.tasks is not None:
        tasks = [access.own(task) for task in asked.tasks]
        decisions = await asyncio.to_thread(router.route_batch, tasks, exclude=asked.exclude)  # others go on meanwhile
        service.decided(decisions)
        return json_response({"decisions": [told(decision) for decision in decisions]})
    assert asked.task is not None
    key = asked.idempotency_key or idempotency_key_of(request)
    decision = await router.aroute(access.own(asked.task), exclude=asked.exclude, idempotency_key=key)
    service.decided((decision,))
    return Response(to_json(told(decision)), media_type="application/json")


@endpoints.post(
    "/v1/rank",
    response_model=RankedAnswer,
    openapi_extra=body_of(RankBody),
    responses=refusals(_409="Nobody is left to choose from."),
)
async def rank(request: Request) -> Response:
    """Rank the eligible agents; nothing is logged and nothing explored."""
    asked = RankBody.model_validate_json(await request.body())
    task = access_of(request).own(asked.task)
    ranking = service_of(request).router.rank(task, top_k=asked.top_k, exclude=asked.exclude)
    return json_response({"ranking": [one._asdict() for one in ranking]})


@endpoints.get("/v1/explain/{decision}", response_model=Explanation, responses=refusals(_404="No such decision."))
def explain(request: Request, decision: str) -> Response:
    """On what a decision rests: the true probabilities, the propensity, and why others were not eligible.

    A key that may record is told what was said of it since, too; one of a tenant nothing of others' examples.
    """
    router, access = service_of(request).router, access_of(request)
    found = router.decision(decision, tenant=access.tenant)
    told = {**explained(router, access, found), "arm": found.arm, "arm_probability": found.arm_probability}
    if not told["evidence"]:
        told["note"] = _NOT_KEPT
    if access.may("record"):
        example = router.examples.of(decision)
        told["reward"] = None if example is None else example.reward
        told["parts"] = [
            {"position": part.position, "at": part.at, **part.outcome.model_dump(exclude_none=True)}
            for part in router.examples.parts(decision)
            if access.tenant is None or part.tenant in (None, access.tenant)
        ]
    return json_response(told)
