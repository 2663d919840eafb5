"""What happened: outcomes of decisions and sessions, and decisions that somebody else made."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from router_sdk import Outcome, Router, RouterError
from router_sdk.errors import IdempotencyConflictError, UnknownDecisionError
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Key, Name, OutcomeBody, TaskBody, body_of, idempotency_key_of, json_response
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Problem, Refused, problem_of
from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["outcomes"], route_class=guarded("record"))

_MOST = 10_000
_UNCOMPARED = {"response", "feedback_text", "error", "reason", "origin", "actor"}
"""Texts may be kept in another form than they were said in, and whose word it is is the key's."""


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
    openapi_extra=body_of(OutcomesBody, "As outcome_id; with several reports, the key and a report's place are."),
    responses=refusals(
        _404="The decision is another tenant's.",
        _409="The decision has as many outcomes as it may have, or the id was given for something else.",
    ),
)
async def record(request: Request) -> Response:
    """Report what came of decisions; what is answered as recorded is on disk.

    Parts may come late, repeated and in any order. An outcome that names another ``agent`` than the decision did is
    learnt as observed. One whose decision is not in the log yet waits for it.
    """
    asked, idempotency_key = OutcomesBody.model_validate_json(await request.body()), idempotency_key_of(request)
    if asked.outcomes is None:
        assert asked.decision_id is not None
        assert asked.outcome is not None
        await _record(request, asked.decision_id, asked.outcome, asked.outcome_id or idempotency_key)
        return json_response({"decision_id": asked.decision_id, "recorded": 1})
    results = await _record_all(request, asked.outcomes, idempotency_key)
    count = sum(one["recorded"] for one in results)
    return json_response({"recorded": count, "refused": len(results) - count, "results": results})


class SessionBody(BaseModel):
    """What came of a whole session."""

    model_config = ConfigDict(extra="forbid")

    outcome: OutcomeBody
    tenant: Name | None = Field(default=None, description="Whose session; none is that of tasks without a tenant.")


class SessionRecorded(BaseModel):
    """For how many decisions it was recorded."""

    session_id: str
    recorded: int


class Observation(BaseModel):
    """What somebody else decided, and what came of it."""

    model_config = ConfigDict(extra="forbid")

    task: TaskBody
    agent: Annotated[str, Field(max_length=200)] | None = Field(description="Who did it; null means that nobody fits.")
    outcome: OutcomeBody | None = None


class ObservationsBody(BaseModel):
    """Several of them; all are logged, or none."""

    model_config = ConfigDict(extra="forbid")

    observations: Annotated[list[Observation], Field(min_length=1, max_length=_MOST)]


class Observed(BaseModel):
    """The decisions that they are logged as, in their order."""

    decision_ids: list[str]


@endpoints.post(
    "/v1/sessions/{session_id:path}/outcomes",
    response_model=SessionRecorded,
    responses=refusals(_404="The session has no decisions.", _409="A decision has as many outcomes as it may have."),
)
def record_session(
    request: Request, session_id: Annotated[str, Path(min_length=1, max_length=200)], body: SessionBody
) -> Response:
    """Report one outcome for every decision of a session."""
    service, access = service_of(request), access_of(request)
    signed = access.signed(body.outcome)
    count = service.router.record_session(session_id, signed, tenant=access.tenant_of(body.tenant))
    service.recorded(signed, count)
    return json_response({"session_id": session_id, "recorded": count})


@endpoints.post("/v1/observations", response_model=Observed)
def observe(request: Request, body: ObservationsBody | Observation) -> Response:
    """Log decisions that somebody else made, with their outcomes; they train like any other."""
    service, access = service_of(request), access_of(request)
    given = body.observations if isinstance(body, ObservationsBody) else [body]
    observed = [
        (access.own(one.task), one.agent, None if one.outcome is None else access.signed(one.outcome)) for one in given
    ]
    decisions = service.router.observe_batch(observed)
    for _, _, outcome in observed:
        if outcome is not None:
            service.recorded(outcome)
    return json_response({"decision_ids": [decision.decision_id for decision in decisions]})


async def _record(request: Request, decision_id: str, outcome: Outcome, outcome_id: str | None) -> None:
    service, access = service_of(request), access_of(request)
    signed, begun = access.signed(outcome), time.time()
    await service.router.arecord(decision_id, signed, outcome_id=outcome_id, tenant=access.tenant)
    if outcome_id is None or await asyncio.to_thread(delivered, service.router, decision_id, signed, outcome_id, begun):
        service.recorded(signed)


async def _record_all(request: Request, given: list[JsonValue], key: str | None) -> list[dict[str, Any]]:
    """A verdict on each report: what is malformed is told apart, the rest is recorded together."""
    service, access = service_of(request), access_of(request)
    results: list[dict[str, Any]] = []
    sound: list[tuple[int, str, Outcome, str | None]] = []
    for place, one in enumerate(given):
        named = one.get("decision_id") if isinstance(one, dict) else None
        results.append({"decision_id": named if isinstance(named, str) else None, "recorded": False})
        try:
            report = Report.model_validate(one)
            delivery = report.outcome_id or (None if key is None else f"{key}:{place}")
            sound.append((place, report.decision_id, access.signed(report.outcome), delivery))
        except (Refused, ValidationError) as error:
            results[place]["problem"] = problem_of(error)
    begun = time.time()
    faults = await service.router.arecord_batch(
        [(decision_id, outcome, delivery) for _, decision_id, outcome, delivery in sound], tenant=access.tenant
    )
    for (place, decision_id, outcome, delivery), fault in zip(sound, faults, strict=True):
        try:
            if fault is not None:
                raise fault
            new = delivery is None or await asyncio.to_thread(
                delivered, service.router, decision_id, outcome, delivery, begun
            )
        except RouterError as error:
            results[place]["problem"] = problem_of(error)
            continue
        results[place]["recorded"] = True
        if new:
            service.recorded(outcome)
    return results


def delivered(router: Router, decision_id: str, outcome: Outcome, outcome_id: str, begun: float) -> bool:
    """Whether what was recorded just now under an id of its delivery is new; False where it came before.

    Args:
        router: Recorded it.
        decision_id: Of which decision.
        outcome: What was said.
        outcome_id: Under which id.
        begun: When it was about to be recorded, in seconds since the epoch.

    Raises:
        IdempotencyConflictError: if the id was given before, for something else, so that this is not stored.
    """
    parts = router.examples.parts(decision_id)
    mine = next((part for part in parts if part.outcome_id == outcome_id), None)
    if mine is None:
        try:
            router.decision(decision_id)
        except UnknownDecisionError:
            return True  # it waits for its decision
        raise IdempotencyConflictError(f"outcome_id: {outcome_id!r:.210} was given before, for another decision")
    said, kept = outcome.model_dump(exclude=_UNCOMPARED), mine.outcome.model_dump(exclude=_UNCOMPARED)
    if said != kept and any(value is not None for value in kept.values()):
        raise IdempotencyConflictError(f"outcome_id: {outcome_id!r:.210} was given before, for another outcome")
    return mine.at >= begun
