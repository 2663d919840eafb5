"""The router in OpenTelemetry: decisions and agents' work as spans, outcomes as evaluation events, out and in.

Names are loaded when they are first used: ``router`` reads the entry point of this distribution at every start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_sdk_otel.evaluations import Report, Scores, Unreadable
    from router_sdk_otel.otlp import Decoded, answered, decoded
    from router_sdk_otel.processor import OutcomeProcessor
    from router_sdk_otel.spans import Telemetry, invoke_agent, telemetry, within_trace

__all__ = [
    "Decoded",
    "OutcomeProcessor",
    "Report",
    "Scores",
    "Telemetry",
    "Unreadable",
    "answered",
    "decoded",
    "invoke_agent",
    "telemetry",
    "within_trace",
]

_HOMES = {
    "Decoded": "otlp",
    "OutcomeProcessor": "processor",
    "Report": "evaluations",
    "Scores": "evaluations",
    "Telemetry": "spans",
    "Unreadable": "evaluations",
    "answered": "otlp",
    "decoded": "otlp",
    "invoke_agent": "spans",
    "telemetry": "spans",
    "within_trace": "spans",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562).

    Raises:
        ImportError: if OpenTelemetry is not installed; says how to get it.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'router_sdk_otel' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"router_sdk_otel.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "opentelemetry":
            raise ImportError(
                "router_sdk_otel needs opentelemetry: pip install 'opentelemetry-api>=1.40,<2', and for "
                "OutcomeProcessor opentelemetry-sdk",
                name=error.name,
            ) from error
        raise
    globals()[name] = value
    return value
