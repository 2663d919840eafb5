"""What the plugin registers: whoever looks on where decisions are made and outcomes recorded."""

from __future__ import annotations

from router_sdk import Decision, Outcome
from router_sdk.plugin import hookimpl


@hookimpl
def on_decision(decision: Decision) -> None:
    """A span for a decision."""
    from router_sdk_otel.spans import telemetry

    telemetry.on_decision(decision)


@hookimpl
def on_outcome(decision_id: str, outcome: Outcome) -> None:
    """An event for each score."""
    from router_sdk_otel.spans import telemetry

    telemetry.on_outcome(decision_id, outcome)
