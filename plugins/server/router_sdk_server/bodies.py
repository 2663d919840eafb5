"""What requests hold, and how answers are written."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import to_json

from router_sdk import Agent, Outcome, Task

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


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a body that an endpoint reads itself, straight from the bytes."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{model.__name__}/{{model}}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def json_response(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON; numbers that are not finite become null."""
    return Response(to_json(told, inf_nan_mode="null"), status, headers, "application/json")
