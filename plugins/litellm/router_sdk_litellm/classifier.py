"""A classifier for LiteLLM's complexity router: its tiers are agents."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from litellm.integrations.custom_logger import CustomLogger

from router_sdk import Router, Task
from router_sdk_litellm.calls import metadata_of, record_failure, record_success, task_of
from router_sdk_litellm.conversation import text_of

KEY = "router_sdk_tier"
"""Where in a request's metadata stands which decision its tier is; ``RoutedModels`` may be asked beside it."""

_MOST_OPEN = 10_000
"""How many texts are remembered between the classification and the call."""

_log = logging.getLogger(__name__)


class RoutedTiers(CustomLogger):  # type: ignore[misc, unused-ignore]  # a class of LiteLLM's
    """A ``ClassifierPlugin`` for the complexity router (``classifier_type="custom"``), and a callback that records.

    ::

        tiers = RoutedTiers(router)  # agents: SIMPLE, MEDIUM, COMPLEX, REASONING, or those of tier_definitions
        litellm.callbacks.append(tiers)
        config = {"classifier_type": "custom", "classifier_plugin": tiers, "tiers": {...}}

    Where the router fails, or says that no agent fits, it declines, and LiteLLM's ``classifier_fallback`` decides. A
    call that the chosen tier's group answers is its outcome, and each failed attempt there; what the group of a
    fallback does is not.

    Args:
        router: Whose agents are the tiers. It stays the caller's.
        task: The task that a call stands for, from its messages and metadata; see ``RoutedModels``.
    """

    def __init__(self, router: Router, *, task: Callable[[Any, Mapping[str, Any]], Task | str] = task_of) -> None:
        super().__init__()
        self._router, self._task = router, task
        self._open: OrderedDict[tuple[str, str], deque[str]] = OrderedDict()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: LiteLLM copies a list of models with all that is in it, and a router cannot be copied."""
        return self

    async def classify(self, context: Any) -> str | None:
        """The tier that a request belongs to."""
        try:
            decision = await self._router.aroute(self._task(context.structured_messages, context.metadata))
        except Exception:
            _log.exception("the request goes on without the router")
            return None
        if decision.agent is not None:
            key = (text_of(context.structured_messages), decision.agent)
            self._open.setdefault(key, deque()).append(decision.decision_id)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return decision.agent

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """All of them: this is where the request is first seen together with what it was classified as.

        LiteLLM shows the classifier a copy of the request. Requests with the same words and the same tier are
        interchangeable: it does not matter which of their decisions belongs to which.
        """
        metadata = metadata_of(request_kwargs)
        told = (metadata or {}).get("routing_decision")
        if metadata is not None and isinstance(told, Mapping) and told.get("cause") == "classifier_plugin":
            waiting = self._open.get((text_of(messages), str(told.get("tier"))))
            if KEY not in metadata and waiting:
                metadata[KEY] = {"decision_id": waiting.popleft(), "group": told.get("routed_model")}
                if not waiting:
                    self._open.pop((text_of(messages), str(told.get("tier"))), None)
        return healthy_deployments

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call succeeded; a stream has by now ended."""
        await record_success(self._router, _credited(kwargs), kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call failed."""
        await record_failure(self._router, _credited(kwargs), kwargs, start_time, end_time)


def _credited(kwargs: Mapping[str, Any]) -> tuple[str, None] | None:
    """The decision that a call was made for, where the chosen tier's group answered it."""
    metadata = metadata_of(kwargs.get("litellm_params")) or {}
    made = metadata.get(KEY)
    if not isinstance(made, dict) or metadata.get("deployment_model_name") != made.get("group"):
        return None
    return made["decision_id"], None
