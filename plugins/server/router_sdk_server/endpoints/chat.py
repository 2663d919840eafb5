"""Chat completions in OpenAI's form, answered by the agent that is chosen."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from router_sdk import Task
from router_sdk.errors import InvalidInputError
from router_sdk_server.access import Access, access_of, guarded
from router_sdk_server.bodies import body_of
from router_sdk_server.endpoints.systemone import newest_words
from router_sdk_server.gateway.exchange import AUTO, Asked, answer, unless_gone
from router_sdk_server.gateway.wire import models_in, parsed
from router_sdk_server.openapi import refusals
from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["gateway"], route_class=guarded("route"))

SESSION_HEADER = "x-session-id"
TASK_HEADER = "x-router-task"


class ChatBody(BaseModel):
    """A request for a chat completion; whatever else stands in it is for the upstream, and passes untouched."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=200, description=f"'{AUTO}', or an agent's name.")]
    messages: Annotated[list[JsonValue], Field(min_length=1)]
    stream: bool | None = None
    stream_options: dict[str, JsonValue] | None = None
    user: str | None = Field(default=None, description="The session, where nothing else says.")
    metadata: dict[str, JsonValue] | None = Field(
        default=None, description="session_id names the session, task_type the kind of task."
    )


@endpoints.post(
    "/v1/chat/completions",
    response_model=dict[str, Any],
    openapi_extra=body_of(ChatBody),
    responses={
        **refusals(
            _404="The model is neither 'auto' nor an agent with an upstream.",
            _409="Nobody is left to choose from, or no agent fits.",
            _502="All agents that were asked failed.",
        )
    },
)
async def chat(request: Request) -> Response:
    """Choose an agent and answer as its upstream does, or ask one agent by its name.

    The answer's ``model`` is the agent, the header ``X-Router-Decision-Id`` names the decision. Latency, tokens and
    cost are recorded by themselves; ``/v1/outcomes`` takes what else is known.
    """
    service, access = service_of(request), access_of(request)
    body = await request.body()
    asked = ChatBody.model_validate_json(body)
    if models_in(body) > 1:  # the upstream might read another one than is read here
        raise InvalidInputError("model: the body says it more than once; say it once")
    request.scope["limit"].reschedule(None)  # each upstream has its own time
    options = asked.stream_options
    wanted = Asked(body, asked.model, _task(asked, request, access), bool(asked.stream), options is None)
    return await unless_gone(request.receive, answer(service, wanted))


def _task(asked: ChatBody, request: Request, access: Access) -> Task:
    """What a request is routed by: the newest words of the user, and what is said beside them."""
    told = asked.metadata or {}
    fields: dict[str, Any] = {"text": newest_words(asked.messages)}
    session = request.headers.get(SESSION_HEADER) or told.get("session_id") or asked.user
    if session is not None:
        fields["session_id"] = session
    if told.get("task_type") is not None:
        fields["task_type"] = told["task_type"]
    if (further := request.headers.get(TASK_HEADER)) is not None:
        more = parsed(further.encode("latin-1"))
        if more is None:
            raise InvalidInputError(f"{TASK_HEADER}: expected a JSON object with fields of a task, in ASCII")
        fields |= more
    if not fields["text"] and not fields.get("features"):
        fields["features"] = {"messages": len(asked.messages)}
    return access.own(Task.of(fields))
