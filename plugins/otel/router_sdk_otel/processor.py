"""Evaluation events of this program as outcomes of its router."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor

from router_sdk import Router, RouterError
from router_sdk_otel import names
from router_sdk_otel.evaluations import Report, Scores, Unreadable
from router_sdk_otel.spans import Telemetry, telemetry

_log = logging.getLogger(__name__)


class OutcomeProcessor(LogRecordProcessor):
    """Records the event ``gen_ai.evaluation.result``, whoever emits it, as an outcome of the decision that it is about.

    ::

        logger_provider.add_log_record_processor(OutcomeProcessor(router))

    The event names its decision by the attribute ``router_sdk.decision.id``, or belongs to a span of the decision in
    this process: ``route``, or ``invoke_agent``. What the router itself tells is left out. Outcomes are written on a
    thread of their own, so that whoever emits never waits; ``force_flush`` and ``shutdown`` return once they are on
    disk. What cannot be recorded is a dead letter of the router, with the reason.

    Args:
        router: Who learns. It stays the caller's: shut the provider down before it is closed.
        scores: What evaluations' names mean.
        spans: Who remembers decisions' spans; None is the installed plugin.
    """

    def __init__(self, router: Router, scores: Scores | None = None, spans: Telemetry | None = None) -> None:
        self._router, self._scores, self._spans = router, scores or Scores(), spans or telemetry
        self._thread = ThreadPoolExecutor(1, "router-otel")
        self._open: set[Any] = set()
        self._lock = Lock()

    def on_emit(self, log_record: Any) -> None:
        """Take an event in; any other record passes."""
        told = log_record.log_record
        if told.event_name != names.EVALUATION or log_record.instrumentation_scope.name == names.SCOPE:
            return
        attributes = dict(told.attributes or {})
        known = self._spans.decision_of(told.trace_id or 0, told.span_id or 0)
        try:
            report = self._scores.read(attributes, known, told.timestamp or told.observed_timestamp or 0)
        except Unreadable as error:
            self._after(self._router.dead_letter, "evaluation", str(error), body=repr(attributes)[:10_000])
        else:
            self._after(self._record, report)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what was emitted is on disk; False where the time is over first."""
        with self._lock:
            waiting = set(self._open)
        return not wait(waiting, timeout_millis / 1_000).not_done

    def shutdown(self) -> None:
        """Write the rest, and take nothing more."""
        self._thread.shutdown(wait=True)

    def _after(self, call: Any, *arguments: Any, **named: Any) -> None:
        try:
            future = self._thread.submit(call, *arguments, **named)
        except RuntimeError:
            _log.warning("an evaluation came after the shutdown and was not recorded")
            return
        with self._lock:
            self._open.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: Any) -> None:
        with self._lock:
            self._open.discard(future)
        if (error := future.exception()) is not None:
            _log.error("an evaluation was not recorded: %s", error)

    def _record(self, report: Report) -> None:
        try:
            self._router.record(report.decision_id, report.outcome, outcome_id=report.outcome_id)
        except RouterError as error:
            body = report.outcome.model_dump_json(exclude_none=True)
            self._router.dead_letter("evaluation", f"{type(error).__name__}: {error}", body=body)
