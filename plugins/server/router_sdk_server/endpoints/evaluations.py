"""OpenTelemetry: evaluations as outcomes, and requests in their callers' traces, where router-sdk-otel is installed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from router_sdk_server.access import access_of, guarded
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Refused, problem_of
from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["outcomes"], route_class=guarded("record"))

_EXPORT = "An export of logs (OTLP over HTTP); gzip is understood. What in it is no evaluation is passed over."
_CONTENT: dict[str, Any] = {
    "application/json": {"schema": {"type": "object"}},
    "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
}
_REFUSED = "What was refused, and why; nothing where all is on disk."


@endpoints.post(
    "/v1/logs",
    openapi_extra={
        "requestBody": {"required": True, "description": _EXPORT, "content": _CONTENT},
        "responses": {"200": {"description": _REFUSED, "content": _CONTENT}},
    },
    responses=refusals(_404="The service has no OpenTelemetry: install router-sdk-server[otel]."),
)
async def logs(request: Request) -> Response:
    """Record each event ``gen_ai.evaluation.result`` as an outcome of the decision that it names."""
    try:
        from router_sdk_otel import Scores, answered, decoded, telemetry
    except ImportError:
        raise Refused(404, "this service has no OpenTelemetry; install router-sdk-server[otel]") from None
    service, access = service_of(request), access_of(request)
    kind = request.headers.get("content-type", "")
    told_by_key = access.key is not None and access.key.origin is not None
    try:
        found = decoded(
            await request.body(),
            kind,
            request.headers.get("content-encoding", ""),
            most_bytes=service.settings.most_body_bytes,
            scores=Scores(origin=None if told_by_key else "judge"),
            decision_of=telemetry.decision_of,
        )
    except ValueError as error:
        raise Refused(400, str(error)) from error
    except ImportError as error:
        raise Refused(415, str(error)) from error
    sound, refused = [], list(found.refused)
    for report in found.reports:
        try:
            sound.append(report._replace(outcome=access.signed(report.outcome)))
        except Refused as refusal:
            refused.append(refusal.detail)
    faults = await service.router.arecord_batch(sound, tenant=access.tenant) if sound else []
    for report, fault in zip(sound, faults, strict=True):
        if fault is None:
            service.recorded(report.outcome)
        else:
            refused.append(problem_of(fault)["detail"])
    return Response(answered(refused, kind), media_type=kind.partition(";")[0])


def in_trace(app: Any) -> Any:
    """An application whose requests go on in the trace that their headers name, where OpenTelemetry is installed."""
    try:
        from router_sdk_otel import within_trace
    except ImportError:
        return app
    return within_trace(app)
