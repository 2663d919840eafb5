"""What is to be routed: the *context* in bandit papers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictBool, StrictInt, StringConstraints, WrapValidator

from router_sdk.errors import InvalidTaskError
from router_sdk.records.record import Amount, Label, Labels, Metadata, Name, Real, Record, Text

FeatureValue = StrictBool | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | Real | Text

DEFAULT_TASK_TYPE = "default"


class Task(Record):
    """One thing to be done. A plain ``str`` is accepted wherever a task is.

    Args:
        text: What is asked for, in words; at most 1,000,000 characters.
        task_type: A coarse kind, such as ``"code"``; statistics are kept per type.
        features: Numbers, booleans and categories that describe the task.
        session_id: Groups the decisions of one conversation or run.
        tenant: Whose task it is.
        requires: Capabilities that an agent must have to be eligible.
        history: Names of the agents that acted before, oldest first.
        max_cost_usd: Budget of this task, in US dollars.
        max_latency_ms: Latency budget of this task, in milliseconds.
        metadata: Anything else; kept in the log, never interpreted by the core.
        step: Which step of its session this is, from 0.
        parent_decision_id: The decision that led to this task.

    Raises:
        InvalidTaskError: if text, features and task type are all missing, or a field is malformed.
    """

    fault: ClassVar[type[InvalidTaskError]] = InvalidTaskError
    short_form: ClassVar[str] = "text"

    text: Text = ""
    task_type: Name = DEFAULT_TASK_TYPE
    features: dict[Label, FeatureValue] = Field(default_factory=dict)
    session_id: Label | None = None
    tenant: Name | None = None
    requires: Labels = frozenset()
    history: tuple[Name, ...] = ()
    max_cost_usd: Amount | None = None
    max_latency_ms: Amount | None = None
    metadata: Metadata = Field(default_factory=dict)
    step: Annotated[StrictInt, Field(ge=0, le=2**53)] | None = None
    parent_decision_id: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{32}$")] | None = None

    def __init__(self, text: str = "", **fields: Any) -> None:
        super().__init__(text=text, **fields)
        if not self.features and self.task_type == DEFAULT_TASK_TYPE and not self.text.strip():
            raise InvalidTaskError("Task: give a text, features or a task_type; there is nothing to route by")


TaskAsKept = Annotated[Task, WrapValidator(lambda fields, check: Task.kept(fields))]
"""A task as a field: with less than can be routed where privacy or ``forget`` removed it."""
