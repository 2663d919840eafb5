"""One call of LiteLLM's: which attempt of a request it is, what is routed of it, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from router_sdk import Outcome, Router, Task
from router_sdk_litellm.conversation import text_of

KEY = "router_sdk"
"""Where in a request's metadata stands what was decided; LiteLLM copies it for each attempt."""

_log = logging.getLogger(__name__)


def metadata_of(holder: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A request's metadata; some endpoints keep it under another name."""
    if holder is None:
        return None
    found = holder.get("litellm_metadata") or holder.get("metadata")
    return found if isinstance(found, dict) else None


def attempt_of(group: str, metadata: Mapping[str, Any]) -> list[Any]:
    """What tells an attempt of a request from those before it: the group, and how often it was tried before."""
    return [group, metadata.get("request_retry_count") or 0, len(metadata.get("previous_models") or ())]


def task_of(messages: Any, metadata: Mapping[str, Any]) -> Task:
    """The task that a call stands for: what the user said last, and in which session."""
    session = metadata.get("session_id")
    return Task(text_of(messages), session_id=str(session)[:200] if session else None)


async def record_success(
    router: Router, credited: tuple[str, str | None] | None, kwargs: Any, response: Any, start: Any, end: Any
) -> None:
    """Record a success; where a cache answered no model did.

    Args:
        router: Who learns.
        credited: The decision, and who answered where that is another than was chosen; None records nothing.
        kwargs: What LiteLLM says of the call.
        response: The answer.
        start: When it began.
        end: When it ended.
    """
    if credited is None or kwargs.get("cache_hit"):
        return
    fields: dict[str, Any] = {"success": True}
    tokens = getattr(getattr(response, "usage", None), "total_tokens", None)
    if isinstance(tokens, int) and tokens > 0:
        fields["tokens"] = tokens
    cost = kwargs.get("response_cost")
    if isinstance(cost, int | float) and cost > 0.0:  # 0.0 is that of a model without a price: it is not free
        fields["cost_usd"] = float(cost)
    await _record(router, credited, kwargs, fields, start, end)


async def record_failure(
    router: Router, credited: tuple[str, str | None] | None, kwargs: Any, start: Any, end: Any
) -> None:
    """Record a failure; a call that was cancelled has not failed. See ``record_success``."""
    error = kwargs.get("exception")
    if credited is None or not isinstance(error, Exception):
        return
    await _record(router, credited, kwargs, {"error": Outcome.error_text(error)}, start, end)


async def _record(
    router: Router, credited: tuple[str, str | None], kwargs: Any, fields: dict[str, Any], start: Any, end: Any
) -> None:
    decision_id, agent = credited
    if agent is not None:
        fields["agent"] = agent
    if isinstance(start, datetime) and isinstance(end, datetime):
        fields["latency_ms"] = max((end - start).total_seconds() * 1_000, 0.0)
    call_id = f"{decision_id}/{'error' in fields}/{kwargs.get('litellm_call_id')}"[:200]  # a program may name a call
    try:
        await router.arecord(decision_id, Outcome(**fields), outcome_id=call_id)
    except Exception:
        _log.exception("it goes on without the outcome of decision %s", decision_id)
