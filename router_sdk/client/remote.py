"""``RemoteRouter``: asks a service, as ``Router`` would answer here."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from router_sdk.client.outbox import Outbox, Report, Waiting
from router_sdk.client.wire import (
    ANSWERS,
    LONGEST_WAIT_S,
    asked_wait,
    decision_of,
    fields,
    report_of,
    route_body,
    told,
    unavailable,
)
from router_sdk.errors import (
    AccessDeniedError,
    InvalidInputError,
    RouterClosedError,
    RouterError,
    ServiceError,
    ServiceUnavailableError,
)
from router_sdk.records import Decision, OutcomeLike, Ranked, Task, TaskLike
from router_sdk.routing.handle import Call

if TYPE_CHECKING:
    import httpx2

_log = logging.getLogger(__name__)

_NOT_DONE = frozenset({429, 503})
"""Answers that say that nothing was done."""
_AGAIN = _NOT_DONE | {500, 502, 504}
_BATCH = 100
_AWAY_S = 1.0
"""After the service could not be reached, outcomes go to the queue at once for so long."""
_FIRST_WAIT_S = 0.1
_INSTALL = "RemoteRouter needs httpx2: pip install 'router-sdk[client]'"


class RemoteRouter:
    """A service's router, with the face of ``Router``. Thread-safe; its coroutines are for one event loop.

    A failed request is sent again where that is safe: where the service cannot have done it, or does it once however
    often it is asked. Every outcome has an id of its delivery, so that it counts once.

    Args:
        url: Where the service listens, such as ``http://localhost:8000``.
        key: What ``router keys create`` showed.
        queue: A file in which outcomes wait while the service is away; without one ``record`` raises then.
        queue_size: Outcomes that may wait there.
        timeout_s: Longest that one attempt may take, in seconds.
        retries: How often to try again.
        transport: How to send, for tests: of httpx2, one that is synchronous.
        async_transport: Likewise for coroutines.

    Raises:
        InvalidInputError: if the address or the key cannot be one.
        ServiceError: if httpx2 is missing, or the queue cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        queue: str | Path | None = None,
        queue_size: int = 10_000,
        timeout_s: float = 10.0,
        retries: int = 3,
        transport: httpx2.BaseTransport | None = None,
        async_transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise ServiceError(_INSTALL) from error
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(
                f"url: expected where the service listens, such as http://localhost:8000, got {url!r:.80}"
            )
        key = None if key is None else key.strip()
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise InvalidInputError("key: expected what router keys create showed, and nothing else")
        headers = {} if not key else {"authorization": f"Bearer {key}"}
        self._unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
        self._faults = httpx2.TransportError
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._async_http = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=timeout_s, transport=async_transport
        )
        self._url, self._retries = url, retries
        self._outbox = None if queue is None else Outbox(Path(queue), queue_size)
        self._away_until = 0.0
        self._closing = threading.Event()
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()
        if self._outbox:
            self._send_later()  # what an earlier process left

    # -- route

    def route(self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None) -> Decision:
        """Choose an agent for a task, see ``Router.route``.

        Raises:
            ServiceUnavailableError: if the service cannot be reached.
            AccessDeniedError: if the key is not good for it.
            RouterError: what the service raised, as its own class.
        """
        task = Task.of(task)
        body = route_body(task, exclude, idempotency_key)
        return decision_of(task, self._post("/v1/route", body, safe=idempotency_key is not None))

    async def aroute(
        self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None
    ) -> Decision:
        """``route`` for coroutines."""
        task = Task.of(task)
        body = route_body(task, exclude, idempotency_key)
        return decision_of(task, await self._apost("/v1/route", body, safe=idempotency_key is not None))

    def rank(self, task: TaskLike, *, top_k: int | None = None, exclude: Collection[str] = ()) -> list[Ranked]:
        """Eligible agents, best first; nothing is logged and nothing explored."""
        body = {"task": fields(Task.of(task)), "top_k": top_k, "exclude": list(exclude)}
        return [Ranked(**one) for one in self._post("/v1/rank", body, safe=True)["ranking"]]

    async def arank(self, task: TaskLike, *, top_k: int | None = None, exclude: Collection[str] = ()) -> list[Ranked]:
        """``rank`` for coroutines."""
        body = {"task": fields(Task.of(task)), "top_k": top_k, "exclude": list(exclude)}
        return [Ranked(**one) for one in (await self._apost("/v1/rank", body, safe=True))["ranking"]]

    def handle(self, task: TaskLike, **options: Any) -> Call:
        """``with router.handle(task) as call``: routes, and records success, failure and latency by itself."""
        return Call(self, Task.of(task), **options)

    # -- record

    def record(self, decision: Decision | str, outcome: OutcomeLike, *, outcome_id: str | None = None) -> None:
        """Report what happened; when this returns it is on disk, at the service or in the queue here.

        Args:
            decision: A decision, or its id.
            outcome: All that is known now.
            outcome_id: Your own id of this delivery; without one it has an id of its own.

        Raises:
            ServiceUnavailableError: if the service is away, and there is no queue or it is full; nothing is kept.
            RouterError: what the service raised, as its own class.
        """
        report = report_of(decision, outcome, outcome_id)
        if self._outbox is None:
            self._post("/v1/outcomes", report, safe=True)
        elif self._waits():
            self._keep(report)
        else:
            try:
                self._post("/v1/outcomes", report, safe=True, retries=0)
            except ServiceUnavailableError:
                self._keep(report)

    async def arecord(self, decision: Decision | str, outcome: OutcomeLike, *, outcome_id: str | None = None) -> None:
        """``record`` for coroutines."""
        report = report_of(decision, outcome, outcome_id)
        if self._outbox is None:
            await self._apost("/v1/outcomes", report, safe=True)
        elif await asyncio.to_thread(self._waits):
            await asyncio.to_thread(self._keep, report)
        else:
            try:
                await self._apost("/v1/outcomes", report, safe=True, retries=0)
            except ServiceUnavailableError:
                await asyncio.to_thread(self._keep, report)

    # -- the queue

    @property
    def waiting(self) -> int:
        """Outcomes that wait here for the service."""
        return 0 if self._outbox is None else len(self._outbox)

    def refused(self) -> list[tuple[Report, str]]:
        """Outcomes that waited here, and that the service refused in the end, with its reasons."""
        return [] if self._outbox is None else self._outbox.refused()

    def flush(self) -> int:
        """Send what waits, in its order, and return how many outcomes the service took.

        Raises:
            ServiceUnavailableError: if it is still away; the rest waits on.
        """
        return self._flush(self._retries)

    def _flush(self, retries: int) -> int:
        if self._outbox is None:
            return 0
        taken, most = 0, _BATCH
        with self._outbox.sending:
            while found := self._outbox.first(most):
                body = {"outcomes": [one.report for one in found]}
                try:
                    verdicts = self._post("/v1/outcomes", body, safe=True, retries=retries)["results"]
                except (ServiceUnavailableError, AccessDeniedError, RouterClosedError):
                    raise
                except RouterError as error:  # together they are too large, or one cannot be read
                    if len(found) > 1:
                        most = len(found) // 2
                        continue
                    verdicts = [{"recorded": False, "problem": {"detail": str(error)}}]
                taken += self._settle(self._outbox, found, verdicts)
                most = min(2 * most, _BATCH)
        return taken

    def _settle(self, outbox: Outbox, found: list[Waiting], verdicts: list[Mapping[str, Any]]) -> int:
        sent, refused = [], []
        for one, verdict in zip(found, verdicts, strict=True):
            problem = verdict.get("problem") or {}
            if verdict["recorded"]:
                sent.append(one)
            elif problem.get("status") not in _AGAIN:
                refused.append((one, str(problem.get("detail"))))
        for one, reason in refused:
            _log.warning("the service refused an outcome of decision %s: %s", one.report["decision_id"], reason)
        outbox.settle(sent, refused)
        if len(sent) + len(refused) < len(found):
            raise ServiceUnavailableError("the service cannot record now; the rest waits on")
        return len(sent)

    def _waits(self) -> bool:
        """Whether an outcome has to stand behind others, or would only find the service away."""
        return time.monotonic() < self._away_until or self.waiting > 0

    def _keep(self, report: Report) -> None:
        assert self._outbox is not None
        self._require_open()
        self._outbox.put(report)
        self._send_later()

    def _send_later(self) -> None:
        with self._starting:
            if self._sender is None or not self._sender.is_alive():
                self._sender = threading.Thread(target=self._send, name="router-outbox", daemon=True)
                self._sender.start()

    def _send(self) -> None:
        wait = _FIRST_WAIT_S
        while not self._closing.is_set():
            try:
                if not self.waiting:
                    return
                self._flush(retries=0)
                wait = _FIRST_WAIT_S
            except RouterError as error:
                away = isinstance(error, ServiceUnavailableError)
                _log.log(logging.INFO if away else logging.WARNING, "outcomes wait for %s: %s", self._url, error)
                self._closing.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)

    # -- the wire

    def _post(self, path: str, body: Any, *, safe: bool, retries: int | None = None) -> Any:
        left = self._retries if retries is None else retries
        wait = _FIRST_WAIT_S
        while True:
            self._require_open()
            try:
                response = self._http.post(path, json=body)
            except self._faults as error:
                fault, may = self._unreached(error, safe=safe)
            else:
                self._away_until = 0.0
                if response.status_code not in _AGAIN:
                    return told(response, ANSWERS[path])
                fault, may = unavailable(response), safe or response.status_code in _NOT_DONE
                wait = asked_wait(response, wait)
            if not (left and may):
                raise fault
            left -= 1
            self._closing.wait(wait * (0.5 + random.random()))
            wait = min(2 * wait, LONGEST_WAIT_S)

    async def _apost(self, path: str, body: Any, *, safe: bool, retries: int | None = None) -> Any:
        left = self._retries if retries is None else retries
        wait = _FIRST_WAIT_S
        while True:
            self._require_open()
            try:
                response = await self._async_http.post(path, json=body)
            except self._faults as error:
                fault, may = self._unreached(error, safe=safe)
            else:
                self._away_until = 0.0
                if response.status_code not in _AGAIN:
                    return told(response, ANSWERS[path])
                fault, may = unavailable(response), safe or response.status_code in _NOT_DONE
                wait = asked_wait(response, wait)
            if not (left and may):
                raise fault
            left -= 1
            await asyncio.sleep(wait * (0.5 + random.random()))
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise RouterClosedError

    def _unreached(self, error: Exception, *, safe: bool) -> tuple[ServiceUnavailableError, bool]:
        """What to raise where no answer came, and whether to ask again: the service may have done it."""
        self._away_until = time.monotonic() + _AWAY_S
        fault = ServiceUnavailableError(f"no answer from {self._url}: {type(error).__name__}: {error}")
        fault.__cause__ = error
        return fault, safe or isinstance(error, self._unsent)

    # -- the end

    def close(self) -> None:
        """Send what waits, if the service is there, and close the connections; the rest waits for the next start."""
        if self._closing.is_set():
            return
        if self.waiting and time.monotonic() >= self._away_until:
            try:
                self._flush(retries=0)
            except RouterError as error:
                _log.warning("%d outcomes wait for %s: %s", self.waiting, self._url, error)
        self._closing.set()
        if self._sender is not None:
            self._sender.join()
        self._http.close()

    async def aclose(self) -> None:
        """``close`` for coroutines."""
        await self._async_http.aclose()
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
