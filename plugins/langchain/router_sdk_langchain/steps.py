"""One step of a graph: routed once, recorded once, however often it is executed.

A step is executed again by a resume after an interrupt, by time travel, and by whoever takes over a thread in another
process. Neither a task's id nor a step's number outlives time travel: both are new. What is the same is what the
checkpoint holds, so that is what a step is known by: its thread, its node, the decisions before it, the newest message
and the task. With a checkpointer it is an idempotency key of the decision, and of its outcome. Without one nothing can
be executed again, and nothing is looked up.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from langgraph.config import get_config
from langgraph.runtime import get_runtime

from router_sdk import Decision, Outcome, Router, Task
from router_sdk_langchain.conversation import newest_id, text_of

_CHECKPOINTER = "__pregel_checkpointer"
"""Where a run's configuration says that there is none. ``execution_info.thread_id`` is set without one, too, and
nothing public tells; where the key is missing, there may be one."""

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """Where a graph stands.

    Attributes:
        key: What the step is known by, or None where nothing can execute it again.
        thread_id: The conversation, or None.
        task_id: Of this execution, whether or not it is another one of the same step.
        attempt: Which one of a node that is retried, from 1.
    """

    key: str | None
    thread_id: str | None
    task_id: str
    attempt: int

    def of(self, *parts: object) -> str | None:
        """A key within the step; at most 200 characters."""
        if self.key is None:
            return None
        return hashlib.blake2b(repr((self.key, *parts)).encode(errors="replace"), digest_size=20).hexdigest()

    def outcome(self, decision_id: str | None, fields: Mapping[str, Any], *parts: object) -> str | None:
        """What an outcome is known by: executed again it counts once, but a failure is another one than a success."""
        return self.of("outcome", decision_id, "error" in fields, *parts)


def this_step(state: object) -> Step:
    """The step that is executed now; outside of a graph, one that nothing executes again."""
    try:
        config, info = get_config(), get_runtime().execution_info
    except (RuntimeError, KeyError):
        return Step(None, None, "", 1)
    thread_id = config.get("configurable", {}).get("thread_id")
    if info is None:
        return Step(None, None, "", 1)
    if info.thread_id is None or config.get("configurable", {}).get(_CHECKPOINTER, ...) is None:  # nothing keeps it
        return Step(None, None if thread_id is None else str(thread_id), info.task_id, info.node_attempt)
    about = config.get("metadata", {})
    outer, _, _ = str(about.get("langgraph_checkpoint_ns", "")).rpartition("|")
    node = (outer, about.get("langgraph_node"), about.get("langgraph_path"))
    known = (str(thread_id), node, list(routed_in(state)), newest_id(state))
    return Step(repr(known), str(thread_id), info.task_id, info.node_attempt)


def routed_in(state: object) -> dict[str, str]:
    """The decisions so far, oldest first: ids, and the agents that they named."""
    found = state.get("routed") if isinstance(state, Mapping) else None
    return found if isinstance(found, dict) else {}


def task_of(state: object, step: Step) -> Task:
    """The task that a state stands for: what the user said last, in which session, after whom."""
    before = routed_in(state)
    return Task(
        text_of(state),
        session_id=step.thread_id[:200] if step.thread_id else None,
        history=[agent for agent in before.values() if agent],
        step=len(before),
        parent_decision_id=next(reversed(before), None),
    )


def route(router: Router, task: Task, step: Step, exclude: Collection[str], *parts: object) -> Decision:
    """Route the task of a step, or find what was decided when it was executed before."""
    return router.route(task, exclude=exclude, idempotency_key=_key(task, step, parts))


async def aroute(router: Router, task: Task, step: Step, exclude: Collection[str], *parts: object) -> Decision:
    """``route`` for coroutines."""
    return await router.aroute(task, exclude=exclude, idempotency_key=_key(task, step, parts))


def _key(task: Task, step: Step, parts: tuple[object, ...]) -> str | None:
    return None if step.key is None else step.of(task.model_dump_json(), *parts)


class GoingOn:
    """What the router raises in here stands in the program's log; it takes no answer from whoever has paid for it."""

    def __init__(self, without: str) -> None:
        self._without = without

    def __enter__(self) -> None:
        """Ask the router."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """And go on."""
        if not isinstance(error, Exception):
            return False
        _log.error("it goes on without %s", self._without, exc_info=error)
        return True


def failed(error: BaseException, latency_ms: float) -> dict[str, Any]:
    """The outcome of a call that raised, as fields."""
    return {"error": Outcome.error_text(error), "latency_ms": latency_ms}


def succeeded(**fields: Any) -> dict[str, Any]:
    """A success, with what is known of it."""
    return {"success": True, **fields}
