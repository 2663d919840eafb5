"""One worker's service: its router, the keys that it knows, and what it counts."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from random import getrandbits
from threading import Lock
from typing import TYPE_CHECKING, Any

from fastapi import Request

from router_sdk import Router, RouterError
from router_sdk_server.dashboard.overview import Overview
from router_sdk_server.gateway.upstreams import Upstreams
from router_sdk_server.logs import requests
from router_sdk_server.metrics import Metrics
from router_sdk_server.shared import AgentHealth, Fits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk import Decision, Outcome
    from router_sdk.records import AccessKey
    from router_sdk_server.settings import ServiceSettings

_FOLLOW_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class Service:
    """What the endpoints of one worker process share.

    Args:
        settings: How it behaves.

    Attributes:
        router: Decides, learns and stores; open between ``start`` and ``stop``.
        fits: Fits that were begun over HTTP.
        health: Who is well.
        upstreams: Where agents answer.
        evaluating: Held while another router is judged by the log, which is long work: one at a time.
        metrics: What is counted.
        overview: What viewers of the page see.
        ready: Whether every strategy has opened what it needs.
        unready: Strategies that cannot, and why.
        ending: Whether the worker is to end: what streams ends first.
    """

    router: Router
    fits: Fits
    health: AgentHealth
    upstreams: Upstreams
    metrics: Metrics
    overview: Overview

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.ready = self.ending = False
        self.unready: dict[str, str] = {}
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.evaluating = Lock()

    async def start(self) -> None:
        """Open the router, and begin to warm it up."""
        folder = self.settings.folder
        self.metrics = Metrics(folder / "metrics" if folder is not None and self.settings.workers > 1 else None)
        self.router = Router(config=self.settings.config, store=self.settings.store)
        self.overview = Overview(self.router)
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="router-service-")
            folder = Path(self._temporary.name)
        self.fits, self.health = Fits(folder), AgentHealth(folder)
        self.upstreams = Upstreams(self.settings.timeout_s)
        await asyncio.to_thread(self.router.keys.refresh)
        self._tasks = [asyncio.create_task(self._warm_up()), asyncio.create_task(self._follow())]

    async def stop(self) -> None:
        """Answer nothing any more, learn and write the rest, and close the router."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await self.upstreams.close()
        await asyncio.to_thread(self.router.close)
        if self._temporary is not None:
            self._temporary.cleanup()

    async def _warm_up(self) -> None:
        self.unready = await asyncio.to_thread(self.router.warm_up)
        self.ready = True

    async def _follow(self) -> None:
        """What other processes say of keys and agents counts here a second later."""
        while True:
            await asyncio.sleep(_FOLLOW_EVERY_S)
            try:
                await asyncio.to_thread(self._look)
            except RouterError:
                continue
            except Exception:  # whoever stops looking lets revoked keys in for ever
                _log.exception("cannot see what other processes say of keys and agents; looking again")

    def _look(self) -> None:
        self.router.keys.refresh()
        self.health.follow(self.router)
        self.metrics.look(self.router)

    def find_key(self, shown: str) -> AccessKey | None:
        """The key in force that a caller shows."""
        return self.router.keys.find(shown)

    def new_request_id(self) -> str:
        """An id for a request that brings none; nobody has to be unable to guess it."""
        return f"{getrandbits(64):016x}"

    def seen(self, scope: Any, status: int, seconds: float) -> None:
        """A request was answered."""
        route = scope.get("route")
        path = getattr(route, "path", "(unknown)")
        self.metrics.request(path, status, seconds)
        if status < 300 and "admin" in getattr(route, "needed", ()):
            self.overview.soon()
        if status >= 500 or requests.isEnabledFor(logging.DEBUG):
            access = scope.get("access")
            key = None if access is None else access.key
            told = {
                "request_id": scope["request_id"],
                "method": scope["method"],
                "path": path,
                "status": status,
                "ms": round(1_000 * seconds, 3),
                "key_id": None if key is None else key.key_id,
                "tenant": None if access is None else access.tenant,
            }
            words = "%(method)s %(path)s %(status)s in %(ms)s ms, request %(request_id)s"
            requests.log(_level(path, status), words, told, extra=told)

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Decisions were answered."""
        self.metrics.decided(decisions)

    def recorded(self, outcome: Outcome, count: int = 1) -> None:
        """So many outcomes are on disk."""
        self.metrics.recorded(outcome, count)


def _level(path: str, status: int) -> int:
    """A worker that says of itself that it is not ready yet is not at fault."""
    if status < 500:
        return logging.DEBUG
    return logging.INFO if path == "/readyz" else logging.ERROR


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    found: Service = request.app.state.service
    return found
