"""What is to be routed: the *context* in bandit papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StrictInt, StringConstraints, WrapValidator

from router_sdk.errors import InvalidTaskError
from router_sdk.records.fields import (
    MAX_ITEMS,
    MAX_TEXT_CHARS,
    AgentName,
    Cost,
    FeatureValue,
    Label,
    Labels,
    Latency,
    Metadata,
    Name,
    OneSpelling,
    Text,
)
from router_sdk.records.record import Record

DEFAULT_TASK_TYPE = "default"


def check_features(features: dict[str, FeatureValue]) -> dict[str, FeatureValue]:
    """Return ``features`` if together they are no longer than a text may be.

    Raises:
        ValueError: if they are.
    """
    size = sum(len(name) + (len(value) if isinstance(value, str) else 0) for name, value in features.items())
    if size > MAX_TEXT_CHARS:
        raise ValueError(f"names and texts must have at most {MAX_TEXT_CHARS} characters together, have {size}")
    return features


Features = Annotated[
    dict[Label, FeatureValue], Field(max_length=MAX_ITEMS), AfterValidator(check_features), OneSpelling
]


class Task(Record):
    """One thing to be done. A plain ``str`` is accepted wherever a task is.

    Names and ids are kept in Unicode's form NFC, texts and the values of features as they are.

    Args:
        text: What is asked for, in words; at most 1,000,000 characters.
        task_type: A coarse kind, such as ``"code"``, of at most 200 characters; statistics are kept per type.
        features: Numbers between -1e30 and 1e30, booleans and categories that describe the task: at most 10,000, with
            200 characters to a name and 1,000,000 in all.
        session_id: Groups the decisions of one conversation or run; at most 200 characters.
        tenant: Whose task it is; at most 200 characters.
        requires: Capabilities that an agent must have to be eligible; at most 10,000, of 200 characters each.
        history: Names of the agents that acted before, oldest first; at most 10,000.
        max_cost_usd: Most that an agent may cost to be eligible, in US dollars: by its stated ``cost_usd``, or without
            one by the mean of what outcomes said. An agent of which neither is known is eligible only where none is
            known to keep the limit.
        max_latency_ms: Most that an agent may take, in milliseconds, likewise by its ``latency_ms``.
        metadata: Anything else, up to 1,000,000 bytes as JSON; kept in the log, never interpreted by the core.
        step: Which step of its session this is, from 0.
        parent_decision_id: The decision that led to this task.

    Raises:
        InvalidTaskError: if text, features and task type are all missing, or a field is malformed or too large; says
            which field, and what it may hold.
    """

    fault: ClassVar[type[InvalidTaskError]] = InvalidTaskError
    short_form: ClassVar[str] = "text"

    text: Text = ""
    task_type: Name = DEFAULT_TASK_TYPE
    features: Features = Field(default_factory=dict)
    session_id: Label | None = None
    tenant: Name | None = None
    requires: Labels = frozenset()
    history: Annotated[tuple[AgentName, ...], Field(max_length=MAX_ITEMS)] = ()
    max_cost_usd: Cost | None = None
    max_latency_ms: Latency | None = None
    metadata: Metadata = Field(default_factory=dict)
    step: Annotated[StrictInt, Field(ge=0, le=2**53)] | None = None
    parent_decision_id: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{32}$")] | None = None

    def __init__(self, text: str = "", **fields: Any) -> None:
        super().__init__(text=text, **fields)
        if not self.features and self.task_type == DEFAULT_TASK_TYPE and not self.text.strip():
            raise InvalidTaskError("Task: give a text, features or a task_type; there is nothing to route by")


TaskAsKept = Annotated[Task, WrapValidator(lambda fields, check: Task.kept(fields))]
"""A task as a field: with less than can be routed where privacy or ``forget`` removed it."""


TaskLike = Task | str | Mapping[str, Any]
"""A task, its text, or a mapping of its fields."""
