"""What is kept: sessions that are to be forgotten, and what was learnt saved now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Name, json_response
from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["upkeep"], route_class=guarded("admin"))


class ForgetBody(BaseModel):
    """Which session."""

    model_config = ConfigDict(extra="forbid")

    session_id: Annotated[str, Field(min_length=1, max_length=200)]
    tenant: Name | None = Field(default=None, description="Whose session; none is that of tasks without a tenant.")


class Forgotten(BaseModel):
    """How many decisions were touched."""

    decisions: int


@endpoints.post("/v1/forget", response_model=Forgotten)
def forget(request: Request, what: ForgetBody) -> Response:
    """Erase what a session said, from the files' raw bytes; probabilities, rewards and labels stay."""
    tenant = access_of(request).tenant_of(what.tenant)
    return json_response({"decisions": service_of(request).router.forget(what.session_id, tenant=tenant)})


@endpoints.post("/v1/snapshot", status_code=204)
def snapshot(request: Request) -> Response:
    """Save what was learnt now, so that the next start has less to replay."""
    access_of(request).require_all_tenants()
    service_of(request).router.snapshot()
    return Response(status_code=204)
