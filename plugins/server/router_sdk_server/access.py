"""The door: who a caller is, what it may do, how much and how fast it may ask, and under which id that is known.

It stands before the application as plain ASGI, so that who is not let in costs next to nothing: no body is read, and
nothing is parsed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from router_sdk import Outcome, Task
from router_sdk_server.dashboard.files import PATHS
from router_sdk_server.problems import Refused, answer, answer_to, problem_of
from router_sdk_server.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import ASGIApp, Message, Receive, Send

    from router_sdk.records import AccessKey, Scope
    from router_sdk_server.service import Service

OPEN = frozenset({"/livez", "/readyz", "/health", *PATHS})
"""What probes ask, who have no key, and the page's own files, which hold nothing of the store."""

_BODIES = frozenset({"POST", "PUT", "PATCH"})
_EXPORTS = "/v1/logs"
"""Where a body may be protobuf."""

_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
_NO_KEY = "send a key as 'Authorization: Bearer KEY'; router keys create makes one"
_FULFILLED_BY: dict[Scope, frozenset[Scope]] = {
    "route": frozenset({"route"}),
    "record": frozenset({"record"}),
    "metrics": frozenset({"metrics", "admin"}),
    "admin": frozenset({"admin"}),
}
"""Who may change what there is may read how it does."""


class Access:
    """What one caller may do.

    Args:
        key: Its key; None is a caller on the same machine where none is needed.
    """

    __slots__ = ("key", "tenant")

    def __init__(self, key: AccessKey | None) -> None:
        self.key = key
        self.tenant = None if key is None else key.tenant

    @property
    def actor(self) -> str | None:
        """Who it is, as histories name it."""
        return None if self.key is None else self.key.name

    def may(self, scope: Scope) -> bool:
        """Whether it may do something."""
        return self.key is None or bool(_FULFILLED_BY[scope] & self.key.scopes)

    def require(self, *scopes: Scope) -> None:
        """Check that it may do something, for which one of these is needed.

        Raises:
            Refused: if not.
        """
        if self.key is not None and not any(map(self.may, scopes)):
            held, needed = ", ".join(sorted(self.key.scopes)), " or ".join(map(repr, scopes))
            raise Refused(403, f"this needs a key with the scope {needed}; the key {self.key.key_id} has {held}")

    def require_all_tenants(self) -> None:
        """Check that it is bound to no tenant, for what is about all of them.

        Raises:
            Refused: if it is.
        """
        if self.tenant is not None:
            raise Refused(
                403, f"this is about all tenants, and the key is bound to {self.tenant!r}; use one that is not"
            )

    def own(self, task: Task) -> Task:
        """The task as this caller's: of the tenant that it is bound to.

        Raises:
            Refused: if the task names another.
        """
        tenant = self.tenant
        if tenant is None or task.tenant == tenant:
            return task
        if task.tenant is not None:
            raise Refused(403, f"tenant: the key is bound to {tenant!r}; leave the field out")
        return task.model_copy(update={"tenant": tenant})

    def tenant_of(self, named: str | None) -> str | None:
        """The tenant that a request is about: the key's, else the one that it names.

        Raises:
            Refused: if it names another one than the key's.
        """
        if self.tenant is not None and named not in (None, self.tenant):
            raise Refused(403, f"tenant: the key is bound to {self.tenant!r}; leave the field out")
        return self.tenant or named

    def signed(self, outcome: Outcome) -> Outcome:
        """The outcome with the origin and actor that the key stands for.

        Raises:
            Refused: if it says of itself that it comes from elsewhere.
        """
        key = self.key
        if key is None:
            return outcome
        if outcome.actor not in (None, key.name):
            raise Refused(422, f"actor: it comes from the key, which is {key.name!r}; leave the field out")
        if key.origin is not None and outcome.origin not in (None, key.origin):
            raise Refused(422, f"origin: it comes from the key, which says {key.origin!r}; leave the field out")
        return outcome.model_copy(update={"actor": key.name, "origin": key.origin or outcome.origin})


def access_of(request: Request) -> Access:
    """Who asks."""
    found: Access = request.scope["access"]
    return found


def guarded(*scopes: Scope) -> type[APIRoute]:
    """Routes that take callers with one of these scopes alone; asked before anything of the request is read."""

    class Guarded(APIRoute):
        needed = scopes

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_allowed(request: Request) -> Response:
                access_of(request).require(*scopes)
                return await handle(request)

            return handle_allowed

    return Guarded


class Direct:
    """An endpoint that the door calls itself: what FastAPI does on the way costs three times what a decision does.

    FastAPI knows it all the same, and describes it.

    Args:
        path: Where.
        needed: The scope that it takes.
        handle: Answers.
    """

    def __init__(self, path: str, needed: Scope, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self.path, self._needed, self._handle = path, needed, handle

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a request, with a problem where that fails."""
        scope["route"] = self
        request = Request(scope, receive)
        try:
            scope["access"].require(self._needed)
            response = await self._handle(request)
        except Exception as error:
            response = answer_to(error, request)
        await response(scope, receive, send)


class Door:
    """Stands before the application.

    Args:
        app: What is behind it.
        service: Whose.
        direct: What it answers without that, by method and path.
    """

    def __init__(self, app: ASGIApp, service: Service, direct: Mapping[tuple[str, str], Direct]) -> None:
        self._app, self._service, self._direct = app, service, direct
        settings = service.settings
        self._rates = Rates(settings.per_minute, settings.folder if settings.workers > 1 else None)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Let a request in, or say why not; measure what became of it."""
        begun = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        scope["request_id"] = given if given and _ID.fullmatch(given) else self._service.new_request_id()
        status = 500
        started = False

        async def send_named(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", scope["request_id"].encode())]
                if not limit.expired():
                    limit.reschedule(None)  # an answer that streams may take as long as it likes
            await send(message)

        settings = self._service.settings
        scope["limit"] = limit = asyncio.timeout(settings.timeout_s)
        body = _Body(receive, settings.most_body_bytes)
        try:
            async with limit:
                try:
                    scope["access"] = self._let_in(scope["path"], headers, scope.get("client"))
                    _check_body(scope["method"], scope["path"], headers, settings.most_body_bytes)
                    answer_it = self._direct.get((scope["method"], scope["path"]), self._app)
                    await answer_it(scope, body.receive, send_named)
                except Refused as refusal:
                    told = answer(problem_of(refusal), scope, refusal.headers)
                    await told(scope, receive, send_named)
        except TimeoutError:
            if started:
                raise
            late = (
                Refused(504, f"it took longer than {settings.timeout_s:g} s; what was asked may still be done")
                if body.whole
                else Refused(408, f"the body did not arrive within {settings.timeout_s:g} s; send it again")
            )
            await answer(problem_of(late), scope)(scope, receive, send_named)
        finally:
            self._service.seen(scope, status, time.perf_counter() - begun)

    def _let_in(self, path: str, headers: Mapping[bytes, bytes], client: tuple[str, int] | None) -> Access:
        if path in OPEN:
            return Access(None)
        shown = headers.get(b"authorization", b"").decode("latin-1")
        kind, _, value = shown.partition(" ")
        key = self._service.find_key(value.strip()) if kind.lower() == "bearer" else None
        if key is not None:
            self._rates.count(key)
            return Access(key)
        if self._service.settings.insecure:  # whatever key a client insists on sending
            _require_local(headers, client)
            return Access(None)
        why = f"the key is unknown or was revoked; {_NO_KEY}" if shown else _NO_KEY
        raise Refused(401, why, {"www-authenticate": "Bearer"})


def _require_local(headers: Mapping[bytes, bytes], client: tuple[str, int] | None) -> None:
    """Let in who calls from this machine, and of pages of a browser that is on it the service's own alone.

    Raises:
        Refused: otherwise.
    """
    host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
    near = client is not None and _is_loopback(client[0]) and _LOCAL.fullmatch(host)
    if not near or origin not in ("", f"http://{host}", f"https://{host}"):
        raise Refused(401, f"without a key this answers programs on the same machine alone; {_NO_KEY}")


@lru_cache(1_024)
def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether a name or address that a server listens on can be reached from the same machine alone."""
    return host == "localhost" or _is_loopback(host)


def _check_body(method: str, path: str, headers: Mapping[bytes, bytes], most: int) -> None:
    if method not in _BODIES:
        return
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length) > most):
        raise Refused(413, _too_large(most))
    if length == b"0" or (length is None and b"transfer-encoding" not in headers):
        return
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind == b"application/x-protobuf" and path == _EXPORTS:
        return
    if kind not in (b"application/json", b"multipart/form-data") and not kind.endswith(b"+json"):
        shown = kind.decode("latin-1")[:80] or "not said"
        raise Refused(415, f"send JSON, with 'Content-Type: application/json'; this was {shown!r}")


def _too_large(most: int) -> str:
    return f"the body may have {most:,} bytes; send less, or several requests"


class _Body:
    """A request's body on its way in, which ends where it becomes too large."""

    __slots__ = ("_left", "_most", "_receive", "whole")

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._left = receive, most, most
        self.whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise HTTPException(413, _too_large(self._most))
            self.whole = not message.get("more_body", False)
        return message
