"""Who can be chosen, who is well, and how they do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from router_sdk import Agent
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Name, json_response
from router_sdk_server.gateway.upstreams import Upstream
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Refused
from router_sdk_server.service import service_of

reading = APIRouter(tags=["agents"], route_class=guarded("route"))
figures = APIRouter(tags=["agents"], route_class=guarded("metrics"))
changing = APIRouter(tags=["agents"], route_class=guarded("admin"))

AgentPath = Annotated[str, Path(min_length=1, max_length=200, description="The agent's name; it may hold slashes.")]


class AgentsAnswer(BaseModel):
    """All agents in their order, and the names of those that get traffic now."""

    agents: list[dict[str, Any]]
    available: list[str]


class PerformanceAnswer(BaseModel):
    """Reports of the agents, best first."""

    agents: list[dict[str, Any]]


class Health(BaseModel):
    """Whether an agent is well."""

    model_config = ConfigDict(extra="forbid")

    healthy: bool
    for_s: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 30.0


@figures.get("/v1/agents/performance", response_model=PerformanceAnswer)
def performance(
    request: Request,
    task_type: Name | None = None,
    top_k: Annotated[int | None, Query(ge=1, le=10_000)] = None,
) -> Response:
    """How the agents do: score, rank, and what was measured, over their last hundred executions and over all."""
    access_of(request).require_all_tenants()
    found = service_of(request).router.agent_performance(task_type=task_type, top_k=top_k)
    return json_response({"agents": [one.to_dict() for one in found]})


@reading.get("/v1/agents", response_model=AgentsAnswer)
def agents(request: Request) -> Response:
    """Who can be chosen."""
    router = service_of(request).router
    return json_response(
        {"agents": [agent.model_dump(mode="json") for agent in router.agents], "available": router.available}
    )


@changing.put(
    "/v1/agents/{name:path}/health",
    response_model=Health,
    responses=refusals(_404="No such agent."),
)
def put_health(request: Request, name: AgentPath, health: Health) -> Response:
    """Keep traffic away from an agent for a while, or let it back; in every worker within a second."""
    access_of(request).require_all_tenants()
    service = service_of(request)
    _require(request, name)
    service.health.put(name, healthy=health.healthy, for_s=health.for_s)
    service.health.follow(service.router)
    return json_response(health.model_dump())


@changing.put(
    "/v1/agents/{name:path}",
    response_model=dict[str, Any],
    responses=refusals(_409="The configuration lists the agents; change it there."),
)
def put_agent(request: Request, name: AgentPath, fields: dict[str, JsonValue], fresh: bool = False) -> Response:
    """Add or replace an agent; no restart, no retraining. The body has its fields, see ``Agent``.

    With ``fresh`` what was learnt under its name so far is forgotten; else an agent that comes back resumes it.
    """
    access_of(request).require_all_tenants()
    if fields.get("name", name) != name:
        raise Refused(422, "name: the path has another one; leave the field out")
    _require_store(request, f"put {name!r} into it")
    agent = Agent.of({**fields, "name": name})
    Upstream.of(agent)
    service_of(request).router.add_agent(agent, fresh=fresh)
    service_of(request).upstreams.look_at(agent)
    return json_response(agent.model_dump(mode="json"))


@changing.delete(
    "/v1/agents/{name:path}",
    status_code=204,
    responses=refusals(_404="No such agent.", _409="The configuration lists the agents; change it there."),
)
def delete_agent(request: Request, name: AgentPath) -> Response:
    """Take an agent out; what was learnt about it stays, should it come back."""
    access_of(request).require_all_tenants()
    _require(request, name)
    _require_store(request, f"take {name!r} out of it")
    service_of(request).router.remove_agent(name)
    return Response(status_code=204)


def _require(request: Request, name: str) -> None:
    if all(agent.name != name for agent in service_of(request).router.agents):
        raise Refused(404, f"no agent is called {name!r:.210}; GET /v1/agents lists them")


def _require_store(request: Request, instead: str) -> None:
    """Agents that a configuration lists are not changed behind its back, and in one worker alone.

    Raises:
        Refused: if one does.
    """
    if service_of(request).router.config.agents is not None:
        raise Refused(409, f"the configuration lists the agents: {instead}, and start the service again")
