"""A callback of LiteLLM that chooses each call's model among those that are well, and records what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from router_sdk import Decision, Router, Task
from router_sdk_litellm.calls import KEY, attempt_of, metadata_of, record_failure, record_success, task_of

_NARROWED = "_routing_plugin_candidate_models"
"""Where LiteLLM keeps which models a ``RoutingPlugin``, such as a policy of yours, left to choose from."""

_log = logging.getLogger(__name__)


class RoutedModels(CustomLogger):  # type: ignore[misc, unused-ignore]  # a class of LiteLLM's
    """Chooses the model of each call to a ``litellm.Router``, and records success, failure, latency, tokens and cost.

    ::

        litellm.callbacks.append(RoutedModels(router))

    It chooses among the deployments of the group that is called, once LiteLLM has left out those in cooldown, and is
    asked again for each retry and for the group of a fallback: whoever failed in a request is not chosen again while
    there is another. Deployments whose model is no agent get what no agent can. Where the router has nothing to choose
    from, or fails, the call goes on as it would without it. Each attempt that reaches a model has an outcome; a
    cancelled one, and an answer out of a cache, have none.

    It is no ``RoutingPlugin``: those are asked before it is known who is well, and what they choose for one group stays
    in force for the group of a fallback. What such a plugin left to choose from is heeded.

    Args:
        router: Whose agents are the models. It stays the caller's.
        models: By agent, the ``model`` of its deployments; None calls each agent as its model: ``openai/gpt-5``.
        groups: Names of model groups that are routed; None routes all of them, of every ``litellm.Router``.
        task: The task that a call stands for, from its messages and metadata; None takes what the user said last, and
            ``session_id`` of the metadata.

    Raises:
        ValueError: if ``models`` names somebody who is no agent of the router's, or two agents have one model.
    """

    def __init__(
        self,
        router: Router,
        models: Mapping[str, str] | None = None,
        *,
        groups: Collection[str] | None = None,
        task: Callable[[Any, Mapping[str, Any]], Task | str] = task_of,
    ) -> None:
        super().__init__()
        self._router, self._task = router, task
        self._groups = None if groups is None else frozenset(groups)
        if strange := sorted((models or {}).keys() - {agent.name for agent in router.agents}):
            raise ValueError(f"models: no agent is called {', '.join(strange)}; router.add_agent makes one")
        self._agents = None if models is None else {model: agent for agent, model in models.items()}
        if self._agents is not None and len(self._agents) < len(models or ()):
            raise ValueError("models: two agents have one model; who answered could not be told")

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """The deployments of the chosen model, of those that are well; what is raised here would end the call."""
        metadata = metadata_of(request_kwargs)
        if request_kwargs is None or metadata is None:
            return healthy_deployments
        chosen = None
        try:
            words = messages or request_kwargs.get("input")
            chosen = await self._chosen(model, healthy_deployments, words, metadata)
        except Exception:
            _log.exception("the call to %s goes on without the router", model)
        if chosen is not None:
            return chosen
        before = metadata.get(KEY)
        if isinstance(before, dict) and before.get("attempt") != attempt_of(model, metadata):
            metadata[KEY] = {**before, "decision_id": None}  # what answers now was not chosen by it
        return healthy_deployments

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call succeeded; a stream has by now ended."""
        await record_success(self._router, self._credited(kwargs), kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call failed."""
        await record_failure(self._router, self._credited(kwargs), kwargs, start_time, end_time)

    async def _chosen(
        self, group: str, deployments: list[Any], words: Any, metadata: dict[str, Any]
    ) -> list[Any] | None:
        """The deployments of whom the router chooses for an attempt, or None."""
        if self._groups is not None and group not in self._groups:
            return None
        allowed, agents = metadata.get(_NARROWED), self._by_model()
        by_agent: dict[str, list[Any]] = {}
        for deployment in deployments:
            model = deployment["litellm_params"]["model"]
            agent = agents.get(model)
            if agent is not None and (allowed is None or model in allowed):
                by_agent.setdefault(agent, []).append(deployment)
        made, attempt = metadata.get(KEY) or {}, attempt_of(group, metadata)
        known = made.get("decision_id") is not None and made["attempt"] == attempt and made["agent"] in by_agent
        if not known:  # LiteLLM may ask twice
            made = await self._made(words, metadata, by_agent.keys())
        if made is None:
            return None
        metadata[KEY] = {**made, "attempt": attempt}
        return by_agent[made["agent"]]

    async def _made(self, words: Any, metadata: Mapping[str, Any], agents: Collection[str]) -> dict[str, Any] | None:
        """What is decided for an attempt, in values that can be copied and logged; None where nobody is chosen."""
        before = metadata.get(KEY) or {}
        tried = [*before.get("tried", ()), *filter(None, [before.get("agent")])]
        open_to = set(agents) - set(tried) or set(agents)
        if not open_to:
            return None
        others = {agent.name for agent in self._router.agents} - open_to
        decision: Decision = await self._router.aroute(self._task(words, metadata), exclude=others)
        if decision.agent is None:
            return None
        return {"decision_id": decision.decision_id, "agent": decision.agent, "tried": tried}

    def _credited(self, kwargs: Mapping[str, Any]) -> tuple[str, str | None] | None:
        """The decision that a call was made for, and who answered where that is another than it says."""
        metadata = metadata_of(kwargs.get("litellm_params")) or {}
        made = metadata.get(KEY)
        answered = self._by_model().get(str(metadata.get("deployment")))
        if not isinstance(made, dict) or made.get("decision_id") is None or answered is None:
            return None
        return made["decision_id"], answered if answered != made["agent"] else None

    def _by_model(self) -> Mapping[str, str]:
        """By model, whose it is."""
        if self._agents is not None:
            return self._agents
        return {agent.name: agent.name for agent in self._router.agents}
