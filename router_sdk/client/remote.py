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
from uuid import uuid4

from router_sdk import errors
from router_sdk.client.outbox import Outbox, Report, Waiting
from router_sdk.errors import AccessDeniedError, RouterError, ServiceError, ServiceUnavailableError
from router_sdk.records import Decision, Outcome, OutcomeLike, Ranked, Task, TaskLike
from router_sdk.routing.handle import Call

if TYPE_CHECKING:
    import httpx2

_log = logging.getLogger(__name__)

_NOT_DONE = frozenset({429, 503})
"""Answers that say that nothing was done."""
_AGAIN = _NOT_DONE | {502, 504}
_BATCH = 100
_AWAY_S = 1.0
"""After the service could not be reached, outcomes go to the queue at once for so long."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
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
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
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
        body = _route_body(task, exclude, idempotency_key)
        return _decision(task, self._post("/v1/route", body, safe=idempotency_key is not None))

    async def aroute(
        self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None
    ) -> Decision:
        """``route`` for coroutines."""
        task = Task.of(task)
        body = _route_body(task, exclude, idempotency_key)
        return _decision(task, await self._apost("/v1/route", body, safe=idempotency_key is not None))

    def rank(self, task: TaskLike, *, top_k: int | None = None, exclude: Collection[str] = ()) -> list[Ranked]:
        """Eligible agents, best first; nothing is logged and nothing explored."""
        body = {"task": _fields(Task.of(task)), "top_k": top_k, "exclude": list(exclude)}
        return [Ranked(**one) for one in self._post("/v1/rank", body, safe=True)["ranking"]]

    async def arank(self, task: TaskLike, *, top_k: int | None = None, exclude: Collection[str] = ()) -> list[Ranked]:
        """``rank`` for coroutines."""
        body = {"task": _fields(Task.of(task)), "top_k": top_k, "exclude": list(exclude)}
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
        report = _report(decision, outcome, outcome_id)
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
        report = _report(decision, outcome, outcome_id)
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
        if self._outbox is None:
            return 0
        taken = 0
        with self._outbox.sending:
            while found := self._outbox.first(_BATCH):
                verdicts = self._post("/v1/outcomes", {"outcomes": [one.report for one in found]}, safe=True)["results"]
                taken += self._settle(self._outbox, found, verdicts)
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
        self._outbox.put(report)
        self._send_later()

    def _send_later(self) -> None:
        with self._starting:
            if self._sender is None or not self._sender.is_alive():
                self._sender = threading.Thread(target=self._send, name="router-outbox", daemon=True)
                self._sender.start()

    def _send(self) -> None:
        wait = _FIRST_WAIT_S
        while self.waiting and not self._closing.is_set():
            try:
                self.flush()
                wait = _FIRST_WAIT_S
            except RouterError as error:
                _log.info("%d outcomes wait for %s: %s", self.waiting, self._url, error)
                self._closing.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)

    # -- the wire

    def _post(self, path: str, body: Any, *, safe: bool, retries: int | None = None) -> Any:
        left = self._retries if retries is None else retries
        wait = _FIRST_WAIT_S
        while True:
            try:
                response = self._http.post(path, json=body)
            except self._faults as error:
                fault, may = self._unreached(error, safe=safe)
            else:
                self._away_until = 0.0
                if response.status_code not in _AGAIN:
                    return _told(response)
                fault, may = _unavailable(response), safe or response.status_code in _NOT_DONE
                wait = _asked_wait(response, wait)
            if not (left and may):
                raise fault
            left -= 1
            self._closing.wait(wait * (0.5 + random.random()))
            wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _apost(self, path: str, body: Any, *, safe: bool, retries: int | None = None) -> Any:
        left = self._retries if retries is None else retries
        wait = _FIRST_WAIT_S
        while True:
            try:
                response = await self._async_http.post(path, json=body)
            except self._faults as error:
                fault, may = self._unreached(error, safe=safe)
            else:
                self._away_until = 0.0
                if response.status_code not in _AGAIN:
                    return _told(response)
                fault, may = _unavailable(response), safe or response.status_code in _NOT_DONE
                wait = _asked_wait(response, wait)
            if not (left and may):
                raise fault
            left -= 1
            await asyncio.sleep(wait * (0.5 + random.random()))
            wait = min(2 * wait, _LONGEST_WAIT_S)

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
                self.flush()
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


def _fields(task: Task) -> dict[str, Any]:
    return task.model_dump(mode="json", exclude_unset=True)


def _route_body(task: Task, exclude: Collection[str], key: str | None) -> dict[str, Any]:
    return {"task": _fields(task), "exclude": list(exclude), "idempotency_key": key}


def _report(decision: Decision | str, outcome: OutcomeLike, outcome_id: str | None) -> Report:
    return {
        "decision_id": decision if isinstance(decision, str) else decision.decision_id,
        "outcome": Outcome.of(outcome).model_dump(mode="json", exclude_unset=True),
        "outcome_id": outcome_id or uuid4().hex,
    }


def _decision(task: Task, told: dict[str, Any]) -> Decision:
    """What the service answered as a decision: it is logged there, and its id is what counts."""
    ranking = told.pop("ranking")
    calibrated = told.pop("calibrated")
    return Decision.model_validate(
        {
            **told,
            "raw_confidence": told["confidence"] if calibrated else None,
            "task": task,
            "at": int(told["decision_id"][:12], 16) / 1_000,
            "eligible": list(told["probabilities"]),
            "favourite": ranking[0] if ranking else None,
            "durable": True,
        }
    )


def _told(response: httpx2.Response) -> Any:
    """What the service answered.

    Raises:
        RouterError: what it raised, as its own class; else a ``ServiceError``.
    """
    if response.is_success:
        return response.json()
    try:
        problem = response.json()
        detail, name = str(problem["detail"]), str(problem["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        detail, name = response.text[:500], ""
    if response.status_code in (401, 403):
        raise AccessDeniedError(detail)
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    raise (kind or ServiceError)(detail)


def _unavailable(response: httpx2.Response) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"the service answers {response.status_code}: {response.text[:500]}")


def _asked_wait(response: httpx2.Response, wait: float) -> float:
    """How long to wait: what the service asks for, within bounds."""
    try:
        return min(max(float(response.headers.get("retry-after", wait)), wait), _LONGEST_WAIT_S)
    except ValueError:
        return wait
