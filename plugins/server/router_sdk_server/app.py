"""The application: endpoints, the door before them, and the router's life beside the worker's."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from router_sdk_server import __version__, problems
from router_sdk_server.access import Door
from router_sdk_server.endpoints import ROUTERS
from router_sdk_server.openapi import described
from router_sdk_server.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router_sdk_server.settings import ServiceSettings


def create_app(settings: ServiceSettings) -> FastAPI:
    """An application over one store; each worker process makes its own.

    Args:
        settings: How it behaves.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="router-sdk",
        version=__version__,
        description="Decides which agent gets which task, and gets better at it from what happened.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    for endpoints in ROUTERS:
        app.include_router(endpoints)
    app.add_middleware(Door, service=service)
    problems.install(app)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = described(generate(), [route for endpoints in ROUTERS for route in endpoints.routes])
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
