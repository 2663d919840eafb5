"""The application: endpoints, the door before them, and the router's life beside the worker's."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from router_sdk import RouterError
from router_sdk_server import __version__, problems
from router_sdk_server.access import Door
from router_sdk_server.endpoints import DIRECT, ROUTERS
from router_sdk_server.endpoints.evaluations import in_trace
from router_sdk_server.openapi import described
from router_sdk_server.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Send

    from router_sdk_server.settings import ServiceSettings


class Application(FastAPI):
    """The application behind its door."""

    door: ASGIApp

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a request by way of the door; the worker's start and end pass it by."""
        scope["app"] = self
        if scope["type"] == "http":
            await self.door(scope, receive, send)
        else:
            await super().__call__(scope, receive, _in_a_line(send))


def _in_a_line(send: Send) -> Send:
    """Where the start fails by an error of the SDK the log has its words, which say what to do, and no traceback."""

    async def send_words(message: Message) -> None:
        error = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(error, RouterError):
            message = {**message, "message": f"cannot start: {error}"}
        await send(message)

    return send_words


def create_app(settings: ServiceSettings) -> Application:
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

    app = Application(
        title="router-sdk",
        version=__version__,
        description="Decides which agent gets which task, and gets better at it from what happened.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.door = in_trace(Door(super(Application, app).__call__, service, DIRECT))
    for endpoints in ROUTERS:
        app.include_router(endpoints)
    problems.install(app)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = described(generate(), [route for endpoints in ROUTERS for route in endpoints.routes])
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
