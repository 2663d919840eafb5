"""What is said when a request cannot be answered: problem details, RFC 9457, that say what to do."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from router_sdk import errors
from router_sdk.records import fault_words, models_called, models_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger(__name__)

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.IdempotencyConflictError, 409),
    (errors.TooManyOutcomesError, 409),
    (errors.InvalidInputError, 422),
    (errors.UnknownAgentError, 422),
    (errors.UnknownDecisionError, 404),
    (errors.UnknownVersionError, 404),
    (errors.UnknownStrategyError, 404),
    (errors.NoEligibleAgentError, 409),
    (errors.GateRefusedError, 409),
    (errors.ChampionMovedError, 409),
    (errors.ExperimentError, 409),
    (errors.StrategyError, 409),
    (errors.StoreUnavailableError, 503),
    (errors.RouterClosedError, 503),
)
"""What each error of the SDK is over HTTP; the first that fits counts."""

_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    429: "Too many requests",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}
"""HTTP's own words for each status (RFC 9110, section 15); what happened and what to do is the detail's."""

_DECISION = re.compile(r"\b[0-9a-f]{32}\b")
_AS_OPENAI = ("/v1/chat/completions", "/v1/models")

_SAID = {
    "There was an error parsing the body": "the body is no JSON that can be read; send JSON in UTF-8",
    "Not Found": "nothing answers at this path; /openapi.json lists what does",
    "Method Not Allowed": "this path does not take that method; /openapi.json lists which it takes",
}
"""What FastAPI says, in words that say what to do."""


class Problem(BaseModel):
    """What went wrong, and what to do: RFC 9457."""

    model_config = ConfigDict(json_schema_extra={"description": "What went wrong, and what to do: RFC 9457."})

    type: str = Field(examples=["urn:router-sdk:InvalidOutcomeError"])
    title: str
    status: int
    detail: str
    request_id: str | None = None
    error: dict[str, Any] | None = Field(default=None, description="The same for OpenAI's clients, where they ask.")


class Refused(Exception):  # noqa: N818  # an answer, not a fault
    """A request is not answered.

    Args:
        status: HTTP's number for it.
        detail: Why, and what to do.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def problem_of(error: BaseException, bodies: Sequence[type[BaseModel]] = ()) -> dict[str, Any]:
    """An error as a problem's fields; what nobody foresaw says nothing of itself outside.

    Args:
        error: What was raised.
        bodies: What the endpoint reads, where FastAPI reads it.
    """
    if isinstance(error, Refused):
        return _problem(error.status, "about:blank", error.detail)
    if isinstance(error, HTTPException):
        return _problem(error.status_code, "about:blank", _SAID.get(str(error.detail), str(error.detail)))
    if isinstance(error, ClientDisconnect):
        return _problem(400, "about:blank", "the connection ended before the body had come; send it again")
    if isinstance(error, RequestValidationError | ValidationError):
        unread = any(fault["type"] == "json_invalid" for fault in error.errors())
        return _problem(400 if unread else 422, "urn:router-sdk:InvalidInputError", described(error, bodies))
    if isinstance(error, errors.WrongTenantError):  # others' are not there
        named = _DECISION.search(str(error))
        return problem_of(
            errors.UnknownDecisionError(f"the log holds no decision {named[0] if named else ''}".rstrip())
        )
    for kind, status in STATUS:
        if isinstance(error, kind):
            return _problem(status, f"urn:router-sdk:{type(error).__name__}", str(error))
    return _problem(500, "about:blank", "the service is at fault; its log has more under this request's id")


def _problem(status: int, kind: str, detail: str) -> dict[str, Any]:
    return {"type": kind, "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}


def described(error: RequestValidationError | ValidationError, bodies: Sequence[type[BaseModel]] = ()) -> str:
    """One line for each fault of a body: which field, and what is wrong with it; nothing of what was sent."""
    lines, faults = [], error.errors()
    models = bodies if isinstance(error, RequestValidationError) else models_called(error.title)
    for fault in faults[:10]:
        where = ".".join(str(part)[:80] for part in fault["loc"][:8]) or "body"
        lines.append(f"{where}: {fault_words(fault, models)[:500]}")
    more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
    return "; ".join(lines) + more


def answer(told: dict[str, Any], scope: Mapping[str, Any], headers: dict[str, str] | None = None) -> Response:
    """A problem as the response to a request; where OpenAI's clients ask, also in the form in which they read it."""
    told = {**told, "request_id": scope.get("request_id")}
    if scope["path"].startswith(_AS_OPENAI):
        told["error"] = {"message": told["detail"], "type": told["title"], "param": None, "code": told["status"]}
    body = json.dumps(told).encode()
    extra = {"retry-after": "1"} if told["status"] in (429, 503) else {}
    return Response(body, told["status"], {**extra, **(headers or {})}, MEDIA_TYPE)


def answer_to(error: Exception, request: Request) -> Response:
    """The answer to a request that failed; what nobody foresaw is logged."""
    body = getattr(request.scope.get("route"), "body_field", None)
    told = problem_of(error, () if body is None else tuple(models_in(body.field_info.annotation)))
    if told["status"] >= 500 and not isinstance(error, (errors.RouterError, Refused)):
        _log.exception("request %s failed", request.scope.get("request_id"), exc_info=error)
    headers = getattr(error, "headers", None)
    return answer(told, request.scope, dict(headers) if headers else None)


def install(app: FastAPI) -> None:
    """Let every error of an application become a problem."""

    async def told(request: Request, error: Exception) -> Response:
        return answer_to(error, request)

    kinds = (Refused, RequestValidationError, HTTPException, ValidationError, errors.RouterError, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, told)
