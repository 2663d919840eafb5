"""The decision-model format, ``POST /v1/systemone``: typed questions about a state, answered with probabilities.

A router answers one kind of question, which of several agents a task should get: ``choice``, with agents as labels. The
agent that was drawn is ``choice``, and it carries the largest probability of the answer, by a margin: clients that read
nothing else would never explore. What it was truly drawn with is in the log, and at ``/v1/explain/{decision}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from router_sdk import Decision, Task
from router_sdk.records import MAX_TEXT_CHARS
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import body_of, idempotency_key_of
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Refused
from router_sdk_server.service import service_of

endpoints = APIRouter(tags=["decision model"], route_class=guarded("route"))

MARGIN = 0.01
"""By how much the chosen label's probability is above every other's in an answer, at least, before all are scaled."""

NOBODY = ("none_of_the_above", "no_agent_fits", "none", "other")
"""Labels that stand for "no agent fits", where no agent is called so."""

_MODEL = "router-sdk"
_REFUSED = {
    "score": "a rubric",
    "noul": "yes or no",
    "box": "a place in an image",
}

Content = str | dict[str, JsonValue] | list[JsonValue]


class Question(BaseModel):
    """One question; what its type does not need is left alone."""

    model_config = ConfigDict(extra="allow")

    type: Literal["choice", "score", "noul", "box"]
    instructions: Content | None = None
    criteria: dict[str, JsonValue] | list[JsonValue] | None = None


class SystemOneBody(BaseModel):
    """A state, and questions about it."""

    model_config = ConfigDict(extra="allow")

    state: Content
    questions: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=200)], Question], Field(min_length=1, max_length=100)
    ]
    model: str | None = None
    task: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Of this service alone: further fields of the task, such as task_type, session_id or features.",
    )


class ChoiceAnswer(BaseModel):
    """Which agent was drawn."""

    type: Literal["choice"]
    choice: str
    probabilities: dict[str, float]
    confidence: float
    decision_id: str


class SystemOneAnswer(BaseModel):
    """An answer to each question; ``request_id`` is the id of the first one's decision."""

    model: str
    answers: dict[str, ChoiceAnswer]
    usage: dict[str, int]
    request_id: str


@endpoints.post(
    "/v1/systemone",
    response_model=SystemOneAnswer,
    openapi_extra=body_of(SystemOneBody, "The same key gives the same decisions."),
    responses=refusals(_409="Nobody is left to choose from, or no agent fits and no label says so."),
)
async def systemone(request: Request) -> Response:
    """Answer choice questions whose labels are agents; several of them in one call are several decisions.

    Each answer's ``decision_id`` is what ``/v1/outcomes`` takes; ``request_id``, also in the headers, is that of the
    first. Answers are draws: do not cache them.
    """
    service, access = service_of(request), access_of(request)
    asked = SystemOneBody.model_validate_json(await request.body())
    names = tuple(agent.name for agent in service.router.agents)
    labels = _labels(asked.questions, names)
    task = access.own(Task.of({"text": text_of(asked.state), **asked.task}))
    key = idempotency_key_of(request)
    answers: dict[str, dict[str, Any]] = {}
    for question, offered in labels.items():
        wanted = frozenset(offered)
        decision = await service.router.aroute(
            task,
            exclude=[name for name in names if name not in wanted],
            idempotency_key=None if key is None else _key_of(key, question),
        )
        service.decided((decision,))
        answers[question] = answer(decision, offered, names)
        await asyncio.sleep(0)  # many questions keep nobody else waiting
    first: str = next(iter(answers.values()))["decision_id"]
    request.scope["request_id"] = first
    told = {
        "model": asked.model or _MODEL,
        "answers": answers,
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "request_id": first,
    }
    headers = {"cache-control": "no-store", "x-typesafe-request-id": first}
    return Response(to_json(told), headers=headers, media_type="application/json")


def _key_of(key: str, question: str) -> str:
    """One question's own key: a hash, since the two together may be longer than a key."""
    return sha256(f"{key}\0{question}".encode()).hexdigest()


def answer(decision: Decision, offered: Sequence[str], names: Iterable[str]) -> dict[str, Any]:
    """A decision as the answer to a question that offers these labels.

    Raises:
        Refused: if no agent fits, and no label says so, or it was drawn for other labels.
    """
    choice = decision.agent
    if choice is None:
        choice = next((label for label in NOBODY if label in offered and label not in set(names)), None)
        if choice is None:
            raise Refused(409, f"no agent fits; give the question a label for that, such as {NOBODY[0]!r}")
    if choice not in offered:  # an earlier answer, by its idempotency key
        raise Refused(409, f"the key stands for an answer of {choice!r:.80}, which is no label now; give another key")
    shown = shown_probabilities(decision.probabilities, offered, choice)
    confidence = shown[choice] if decision.confidence is None else decision.confidence
    return {
        "type": "choice",
        "choice": choice,
        "probabilities": shown,
        "confidence": confidence,
        "decision_id": decision.decision_id,
    }


def shown_probabilities(drawn: Mapping[str, float], offered: Sequence[str], choice: str) -> dict[str, float]:
    """Probabilities over the labels of which the choice has the largest, by a margin; they sum to 1.

    Where another agent was the likelier, the two change places, so that the numbers stay those of the distribution.
    """
    shown = {label: drawn.get(label, 0.0) for label in offered}
    largest = max(shown, key=lambda label: shown[label])
    shown[largest], shown[choice] = shown[choice], shown[largest]
    others = max((share for label, share in shown.items() if label != choice), default=0.0)
    shown[choice] = max(shown[choice], others + MARGIN)
    total = sum(shown.values())
    return {label: share / total for label, share in shown.items()}


def _labels(questions: Mapping[str, Question], names: Sequence[str]) -> dict[str, list[str]]:
    """The labels of each question.

    Raises:
        Refused: if one is not of a kind that a router answers, or offers somebody who is no agent; names it.
    """
    faults: list[str] = []
    found: dict[str, list[str]] = {}
    for name, question in questions.items():
        if question.type != "choice":
            faults.append(
                f"questions.{name}: type {question.type!r} asks for {_REFUSED[question.type]}, and this model chooses "
                "agents: ask with type 'choice'"
            )
        elif not isinstance(question.criteria, dict) or not question.criteria:
            faults.append(f"questions.{name}.criteria: give the labels to choose from, with a description of each")
        else:
            strange = [label for label in question.criteria if label not in names and label not in NOBODY]
            if strange or not any(label in names for label in question.criteria):
                shown = ", ".join(repr(label)[:80] for label in strange[:5] or question.criteria)
                faults.append(
                    f"questions.{name}.criteria: {shown}: no agent is called so; PUT /v1/agents/NAME adds one, GET "
                    "/v1/agents lists them"
                )
            found[name] = list(question.criteria)
    if faults:
        raise Refused(422, "; ".join(faults))
    return found


def text_of(state: Content) -> str:
    """What of a state a task is routed by: a text as it is, of a conversation the newest words of the user.

    Of the states that dspy makes, the inputs; anything else as JSON.
    """
    if isinstance(state, str):
        return state
    messages = state.get("messages") if isinstance(state, dict) else state
    if isinstance(messages, list) and (words := newest_words(messages)):
        return words
    if isinstance(state, dict) and isinstance(inputs := state.get("inputs"), dict) and "instructions" in state:
        texts = [value if isinstance(value, str) else to_json(value).decode() for value in inputs.values()]
        return "\n".join(texts)[:MAX_TEXT_CHARS]
    return to_json(state).decode()[:MAX_TEXT_CHARS]


def newest_words(messages: Iterable[JsonValue]) -> str:
    """The newest words of the user in a conversation; empty where there are none."""
    said = [_said(message) for message in messages if isinstance(message, dict) and _from_user(message)]
    return next((words for words in reversed(said) if words), "")[:MAX_TEXT_CHARS]


def _from_user(message: Mapping[str, JsonValue]) -> bool:
    return message.get("role", message.get("type")) in ("user", "human")


def _said(message: Mapping[str, JsonValue]) -> str:
    """The words of a message, which may stand in blocks."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [block.get("text") if isinstance(block, dict) else block for block in content]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
