"""Decisions and agents' work as spans, and which decision a span stands for."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TracerProvider

from router_sdk import Decision, Outcome, __version__
from router_sdk.plugin import hookimpl
from router_sdk_otel import names
from router_sdk_otel.evaluations import events_of

if TYPE_CHECKING:
    from router_sdk import Call

_MOST_REMEMBERED = 10_000
"""Of how many decisions the spans are remembered."""

_RANKED = 5
"""How many agents a span names: all attributes of a span together may be 128, and the oldest are dropped."""

_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Telemetry:
    """Tells of decisions and outcomes: ``Router(plugins=[Telemetry()])``; the installed plugin is one of these.

    A decision is a span ``route``, a child of whatever span is current where ``route`` is called. Each score of an
    outcome is the event ``gen_ai.evaluation.result`` in the trace of its decision, as far as this process remembers it
    (the newest 10,000), else without one. What nobody collects costs next to nothing.

    Args:
        tracer_provider: Who collects spans; None is the program's own.
        logger_provider: Who collects events; None is the program's own.
        explanations: Whether events carry what people and judges said in words. None asks the environment variable
            ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``, as other instrumentations do.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        *,
        explanations: bool | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(names.SCOPE, __version__, tracer_provider)
        self._events = get_logger(names.SCOPE, __version__, logger_provider)
        self._explained = explanations
        self._spans: OrderedDict[str, SpanContext] = OrderedDict()
        self._decisions: OrderedDict[tuple[int, int], str] = OrderedDict()
        self._lock = Lock()

    @hookimpl
    def on_decision(self, decision: Decision) -> None:
        """A span for a decision."""
        span = self._tracer.start_span("route", start_time=round(decision.at * 1e9))
        if span.is_recording():
            span.set_attributes({**_about(decision), **_how(decision)})
        span.end(max(time.time_ns(), round(decision.at * 1e9)))
        self._remember(decision.decision_id, span.get_span_context())

    @hookimpl
    def on_outcome(self, decision_id: str, outcome: Outcome) -> None:
        """An event for each score."""
        enabled = getattr(self._events, "enabled", None)  # since 1.45
        if enabled is not None and not enabled(event_name=names.EVALUATION):
            return
        told = self._explained
        if told is None:
            told = os.environ.get(_CONTENT, "").strip().lower() in ("true", "1")
        for attributes in events_of(decision_id, outcome, explained=told):
            self._events.emit(
                timestamp=time.time_ns(),
                context=self._context(decision_id),
                severity_number=SeverityNumber.INFO,
                attributes=attributes,
                event_name=names.EVALUATION,
            )

    @contextmanager
    def invoke_agent(self, work: Decision | Call) -> Iterator[Span]:
        """A span for the work of the chosen agent, current within it; see ``router_sdk_otel.invoke_agent``."""
        decision = work if isinstance(work, Decision) else work.decision
        about = {names.OPERATION: "invoke_agent", **_about(decision)}
        name = "invoke_agent" if decision.agent is None else f"invoke_agent {decision.agent}"
        with self._tracer.start_as_current_span(name, kind=SpanKind.INTERNAL, attributes=about) as span:
            self._remember(decision.decision_id, span.get_span_context())
            try:
                yield span
            except Exception as error:
                span.set_attribute(names.ERROR_TYPE, type(error).__qualname__)
                raise

    def decision_of(self, trace_id: int, span_id: int) -> str | None:
        """The id of the decision that a span of this process stands for, or None."""
        return self._decisions.get((trace_id, span_id))

    def _remember(self, decision_id: str, span: SpanContext) -> None:
        """The newest span of a decision is where its outcomes belong."""
        if not span.is_valid:
            return
        with self._lock:
            self._spans[decision_id] = span
            self._decisions[span.trace_id, span.span_id] = decision_id
            while len(self._spans) > _MOST_REMEMBERED:
                self._spans.popitem(last=False)
            while len(self._decisions) > 2 * _MOST_REMEMBERED:
                self._decisions.popitem(last=False)

    def _context(self, decision_id: str) -> Context:
        span = self._spans.get(decision_id)
        return Context() if span is None else trace.set_span_in_context(NonRecordingSpan(span), Context())


telemetry = Telemetry()
"""What the installed plugin is: it tells whatever providers the program has set, now or later."""


def invoke_agent(work: Decision | Call, by: Telemetry = telemetry) -> Any:
    """A span ``invoke_agent NAME`` for the work of the chosen agent, so that what happens within is below it.

    ::

        with router.handle(text) as call, invoke_agent(call):
            call.result = agents[call.agent](call.task)

    An exception makes it an error; outcomes of the decision are events of this span from then on.

    Args:
        work: A decision, or what ``router.handle`` gave.
        by: Who tells of it.
    """
    return by.invoke_agent(work)


def within_trace(app: Any) -> Any:
    """An ASGI application whose requests go on in the trace that their headers name (``traceparent``)."""

    async def traced(scope: Any, receive: Any, send: Any) -> None:
        token = None
        if scope["type"] == "http":
            carrier = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            token = contexts.attach(propagate.extract(carrier))
        try:
            await app(scope, receive, send)
        finally:
            if token is not None:
                contexts.detach(token)

    return traced


def _about(decision: Decision) -> dict[str, Any]:
    """Whose a span is; ids of sessions are for spans alone, a metric would keep a series for each."""
    task = decision.task
    found = {
        names.DECISION_ID: decision.decision_id,
        names.AGENT_NAME: decision.agent,
        names.CONVERSATION: task.session_id,
        names.TENANT: task.tenant,
    }
    return {name: value for name, value in found.items() if value is not None}


def _how(decision: Decision) -> dict[str, Any]:
    """How it was chosen. Numbers are Python's own: numpy's are no attributes."""
    found = {
        names.STRATEGY: decision.strategy,
        names.MODEL_VERSION: decision.model_version,
        names.CONFIDENCE: None if decision.confidence is None else float(decision.confidence),
        names.PROPENSITY: None if decision.propensity is None else float(decision.propensity),
        names.EXPLORED: bool(decision.explored),
        names.RANKING: list(decision.ranking[:_RANKED]),
        names.ARM: decision.arm,
        names.TASK_TYPE: decision.task.task_type or None,
    }
    return {name: value for name, value in found.items() if value is not None}
