"""A middleware that chooses each step's model and records how it went, for whoever really answered."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Annotated, Any
from uuid import UUID

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ExtendedModelResponse, OmitFromInput
from langchain.chat_models import init_chat_model
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from router_sdk import Decision, Outcome, Router
from router_sdk_langchain.conversation import Prices, used
from router_sdk_langchain.steps import GoingOn, Step, aroute, failed, route, succeeded, task_of, this_step

_TAG = "router_sdk_agent"
_MOST_STEPS = 10_000
"""How many failed steps, and steps with a fallback, are remembered for whatever executes them again."""


def merged(left: Mapping[str, str] | None, right: Mapping[str, str] | None) -> dict[str, str]:
    """Decisions of both: parallel branches add theirs, and what is added twice stays once."""
    return {**(left or {}), **(right or {})}


class RoutedAgentState(AgentState[Any]):
    """An agent's state with the decisions made for it: ids, and the models that they named."""

    routed: Annotated[dict[str, str], OmitFromInput, merged]  # langgraph takes a reducer that comes last alone


class RouterMiddleware(AgentMiddleware[RoutedAgentState, Any, Any]):
    """Chooses a model for each step of an agent, and records success, failure, latency, tokens and cost.

    A model that raised is left out when the step is tried again, by whatever retries it. Where a middleware inside this
    one lets another model answer, the chosen one has failed, and who answered is credited, if it is one of ``models``.
    A cancelled step and an interrupt record nothing. Where the router itself fails, which stands in the program's log,
    the model that the agent was made with answers, and an answer that is there is given. The decisions' ids are in the
    agent's state, as ``routed``.

    Args:
        router: Whose agents are the models. It stays the caller's.
        models: By agent: a chat model, or what ``init_chat_model`` takes.
        prices: By agent, US dollars for a million tokens in and out; who has none costs an unknown amount.

    Raises:
        ValueError: if a model's name is no agent's.
    """

    state_schema = RoutedAgentState

    def __init__(
        self, router: Router, models: Mapping[str, str | BaseChatModel], *, prices: Prices | None = None
    ) -> None:
        super().__init__()
        self._router, self._prices = router, dict(prices or {})
        made = {name: init_chat_model(one) if isinstance(one, str) else one for name, one in models.items()}
        if strange := sorted(made.keys() - {agent.name for agent in router.agents}):
            raise ValueError(f"models: no agent is called {', '.join(strange)}; add_agent makes one")
        self._models = {name: _tagged(one, name) for name, one in made.items()}
        self._named = {known: name for name, one in made.items() if (known := _name_of(one)) is not None}
        self._failed: OrderedDict[str, list[str]] = OrderedDict()
        self._observed: OrderedDict[str | None, None] = OrderedDict()
        self._lock = Lock()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> Any:
        """Route, call, record."""
        step = this_step(request.state)
        decision: Decision | None = None
        with GoingOn("the router"):
            decision = route(self._router, task_of(request.state, step), step, *self._narrowed(step))
        if decision is None:
            return handler(request)
        calls = _Calls(self._named)
        try:
            with calls:
                response = handler(self._routed(request, decision))
        except GraphBubbleUp:
            raise
        except Exception as error:
            self._remember(step, decision, error)
            for agent, fields in self._outcomes(decision, calls, error):
                self._tell(step, decision, agent, fields)
            raise
        self._remember(step, decision)
        for agent, fields in self._outcomes(decision, calls, response):
            self._tell(step, decision, agent, fields)
        return _with_decision(response, decision)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> Any:
        """``wrap_model_call`` for coroutines."""
        step = this_step(request.state)
        decision: Decision | None = None
        with GoingOn("the router"):
            decision = await aroute(self._router, task_of(request.state, step), step, *self._narrowed(step))
        if decision is None:
            return await handler(request)
        calls = _Calls(self._named)
        try:
            with calls:
                response = await handler(self._routed(request, decision))
        except GraphBubbleUp:
            raise
        except Exception as error:
            self._remember(step, decision, error)
            for agent, fields in self._outcomes(decision, calls, error):
                await self._atell(step, decision, agent, fields)
            raise
        self._remember(step, decision)
        for agent, fields in self._outcomes(decision, calls, response):
            await self._atell(step, decision, agent, fields)
        return _with_decision(response, decision)

    def _routed(self, request: ModelRequest[Any], decision: Decision) -> ModelRequest[Any]:
        """The request for the chosen model; where no agent fits, for the one that the agent was made with."""
        model = self._models.get(decision.agent or "")
        return request if model is None else request.override(model=model)

    def _narrowed(self, step: Step) -> tuple[set[str], int]:
        """Who cannot be chosen: agents without a model, and models that this step has tried in vain; and how many."""
        failed_here = list(self._failed.get(step.task_id, ()))
        out = {agent.name for agent in self._router.agents} - self._models.keys()
        return out | (set(failed_here) if len(set(failed_here)) < len(self._models) else set()), len(failed_here)

    def _outcomes(
        self, decision: Decision, calls: _Calls, ended: ModelResponse[Any] | AIMessage | Exception | Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The outcome's fields of each model that was called, by agent. Where none was, nothing."""
        chosen = calls.by_agent.get(decision.agent or "")
        answered = decision.agent if chosen is not None and chosen.error is None else calls.answered
        for agent, call in calls.by_agent.items():
            if call.error is not None:
                yield agent, failed(call.error, call.latency_ms)
            elif agent == answered and isinstance(ended, Exception):  # of what was done with its answer
                yield agent, failed(ended, call.latency_ms)
            elif agent == answered:
                fields = used(_messages(ended), self._prices.get(agent))
                yield agent, succeeded(latency_ms=call.latency_ms, **fields)

    def _remember(self, step: Step, decision: Decision, error: Exception | None = None) -> None:
        """Whom the step has tried in vain, until it succeeds."""
        if error is None and not self._failed:
            return
        with self._lock:
            if error is None:
                self._failed.pop(step.task_id, None)
            elif decision.agent is not None:
                self._failed.setdefault(step.task_id, []).append(decision.agent)
            while len(self._failed) > _MOST_STEPS:
                self._failed.popitem(last=False)

    def _tell(self, step: Step, decision: Decision, agent: str, fields: dict[str, Any]) -> None:
        with GoingOn(f"the outcome of {agent} in decision {decision.decision_id}"):
            key = step.outcome(decision.decision_id, fields, agent)
            if agent == decision.agent:
                self._router.record(decision, Outcome(**fields), outcome_id=key)
            elif self._first(key):
                try:
                    self._router.observe(decision.task, agent, Outcome(**fields))
                except Exception:
                    self._observed.pop(key, None)
                    raise

    async def _atell(self, step: Step, decision: Decision, agent: str, fields: dict[str, Any]) -> None:
        if agent != decision.agent:
            await asyncio.to_thread(self._tell, step, decision, agent, fields)
            return
        with GoingOn(f"the outcome of {agent} in decision {decision.decision_id}"):
            key = step.outcome(decision.decision_id, fields, agent)
            await self._router.arecord(decision, Outcome(**fields), outcome_id=key)

    def _first(self, key: str | None) -> bool:
        """Whether a step that can be executed again says this for the first time in this process."""
        with self._lock:
            if key in self._observed:
                return False
            if key is not None:
                self._observed[key] = None
            while len(self._observed) > _MOST_STEPS:
                self._observed.popitem(last=False)
            return True


@dataclass
class _Called:
    """The calls of one model within a step: the time they took, and the error of the last one."""

    latency_ms: float = 0.0
    error: BaseException | None = None


class _Calls(BaseCallbackHandler):
    """Sees which models are really called within a step, whatever stands between this middleware and them.

    Attributes:
        by_agent: Of each agent whose model was called.
        answered: Whose call was the last to succeed; None where that is no agent's model.
    """

    run_inline = True

    def __init__(self, named: Mapping[str, str]) -> None:
        self._named = named
        self._open: dict[UUID, tuple[str | None, float]] = {}
        self._token: Any = None
        self.by_agent: dict[str, _Called] = {}
        self.answered: str | None = None

    def __enter__(self) -> None:
        """From here on this handler is one of the run's."""
        config = var_child_runnable_config.get() or {}
        callbacks = config.get("callbacks")
        if isinstance(callbacks, BaseCallbackManager):
            callbacks = callbacks.copy()
            callbacks.add_handler(self, inherit=True)
        else:
            callbacks = [*(callbacks or ()), self]
        self._token = var_child_runnable_config.set({**config, "callbacks": callbacks})

    def __exit__(self, *error: object) -> None:
        """And no longer."""
        var_child_runnable_config.reset(self._token)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """A call begins."""
        about = metadata or {}
        agent = about.get(_TAG) or self._named.get(str(about.get("ls_model_name")))
        self._open[run_id] = (agent, time.perf_counter())

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """A call succeeded."""
        self.answered = self._ended(run_id, None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A call failed."""
        self._ended(run_id, error)

    def _ended(self, run_id: UUID, error: BaseException | None) -> str | None:
        agent, started = self._open.pop(run_id, (None, 0.0))
        if agent is not None:
            call = self.by_agent.setdefault(agent, _Called())
            call.latency_ms += (time.perf_counter() - started) * 1_000
            call.error = error
        return agent


def _tagged(model: BaseChatModel, agent: str) -> BaseChatModel:
    """The model, and in the metadata of its runs whose it is."""
    return model.model_copy(update={"metadata": {**(model.metadata or {}), _TAG: agent}})


def _name_of(model: BaseChatModel) -> str | None:
    """What a provider calls a model, where it has an attribute for that."""
    found = getattr(model, "model", None) or getattr(model, "model_name", None)
    return found if isinstance(found, str) else None


def _messages(response: Any) -> Sequence[object]:
    if isinstance(response, ExtendedModelResponse):
        response = response.model_response
    return response.result if isinstance(response, ModelResponse) else [response]


def _with_decision(response: Any, decision: Decision) -> ExtendedModelResponse[Any]:
    """The response, and the decision for the state; LangChain keeps the commands of inner middlewares itself."""
    update: Command[Any] = Command(update={"routed": {decision.decision_id: decision.agent or ""}})
    if isinstance(response, ExtendedModelResponse):
        response = response.model_response
    if isinstance(response, AIMessage):
        response = ModelResponse(result=[response])
    return ExtendedModelResponse(model_response=response, command=update)
