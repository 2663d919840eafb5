"""What the page shows: figures for all its viewers, as they change; decisions with what was said of them; a preview."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from router_sdk import Decision, Router, RouterError
from router_sdk_server.access import Access, access_of, guarded
from router_sdk_server.bodies import Name, Names, TaskBody, json_response
from router_sdk_server.dashboard.overview import Overview
from router_sdk_server.endpoints.reasons import explained
from router_sdk_server.openapi import refusals
from router_sdk_server.service import service_of

figures = APIRouter(tags=["reports"], route_class=guarded("metrics"))
telling = APIRouter(tags=["reports"], route_class=guarded("record"))
trying = APIRouter(tags=["routing"], route_class=guarded("route"))
own = APIRouter(include_in_schema=False)

_LOOK_S = 0.5
_QUIET_S = 15.0
"""After so long without news a line is sent that says nothing, so that a connection that is gone is noticed."""
_NEAREST = 5


class OverviewAnswer(BaseModel):
    """The page's figures in parts that change at different speeds, and three answers from them in words."""

    model_config = ConfigDict(extra="allow")

    activity: dict[str, Any]
    state: dict[str, Any]
    evidence: dict[str, Any]
    answers: dict[str, Any]


class Told(BaseModel):
    """A decision with its task, and what was said of it."""

    decision_id: str
    at: float
    agent: str | None
    strategy: str
    task: dict[str, Any]
    reward: float | None
    parts: list[dict[str, Any]]


class ToldAnswer(BaseModel):
    """Decisions, newest first."""

    decisions: list[Told]


class PreviewBody(BaseModel):
    """A task to try."""

    model_config = ConfigDict(extra="forbid")

    task: TaskBody
    exclude: Names = ()


class PreviewAnswer(BaseModel):
    """Who would get it, and why."""

    model_config = ConfigDict(extra="allow")

    agent: str | None
    ranking: list[str]
    probabilities: dict[str, float]
    strategy: str
    evidence: dict[str, Any]
    nearest: list[dict[str, Any]]


def _overview(request: Request) -> Overview:
    access_of(request).require_all_tenants()
    return service_of(request).overview


@figures.get("/v1/overview", response_model=OverviewAnswer)
async def overview(request: Request) -> Response:
    """The page's figures: what was decided lately and what came of it, what serves and why, and whether it helps."""
    return Response(b"{" + b",".join(_named(await _overview(request).fresh())) + b"}", media_type="application/json")


def _named(parts: Mapping[str, bytes]) -> list[bytes]:
    return [b'"' + name.encode() + b'":' + part for name, part in parts.items()]


@figures.get(
    "/v1/overview/events",
    responses={200: {"description": "A part each time it has changed.", "content": {"text/event-stream": {}}}},
    response_class=Response,
)
async def overview_events(
    request: Request,
    for_s: Annotated[float, Query(ge=0, le=3_600, description="After how many seconds it ends; ask again then.")] = 300,
) -> Response:
    """The same as server-sent events, a part each time it has changed; worked out once for all who listen."""
    shared, service = _overview(request), service_of(request)
    first = await shared.fresh()

    async def events() -> AsyncIterator[bytes]:
        sent: dict[str, bytes] = {}
        parts, end, spoke = first, time.monotonic() + for_s, time.monotonic()
        while True:
            for name, part in parts.items():
                if sent.get(name) != part:
                    sent[name], spoke = part, time.monotonic()
                    yield b"event: " + name.encode() + b"\ndata: " + part + b"\n\n"
            if time.monotonic() >= end or service.ending or await request.is_disconnected():
                return
            if time.monotonic() - spoke > _QUIET_S:
                spoke = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(_LOOK_S)
            parts = await shared.fresh()

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


@telling.get("/v1/decisions", response_model=ToldAnswer)
def decisions(
    request: Request,
    n: Annotated[int, Query(ge=1, le=200)] = 20,
    session_id: Name | None = None,
    tenant: Name | None = None,
) -> Response:
    """The newest decisions with their tasks, and what was said of each; of one session where it is named."""
    access, router = access_of(request), service_of(request).router
    whose = access.tenant_of(tenant)
    found = router.examples.decisions(n, session_id=session_id, tenant=whose)
    return json_response({"decisions": [_told(router, access, one) for one in found]})


def _told(router: Router, access: Access, decision: Decision) -> dict[str, Any]:
    example = router.examples.of(decision.decision_id)
    parts = router.examples.parts(decision.decision_id)
    return {
        **explained(router, access, decision),
        "at": decision.at,
        "source": decision.source,
        "task": decision.task.model_dump(mode="json", exclude_unset=True),
        "reward": None if example is None else example.reward,
        "parts": [
            {"position": part.position, "at": part.at, **part.outcome.model_dump(exclude_none=True)}
            for part in parts
            if access.tenant is None or part.tenant in (None, access.tenant)
        ],
    }


@trying.post("/v1/preview", response_model=PreviewAnswer, responses=refusals(_409="Nobody is left to choose from."))
def preview(request: Request, asked: PreviewBody) -> Response:
    """Who would get a task now, and on what that rests; nothing is logged.

    Of the nearest examples a key that may record is told the texts, as far as they are its tenant's.
    """
    access, router = access_of(request), service_of(request).router
    decision = router.preview(access.own(asked.task), exclude=asked.exclude)
    told = explained(router, access, decision)
    told |= {"ranking": decision.ranking, "nearest": _nearest(router, access, told["evidence"].get("nearest"))}
    del told["decision_id"]
    return json_response(told)


def _nearest(router: Router, access: Access, named: Any) -> list[dict[str, Any]]:
    """The stored examples that the evidence names, with their texts."""
    found = []
    for one in (named if isinstance(named, list) else [])[:_NEAREST]:
        told = dict(one)
        if "decision_id" in one:
            try:
                known = router.decision(one["decision_id"], tenant=access.tenant)
            except RouterError:  # it is not in the log any more
                continue
            told["text"] = known.task.text if access.may("record") else None
        found.append(told)
    return found


@own.get("/dashboard/me")
async def me(request: Request) -> Response:
    """Who the page's viewer is, and what that key may do."""
    access = access_of(request)
    scopes = [scope for scope in ("route", "record", "metrics", "admin") if access.may(scope)]
    return json_response({"name": access.actor, "scopes": scopes, "tenant": access.tenant})
