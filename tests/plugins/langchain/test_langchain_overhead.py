"""What the adapters cost beside ``route`` and ``record`` by hand, in processor time: the machine may be busy."""

import time
import uuid

import pytest

pytest.importorskip("langchain.agents", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

from call_costs import costs
from chat_models import Scripted
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ExtendedModelResponse
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from router_sdk_langchain import RoutedState, RouterMiddleware, recorded, route_node
from router_sdk_langchain.middleware import RoutedAgentState

from router_sdk import Agent, Outcome

pytestmark = pytest.mark.benchmark
AGENTS = [Agent("cheap", description="greetings"), Agent("strong", description="proofs and programs")]
TEXT = "proofs and programs"


class State(RoutedState, total=False):
    text: str


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


class ByHand(AgentMiddleware):
    def __init__(self, router):
        super().__init__()
        self._router = router

    def wrap_model_call(self, request, handler):
        begun = time.perf_counter()
        decision = self._router.route(request.messages[-1].text)
        response = handler(request)
        fields = {"latency_ms": (time.perf_counter() - begun) * 1_000, "tokens": 110}
        self._router.record(decision, Outcome(success=True, **fields))
        return response


class Idle(BaseCallbackHandler):
    """Sees the same calls as ours does, and does nothing."""

    run_inline = True

    def on_chat_model_start(self, *given, **named):
        pass

    def on_llm_end(self, *given, **named):
        pass


class InTheSameForm(ByHand):
    """By hand, and LangChain does all that it does for ours: another model, a handler, an entry in the state."""

    state_schema = RoutedAgentState

    def __init__(self, router, models):
        super().__init__(router)
        self._models, self._handler = models, Idle()

    def wrap_model_call(self, request, handler):
        config = var_child_runnable_config.get() or {}
        callbacks = config["callbacks"].copy()
        callbacks.add_handler(self._handler, inherit=True)
        token = var_child_runnable_config.set({**config, "callbacks": callbacks})
        try:
            response = super().wrap_model_call(request.override(model=self._models["strong"]), handler)
        finally:
            var_child_runnable_config.reset(token)
        update = Command(update={"routed": {uuid.uuid4().hex: "strong"}})
        return ExtendedModelResponse(model_response=response, command=update)


@pytest.mark.parametrize("saver", [None, InMemorySaver])
async def test_the_middleware(router, saver):
    models = {agent.name: Scripted(model=agent.name) for agent in AGENTS}

    def runs(middleware, name):
        agent = create_agent(Scripted(model="x"), [], middleware=[middleware], checkpointer=saver and saver())
        return lambda i: agent.invoke({"messages": [HumanMessage(TEXT)]}, {"configurable": {"thread_id": f"{name}{i}"}})

    by_hand, idle = runs(ByHand(router), "by hand"), runs(InTheSameForm(router, models), "idle")
    hand, same_form, ours = await costs(by_hand, idle, runs(RouterMiddleware(router, models), "ours"))
    own, all_of_it = same_form - hand, ours - hand
    print(f"middleware, {saver}: {all_of_it:.0f} us over calling by hand, of which LangChain's own {own:.0f}")
    assert all_of_it < 2_000


async def test_a_node_and_a_recorded_one(router):
    def by_hand_node(state):
        decision = router.route(state["text"])
        return Command(goto=decision.agent, update={"routed": {decision.decision_id: decision.agent}})

    def work(state):
        return {"text": TEXT}

    def by_hand_work(state):
        begun = time.perf_counter()
        ended = work(state)
        latency_ms = (time.perf_counter() - begun) * 1_000
        router.record(next(reversed(state["routed"])), Outcome(success=True, latency_ms=latency_ms))
        return ended

    def made(node, worker):
        builder = StateGraph(State)
        builder.add_node("route", node)
        builder.add_edge(START, "route")
        for agent in AGENTS:
            builder.add_node(agent.name, worker)
            builder.add_edge(agent.name, END)
        return builder.compile()

    ours = made(route_node(router, ["cheap", "strong"]), recorded(router, work))
    by_hand = made(by_hand_node, by_hand_work)
    hand, cost = await costs(lambda _: by_hand.invoke({"text": TEXT}), lambda _: ours.invoke({"text": TEXT}))
    print(f"route_node and recorded: {cost - hand:.0f} us over calling by hand")
    assert cost - hand < 2_000
