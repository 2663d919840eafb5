"""A program's own evaluator says how good an answer was, and the router learns it from the event."""

from opentelemetry import trace
from opentelemetry._logs import get_logger, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from router_sdk_otel import OutcomeProcessor, Scores, Telemetry, invoke_agent

from router_sdk import Agent, Router

AGENTS = [Agent("billing", description="invoices and refunds"), Agent("technical", description="errors and crashes")]


def main() -> None:
    """Route a task within a trace, evaluate the answer, and look at both."""
    spans, tracers, loggers = InMemorySpanExporter(), TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracers)
    set_logger_provider(loggers)
    telemetry = Telemetry()  # where the distribution is installed the router has one by itself
    with Router(AGENTS, ["heuristic"], ":memory:", epsilon=0.0, plugins=[telemetry]) as router:
        loggers.add_log_record_processor(OutcomeProcessor(router, Scores({"Relevance": "quality"}), telemetry))
        with router.handle("a refund please") as call, invoke_agent(call, telemetry):
            call.result = "refunded"
            score = {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 0.9}
            get_logger("evaluator").emit(event_name="gen_ai.evaluation.result", attributes=score)
        loggers.shutdown()  # returns once the outcome is on disk
        router.flush()
        print("spans:", [span.name for span in spans.get_finished_spans()])
        print("learnt:", [(one.agent, one.signals.success, one.signals.quality) for one in router.examples])


if __name__ == "__main__":
    main()
