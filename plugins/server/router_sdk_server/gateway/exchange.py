"""One request's way: somebody is chosen and asked; whoever fails is noted, and another is chosen in its place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from router_sdk import Decision, Outcome, RouterError, Task
from router_sdk.errors import NoEligibleAgentError
from router_sdk_server.gateway.upstreams import Usage
from router_sdk_server.gateway.wire import Events, asking_for_usage, parsed, with_model
from router_sdk_server.problems import Refused

if TYPE_CHECKING:
    import httpx2
    from starlette.types import Receive, Scope, Send

    from router_sdk_server.gateway.upstreams import Target
    from router_sdk_server.service import Service

AUTO = "auto"
"""The model that stands for whichever agent is chosen."""

DECISION_HEADER = "x-router-decision-id"

_CALLERS_FAULT = frozenset({400, 413, 415, 422})
"""What an upstream answers to a request that nobody could answer; it passes, and says nothing of the agent."""

_BROKEN = (
    b'\n\ndata: {"error":{"message":"the agent broke off within its answer","type":"upstream_error","code":502}}\n\n'
)
"""The last event of a stream that nobody ended; clients raise it."""

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What a client asks for.

    Attributes:
        body: As it came.
        model: ``auto``, or an agent's name.
        task: What is routed by.
        stream: Whether the answer is to be a stream of events.
        bare: Whether it says nothing of what a stream is to tell beside the answer.
    """

    body: bytes
    model: str
    task: Task
    stream: bool
    bare: bool


class UpstreamFailure(Exception):  # noqa: N818  # what an agent did, and no fault of the service
    """An agent did not answer; says why in a few words of ours, since its own may hold secrets."""


async def answer(service: Service, asked: Asked) -> Response:
    """What the chosen agent's upstream answers; of one that fails, and of others after it, the next one's.

    Raises:
        Refused: if the model is no agent with an upstream, nobody is left to choose from, or all that were asked
            failed.
    """
    targets, faults = service.upstreams.targets(service.router)
    pinned = asked.model != AUTO
    if pinned and asked.model not in targets:
        raise Refused(404, _unknown(asked.model, faults))
    failed: dict[str, str] = {}
    while True:
        decision = await _decide(service, asked, targets, failed, faults)
        assert decision.agent is not None
        attempt = Attempt(service, decision, targets[decision.agent], asked)
        try:
            return await attempt.begin()
        except UpstreamFailure as failure:
            failed[decision.agent] = str(failure)
            await attempt.failed(str(failure))
        if pinned or len(failed) >= service.settings.attempts:
            raise Refused(502, _told(failed), {DECISION_HEADER: decision.decision_id})


async def _decide(
    service: Service, asked: Asked, targets: dict[str, Target], failed: dict[str, str], faults: dict[str, str]
) -> Decision:
    router = service.router
    if asked.model != AUTO:
        return await asyncio.to_thread(router.observe, asked.task, asked.model)
    exclude = [agent.name for agent in router.agents if agent.name not in targets or agent.name in failed]
    try:
        if not targets:
            raise NoEligibleAgentError("no agent has an upstream: give one metadata.base_url")
        decision = await router.aroute(asked.task, exclude=exclude)
    except NoEligibleAgentError as error:
        if failed:
            raise Refused(502, f"{_told(failed)}; nobody else is left to choose from") from None
        raise Refused(409, "; ".join([str(error), *faults.values()])) from None
    service.decided((decision,))
    if decision.agent is None:
        raise Refused(409, "no agent fits this", {DECISION_HEADER: decision.decision_id})
    return decision


def _unknown(model: str, faults: dict[str, str]) -> str:
    if model in faults:
        return f"model: {model!r:.210} cannot be asked: {faults[model]}"
    return f"model: {model!r:.210} is neither {AUTO!r} nor an agent with an upstream; GET /v1/models lists them"


def _told(failed: dict[str, str]) -> str:
    return "; ".join(f"{agent}: {why}" for agent, why in failed.items())


class Attempt:
    """One agent that is asked.

    Args:
        service: Whose.
        decision: That chose it.
        target: How it is asked.
        asked: For what.
    """

    def __init__(self, service: Service, decision: Decision, target: Target, asked: Asked) -> None:
        self._service, self._decision, self._target, self._asked = service, decision, target, asked
        self._begun = time.perf_counter()
        self._first: float | None = None

    async def begin(self) -> Response:
        """Ask, and return the answer once its first byte is there.

        Raises:
            UpstreamFailure: if it does not come so far.
        """
        import httpx2

        try:
            response = await self._service.upstreams.ask(self._target, self._body())
            try:
                return await self._answer(response)
            except BaseException:
                await _close(response)
                raise
        except httpx2.TimeoutException as error:
            raise UpstreamFailure(f"it did not answer in time ({type(error).__name__})") from None
        except httpx2.TransportError as error:
            raise UpstreamFailure(f"it cannot be reached, or broke off ({type(error).__name__})") from None
        except asyncio.CancelledError:
            await asyncio.shield(self.cancelled())
            raise

    def _body(self) -> bytes:
        body = with_model(self._asked.body, self._target.upstream.model or self._target.agent.name)
        return asking_for_usage(body) if self._keep_usage else body

    @property
    def _keep_usage(self) -> bool:
        return self._target.upstream.stream_usage and self._asked.stream and self._asked.bare

    async def _answer(self, response: httpx2.Response) -> Response:
        status, kind = response.status_code, response.headers.get("content-type", "application/json")
        if status in _CALLERS_FAULT:
            content = await self._read(response)
            self._count("refused")
            return Response(content, status, self._headers(), kind)
        if status != 200:
            raise UpstreamFailure(f"it answered {status}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamFailure("it compressed its answer, though it was asked not to")
        if self._asked.stream and kind.partition(";")[0].strip().lower() == "text/event-stream":
            return await self._stream(response, kind)
        content = await self._read(response)
        told = parsed(content)
        if told is None or (told.get("error") and not told.get("choices")):
            raise UpstreamFailure("it answered 200 and no completion")
        after = BackgroundTask(self.finished, Usage.told(told.get("usage")))
        return Response(with_model(content, self._target.agent.name), status, self._headers(), kind, after)

    async def _read(self, response: httpx2.Response) -> bytes:
        pieces = []
        async for piece in _pieces(response):
            self._arrived()
            pieces.append(piece)
        await _close(response)
        return b"".join(pieces)

    async def _stream(self, response: httpx2.Response, kind: str) -> Response:
        events = Events(self._target.agent.name, keep_usage=self._keep_usage)
        pieces = _pieces(response)
        async for piece in pieces:
            self._arrived()
            first = events.pass_on(piece)
            if events.error is not None:
                raise UpstreamFailure(events.error)
            if first:
                return Relay(self, response, pieces, events, first, self._headers(), kind)
        raise UpstreamFailure("its stream ended before it began")

    def _headers(self) -> dict[str, str]:
        return {DECISION_HEADER: self._decision.decision_id, "cache-control": "no-store"}

    def _arrived(self) -> None:
        if self._first is None:
            self._first = time.perf_counter()

    # -- what came of it

    async def finished(self, usage: Usage | None) -> None:
        """The answer is whole."""
        fields: dict[str, Any] = {"success": True}
        if usage is not None:
            fields["tokens"] = usage.input + usage.output
            fields["metrics"] = {
                "input_tokens": float(usage.input),
                "cached_tokens": float(usage.cached),
                "output_tokens": float(usage.output),
            }
            prices = self._target.upstream.prices
            fields["cost_usd"] = None if prices is None else prices.of(usage)
        self._count("answered", usage, fields.get("cost_usd"))
        await self._write(fields)

    async def cut_off(self) -> None:
        """The upstream stopped within its answer."""
        self._count("cut_off")
        if self._service.settings.cut_off == "failure":
            await self._write({"success": False, "error": "it broke off within its answer"})

    async def cancelled(self) -> None:
        """The client went away."""
        self._count("cancelled")
        if self._service.settings.cancelled == "failure":
            await self._write({"success": False, "error": "the client went away before the answer was whole"})

    async def failed(self, why: str) -> None:
        """It failed before it began to answer."""
        self._count("failed")
        await self._write({"success": False, "error": why})

    def _count(self, result: str, usage: Usage | None = None, cost_usd: float | None = None) -> None:
        first = None if self._first is None else self._first - self._begun
        self._service.metrics.upstream(self._target.agent.name, result, first, usage, cost_usd)

    async def _write(self, fields: dict[str, Any]) -> None:
        """Record what came of it, with the time it took; a store that cannot take it does not spoil the answer."""
        metrics = dict(fields.pop("metrics", {}))
        if self._first is not None:
            metrics["first_byte_ms"] = 1_000 * (self._first - self._begun)
        took_ms = 1_000 * (time.perf_counter() - self._begun)
        outcome = Outcome(**fields, latency_ms=took_ms, metrics=metrics or None, origin="tool", actor="gateway")
        try:
            await self._service.router.arecord(self._decision, outcome)
        except RouterError:
            _log.exception("what came of decision %s is not recorded", self._decision.decision_id)
        else:
            self._service.recorded(outcome)


class Relay(Response):
    """A stream of events that passes on as it comes."""

    def __init__(
        self,
        attempt: Attempt,
        response: httpx2.Response,
        pieces: AsyncIterator[bytes],
        events: Events,
        first: bytes,
        headers: dict[str, str],
        kind: str,
    ) -> None:
        self._attempt, self._response, self._pieces = attempt, response, pieces
        self._events, self._begin = events, first
        self.status_code, self.media_type, self.background = 200, kind, None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on until it ends, or the client goes away."""
        passing = asyncio.ensure_future(self._pass_on(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({passing, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            passing.cancel()
            await asyncio.wait({passing, gone})
            await asyncio.shield(self._ended(passing))
        if not passing.cancelled():
            passing.result()

    async def _pass_on(self, send: Send) -> None:
        import httpx2

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._begin, "more_body": True})
        events = self._events
        try:
            async for piece in self._pieces:
                if passed := events.pass_on(piece):
                    await send({"type": "http.response.body", "body": passed, "more_body": True})
            last = events.last()
        except httpx2.TransportError:
            last = b""
        if not events.complete and events.error is None:
            last += _BROKEN
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _ended(self, passing: asyncio.Future[None]) -> None:
        await _close(self._response)
        if self._events.complete:
            await self._attempt.finished(self._events.usage)
        elif passing.cancelled():
            await self._attempt.cancelled()
        else:
            await self._attempt.cut_off()


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Response]) -> Response:
    """What a coroutine comes to; it is given up where the client goes away first."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait({working, gone})
    if working.cancelled():
        raise ClientDisconnect
    return working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    async for piece in response.stream:  # type: ignore[union-attr]  # of an asynchronous transport
        yield piece


async def _close(response: httpx2.Response) -> None:
    with suppress(Exception):
        await response.stream.aclose()  # type: ignore[union-attr]
