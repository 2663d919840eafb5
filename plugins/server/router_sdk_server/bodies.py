"""What requests hold, and how answers are written."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import to_json

from router_sdk import Agent, Outcome, Task
from router_sdk.errors import InvalidInputError

TaskBody = Annotated[Task, BeforeValidator(Task.of, json_schema_input_type=Task | str)]
"""A task, or its text."""

OutcomeBody = Annotated[Outcome, BeforeValidator(Outcome.of, json_schema_input_type=Outcome)]

AgentBody = Annotated[Agent, BeforeValidator(Agent.of, json_schema_input_type=Agent | str)]
"""An agent, or its name."""

Key = Annotated[str, Field(min_length=1, max_length=200)]
"""A caller's own name for something, such as one delivery."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
"""A strategy's, a tenant's or a kind of task's."""

Names = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=10_000)]
"""Agents' names."""


_LONGEST_KEY = 180


def body_of(model: type[BaseModel], idempotency_key: str | None = None) -> dict[str, Any]:
    """The description of what an endpoint reads itself, straight from the bytes: a body, and a header.

    Args:
        model: The body.
        idempotency_key: What the header ``Idempotency-Key`` means there; None where it means nothing.
    """
    schema = model.model_json_schema(ref_template=f"#/$defs/{model.__name__}/{{model}}")
    told: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    if idempotency_key is not None:
        told["parameters"] = [
            {
                "name": "idempotency-key",
                "in": "header",
                "required": False,
                "description": idempotency_key,
                "schema": {"type": "string", "minLength": 1, "maxLength": 180},
            }
        ]
    return told


def idempotency_key_of(request: Request) -> str | None:
    """The header ``Idempotency-Key``.

    Raises:
        InvalidInputError: if it is too long to be one.
    """
    given = request.headers.get("idempotency-key")
    if given is not None and not 0 < len(given) <= _LONGEST_KEY:
        raise InvalidInputError(f"Idempotency-Key: expected 1 to {_LONGEST_KEY} characters, got {len(given):,}")
    return given


def json_response(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON; numbers that are not finite become null."""
    return Response(to_json(told, inf_nan_mode="null"), status, headers, "application/json")
