"""The router as an agent: it forwards a task to whom it chooses, passes on what comes back, and records the end."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import aclosing
from typing import Any

from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import Artifact, CancelTaskRequest, Message, Part, StreamResponse, TaskState, TaskStatus
from a2a.types import Task as A2ATask
from google.protobuf.json_format import MessageToDict

from router_sdk import Decision, Outcome, Router, RouterError, Task
from router_sdk_a2a.cards import CardAgents
from router_sdk_a2a.work import RemoteTask

KEY = "router_sdk"
"""Where in a task's metadata stands who does it, so that any replica can go on with it. Texts alone: protobuf makes
numbers floats."""

_MOST_CONTEXTS = 10_000
"""Of how many conversations an agent's own name is remembered."""

_log = logging.getLogger(__name__)


class RouterExecutor(AgentExecutor):  # type: ignore[misc, unused-ignore]  # a class of the SDK's
    """Forwards each new task to the agent that the router chooses; messages to a task that waits go to that one.

    A task that completes is a success of its agent, one that fails or is rejected a failure; one that waits or is
    cancelled is neither. An agent that cannot be reached has failed, and another one is chosen, up to ``tries`` of
    them. A task's context is its session. The decision's id is in the task's metadata, as ``router_sdk.decision_id``.

    Args:
        router: Who decides and learns. It stays the caller's.
        cards: Where its agents are.
        tries: How many agents are tried for a task, at least 1.
    """

    def __init__(self, router: Router, cards: CardAgents, *, tries: int = 2) -> None:
        if tries < 1:
            raise ValueError(f"tries: must be a whole number of at least 1, got {tries!r:.60}")
        self._router, self._cards, self._tries = router, cards, tries
        self._contexts: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do a task, or go on with one."""
        assert context.message is not None
        known = _about(context.current_task)
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        if known:
            message = _copied(context.message, known["task_id"], known["context_id"])
            await self._forward(updater, message, known["decision_id"], known["agent"])
            return
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        tried: set[str] = set()
        for left in reversed(range(self._tries)):
            try:
                decision = await self._decided(context, tried)
            except RouterError as error:
                await updater.failed(updater.new_agent_message([Part(text=str(error))]))
                return
            if decision.agent is None:
                await updater.reject(updater.new_agent_message([Part(text="no agent fits this task")]))
                return
            tried.add(decision.agent)
            message = _copied(context.message, "", self._contexts.get((context.context_id or "", decision.agent), ""))
            if await self._forward(updater, message, decision.decision_id, decision.agent, last=not left):
                return

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a task, at whoever does it, too."""
        known = _about(context.current_task)
        if known and known["task_id"]:
            try:
                await self._cards.client(known["agent"]).cancel_task(CancelTaskRequest(id=known["task_id"]))
            except Exception as error:
                _log.warning("%s could not be told to cancel a task: %s", known["agent"], error)
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()

    async def _decided(self, context: RequestContext, tried: set[str]) -> Decision:
        task = Task(context.get_user_input(), session_id=(context.context_id or "")[:200] or None)
        others = {agent.name for agent in self._router.agents if "a2a" not in agent.metadata}
        return await self._router.aroute(task, exclude=others | tried)

    async def _forward(
        self, updater: TaskUpdater, message: Message, decision_id: str, agent: str, *, last: bool = True
    ) -> bool:
        """Let an agent do it; False where it could not be reached and another may be tried."""
        relay = _Relay(updater, {"decision_id": decision_id, "agent": agent})
        remote = await self._followed(agent, message, relay)
        if isinstance(remote, Exception):
            await self._record(decision_id, {"error": Outcome.error_text(remote)})
            await self._cards.heard(agent, reached=False)
            if last or relay.begun:
                await updater.failed(updater.new_agent_message([Part(text=f"{agent} did not answer")]))
                return True
            return False
        self._remember(updater.context_id, agent, remote.context_id)
        await self._record(decision_id, remote.told())
        await self._cards.heard(agent, reached=True)
        await relay.end(remote)
        return True

    async def _followed(self, agent: str, message: Message, relay: _Relay) -> RemoteTask | Exception:
        """An agent's task to its end, or what broke it off there; what breaks off here is raised, and says nothing."""
        try:
            remote = RemoteTask(self._cards.client(agent), at_once=True)
        except Exception as error:
            return error
        async with aclosing(remote.sent(message)) as events:
            while True:
                try:
                    event = await anext(events, None)
                except Exception as error:
                    return error
                if event is None:
                    return remote
                await relay.pass_on(event, remote)

    async def _record(self, decision_id: str, fields: dict[str, Any]) -> None:
        """A task ends once; where that cannot be recorded, the caller gets its answer all the same."""
        if "error" not in fields and fields["success"] is None:
            return
        try:
            await self._router.arecord(decision_id, Outcome(**fields), outcome_id=f"a2a:{decision_id}")
        except Exception:
            _log.exception("how the task of decision %s ended was not recorded", decision_id)

    def _remember(self, context_id: str, agent: str, remote_context_id: str) -> None:
        """An agent's own name for a conversation, so that its next task there goes on with it."""
        if remote_context_id:
            self._contexts[context_id, agent] = remote_context_id
            self._contexts.move_to_end((context_id, agent))
        while len(self._contexts) > _MOST_CONTEXTS:
            self._contexts.popitem(last=False)


class _Relay:
    """Passes on what an agent tells, under the ids of our own task; the end is held back until it is recorded."""

    def __init__(self, updater: TaskUpdater, about: dict[str, str]) -> None:
        self._updater, self._about = updater, about
        self._passed: dict[str, int] = {}  # of each artifact so many parts
        self.begun = False

    async def pass_on(self, event: StreamResponse, remote: RemoteTask) -> None:
        if not self.begun and remote.task_id:
            self.begun = True
            about = {**self._about, "task_id": remote.task_id, "context_id": remote.context_id}
            await self._updater.update_status(TaskState.TASK_STATE_WORKING, metadata={KEY: about})
        if event.HasField("artifact_update"):
            update = event.artifact_update
            before = self._passed.get(update.artifact.artifact_id, 0) if update.append else 0
            self._passed[update.artifact.artifact_id] = before + len(update.artifact.parts)
            await self._artifact(update.artifact, append=update.append, last_chunk=update.last_chunk)
        elif event.HasField("task"):
            for artifact in event.task.artifacts:  # between two looks at a task they grow
                before = self._passed.get(artifact.artifact_id, 0)
                if len(artifact.parts) > before:
                    self._passed[artifact.artifact_id] = len(artifact.parts)
                    await self._artifact(artifact, begin=before, append=before > 0)
        elif event.HasField("status_update") and event.status_update.status.state == TaskState.TASK_STATE_WORKING:
            await self._status(event.status_update.status)

    async def end(self, remote: RemoteTask) -> None:
        if isinstance(remote.result, Message):
            await self._updater.add_artifact(list(remote.result.parts), name="answer")
            about = {**self._about, "task_id": "", "context_id": remote.context_id}
            await self._updater.update_status(TaskState.TASK_STATE_COMPLETED, metadata={KEY: about})
        else:
            await self._status(remote.status)

    async def _status(self, status: TaskStatus) -> None:
        said = None
        if status.HasField("message"):
            said = _copied(status.message, self._updater.task_id, self._updater.context_id)
        await self._updater.update_status(status.state, said)

    async def _artifact(self, artifact: Artifact, *, begin: int = 0, append: bool, last_chunk: bool = True) -> None:
        metadata, parts = MessageToDict(artifact.metadata) or None, list(artifact.parts[begin:])
        await self._updater.add_artifact(
            parts, artifact.artifact_id, artifact.name, metadata, append=append, last_chunk=last_chunk
        )


def _about(task: A2ATask | None) -> dict[str, str]:
    """Who does a task; empty where nobody was chosen yet."""
    found = MessageToDict(task.metadata).get(KEY) if task is not None else None
    return found if isinstance(found, dict) and found.get("task_id") else {}


def _copied(message: Message, task_id: str = "", context_id: str = "") -> Message:
    """A message under other ids: each agent has its own."""
    made = Message()
    made.CopyFrom(message)
    made.task_id, made.context_id = task_id, context_id
    return made
