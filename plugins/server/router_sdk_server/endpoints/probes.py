"""Whether the worker lives, and whether it is ready; open to everybody, since probes have no keys."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["probes"])


@endpoints.head("/livez", include_in_schema=False)
@endpoints.get("/livez")
async def livez() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "alive"}


@endpoints.head("/readyz", include_in_schema=False)
@endpoints.get("/readyz", responses={503: {"description": "Not yet: strategies are still opening what they need."}})
async def readyz(request: Request) -> Response:
    """Whether every strategy has opened what it needs; until then the next in the chain answers for it.

    A strategy that cannot is named in ``unready``, and the others answer.
    """
    service = service_of(request)
    told: dict[str, Any] = {"status": "ready" if service.ready else "warming up", "unready": service.unready}
    return JSONResponse(told, 200 if service.ready else 503, {"cache-control": "no-store"})
