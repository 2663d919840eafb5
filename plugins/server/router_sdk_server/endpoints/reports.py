"""What was learnt, what the service does, and whom to ask."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Name, json_response
from router_sdk_server.metrics import CONTENT_TYPE
from router_sdk_server.service import service_of

figures = APIRouter(tags=["reports"], route_class=guarded("metrics"))
asking = APIRouter(tags=["reports"], route_class=guarded("record"))


class Question(BaseModel):
    """A decision whose outcome would teach much."""

    decision_id: str
    at: float
    agent: str | None
    probabilities: dict[str, float]
    task: dict[str, Any]


class Questions(BaseModel):
    """Decisions to ask about, the most telling first."""

    decisions: list[Question]


@figures.get("/v1/statistics", response_model=dict[str, Any])
def statistics(request: Request) -> Response:
    """Totals over the store, as far as this worker has learnt it; see ``Router.statistics``."""
    access_of(request).require_all_tenants()
    return json_response(service_of(request).router.statistics())


class SavingsAnswer(BaseModel):
    """What was spent against a baseline; where nothing can be said numbers are null, and ``words`` says why."""

    baseline: str
    agent: str | None
    compared: int
    spent_usd: float | None
    baseline_usd: float | None
    saved_usd: float | None
    saved_usd_interval: tuple[float, float] | None
    saved_share: float | None
    unknown: int
    incomparable: int
    reward: float | None
    baseline_reward: float | None
    reward_difference_interval: tuple[float, float] | None
    words: str


@figures.get("/v1/savings", response_model=SavingsAnswer)
def savings(request: Request, baseline: Name = "best_single") -> Response:
    """What was spent against ``best_single``, ``dearest``, ``previous_champion`` or an agent, and with what quality."""
    access_of(request).require_all_tenants()
    return json_response(service_of(request).router.savings(baseline).to_dict())


@figures.get("/v1/status", response_model=dict[str, Any])
def status(request: Request, last: Annotated[int, Query(ge=1, le=1_000)] = 5) -> Response:
    """Everything that ``router status`` shows: who answers and why, what was learnt, what needs attention."""
    access_of(request).require_all_tenants()
    return json_response(service_of(request).router.status(last=last))


@figures.get(
    "/metrics",
    responses={200: {"description": "Figures in Prometheus's text format.", "content": {"text/plain": {}}}},
    response_class=Response,
)
def metrics(request: Request) -> Response:
    """What all workers count, and what the store knows, for Prometheus."""
    access_of(request).require_all_tenants()
    service = service_of(request)
    return Response(service.metrics.text(service.router), media_type=CONTENT_TYPE)


@asking.get("/v1/ask", response_model=Questions)
def ask(request: Request, n: Annotated[int, Query(ge=1, le=1_000)] = 10, tenant: Name | None = None) -> Response:
    """Recent decisions without an outcome, those first whose outcome would teach most."""
    whose = access_of(request).tenant_of(tenant)
    found = service_of(request).router.examples.ask_about(n, tenant=whose)
    return json_response(
        {
            "decisions": [
                {
                    "decision_id": one.decision_id,
                    "at": one.at,
                    "agent": one.agent,
                    "probabilities": dict(one.probabilities),
                    "task": one.task.model_dump(mode="json", exclude_unset=True),
                }
                for one in found
            ]
        }
    )
