"""What happened: outcomes of decisions and sessions, and decisions that somebody else made."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from router_sdk import Outcome, RouterError
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Key, OutcomeBody, body_of, json_response
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Problem, Refused, problem_of
from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["outcomes"], route_class=guarded("record"))

_MOST = 10_000


class Report(BaseModel):
    """What came of one decision."""

    model_config = ConfigDict(extra="forbid")

    decision_id: Annotated[str, Field(max_length=200)]
    outcome: OutcomeBody
    outcome_id: Key | None = Field(default=None, description="Your own id of it; a second delivery is not stored.")


class OutcomesBody(BaseModel):
    """One report, or several that stand or fall each by itself."""

    model_config = ConfigDict(extra="forbid")

    decision_id: Annotated[str, Field(max_length=200)] | None = None
    outcome: OutcomeBody | None = None
    outcome_id: Key | None = None
    outcomes: Annotated[list[JsonValue], Field(min_length=1, max_length=_MOST)] | None = None

    @model_validator(mode="after")
    def _one(self) -> OutcomesBody:
        one = (self.decision_id, self.outcome)
        if (self.outcomes is None) != (None not in one) or (self.outcomes and (*one, self.outcome_id) != (None,) * 3):
            raise ValueError("give a decision_id with an outcome, or outcomes, one of the two")
        return self


class Recorded(BaseModel):
    """It is on disk."""

    decision_id: str
    recorded: int


class Verdict(BaseModel):
    """What became of one report."""

    decision_id: str | None
    recorded: bool
    problem: Problem | None = None


class Verdicts(BaseModel):
    """What became of each report, in their order."""

    recorded: int
    refused: int
    results: list[Verdict]


@endpoints.post(
    "/v1/outcomes",
    response_model=Recorded | Verdicts,
    openapi_extra=body_of(OutcomesBody),
    responses=refusals(
        _404="The decision is another tenant's.", _409="The decision has as many outcomes as it may have."
    ),
)
async def record(
    request: Request,
    idempotency_key: Annotated[
        Annotated[str, Field(min_length=1, max_length=180)] | None,
        Header(description="As outcome_id; with several reports, the key and a report's place are."),
    ] = None,
) -> Response:
    """Report what came of decisions; what is answered as recorded is on disk.

    Parts may come late, repeated and in any order. An outcome that names another ``agent`` than the decision did is
    learnt as observed. One whose decision is not in the log yet waits for it.
    """
    asked = OutcomesBody.model_validate_json(await request.body())
    if asked.outcomes is None:
        assert asked.decision_id is not None
        assert asked.outcome is not None
        await _record(request, asked.decision_id, asked.outcome, asked.outcome_id or idempotency_key)
        return json_response({"decision_id": asked.decision_id, "recorded": 1})
    results = await asyncio.gather(
        *(
            _verdict(request, one, None if idempotency_key is None else f"{idempotency_key}:{place}")
            for place, one in enumerate(asked.outcomes)
        )
    )
    count = sum(one["recorded"] for one in results)
    return json_response({"recorded": count, "refused": len(results) - count, "results": results})


async def _record(request: Request, decision_id: str, outcome: Outcome, outcome_id: str | None) -> None:
    service, access = service_of(request), access_of(request)
    signed = access.signed(outcome)
    await service.router.arecord(decision_id, signed, outcome_id=outcome_id, tenant=access.tenant)
    service.recorded(signed)


async def _verdict(request: Request, given: JsonValue, outcome_id: str | None) -> dict[str, Any]:
    named = given.get("decision_id") if isinstance(given, dict) else None
    decision_id = named if isinstance(named, str) else None
    try:
        report = Report.model_validate(given)
        await _record(request, report.decision_id, report.outcome, report.outcome_id or outcome_id)
    except (RouterError, Refused, ValidationError) as error:
        return {"decision_id": decision_id, "recorded": False, "problem": problem_of(error)}
    return {"decision_id": decision_id, "recorded": True}
