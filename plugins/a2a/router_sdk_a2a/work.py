"""One task at another agent: sent, followed to its end, and what that says of how it went."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from a2a.client import Client
from a2a.helpers import get_artifact_text, get_message_text
from a2a.types import (
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
)

ENDED = frozenset(
    {
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_REJECTED,
    }
)
WAITS = frozenset({TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED})
_MOST_CHARS = 100_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 2.0


def message_of(task: str | Message) -> Message:
    """A message from a user."""
    if isinstance(task, Message):
        return task
    return Message(role=Role.ROLE_USER, parts=[Part(text=task)], message_id=str(uuid.uuid4()))


class RemoteTask:
    """A task at one agent.

    Args:
        client: Who calls the agent.
        at_once: Whether an agent that does not stream is to say at once what it calls the task, and is asked for it
            from then on: else it could not be cancelled there.

    Attributes:
        result: What is there of it so far: the task, or the message that was answered instead of one.
        status: How the task stands.
        task_id: What the agent calls the task; empty where it made none.
        context_id: And the conversation.
    """

    def __init__(self, client: Client, *, at_once: bool = False) -> None:
        self._client, self._started = client, time.perf_counter()
        self._how = SendMessageConfiguration(return_immediately=at_once)
        self._texts: dict[str, str] = {}
        self.status = TaskStatus()
        self.task_id, self.context_id = "", ""
        self.result: Task | Message | None = None

    async def sent(self, message: Message) -> AsyncGenerator[StreamResponse]:
        """Send a message, and tell what comes back, until the task has ended or waits for somebody.

        An agent that answers before that, or whose stream ends, is asked for the task until then.
        """
        request = SendMessageRequest(message=message, configuration=self._how)
        sent: Any = self._client.send_message(request)
        async with aclosing(sent) as events:  # else a task of its own closes it, later
            async for event in events:
                self._take(event)
                yield event
                if self.done:
                    return
        pause_s = _FIRST_PAUSE_S
        while self.task_id and not self.done:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            event = StreamResponse(task=await self._client.get_task(GetTaskRequest(id=self.task_id)))
            self._take(event)
            yield event

    @property
    def done(self) -> bool:
        """Whether it has ended, or waits for somebody."""
        return isinstance(self.result, Message) or self.status.state in ENDED | WAITS

    @property
    def text(self) -> str:
        """What was answered, in words."""
        if isinstance(self.result, Message):
            answer: str = get_message_text(self.result)
            return answer[:_MOST_CHARS]
        said = get_message_text(self.status.message) if self.status.HasField("message") else ""
        return "\n".join(filter(None, [*self._texts.values(), said]))[:_MOST_CHARS]

    def told(self) -> dict[str, Any]:
        """How it went, as fields of an outcome: what waits for somebody, or was cancelled, tells the latency alone."""
        fields: dict[str, Any] = {"latency_ms": (time.perf_counter() - self._started) * 1_000}
        state = self.status.state
        if isinstance(self.result, Message) or state == TaskState.TASK_STATE_COMPLETED:
            return {"success": True, "response": self.text, **fields}
        if state in (TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_REJECTED):
            name = TaskState.Name(state).removeprefix("TASK_STATE_").lower()
            return {"success": False, "error": f"{name}: {self.text}"[:_MOST_CHARS], **fields}
        return {"success": None, **fields}

    def _take(self, event: StreamResponse) -> None:
        if event.HasField("message"):
            self.result = event.message
        elif event.HasField("task"):
            self.result = event.task
            self.task_id, self.context_id = event.task.id, event.task.context_id
            self.status = event.task.status
            self._texts |= {one.artifact_id: get_artifact_text(one, "") for one in event.task.artifacts}
        elif event.HasField("status_update"):
            self.task_id, self.context_id = event.status_update.task_id, event.status_update.context_id
            self.status = event.status_update.status
            if isinstance(self.result, Task):
                self.result.status.CopyFrom(self.status)
        elif event.HasField("artifact_update"):
            update = event.artifact_update
            self.task_id, self.context_id = update.task_id, update.context_id
            before = self._texts.get(update.artifact.artifact_id, "") if update.append else ""
            self._texts[update.artifact.artifact_id] = before + get_artifact_text(update.artifact, "")
