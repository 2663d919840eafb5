"""What the adapters cost beside ``route`` and ``record`` by hand, in processor time: the machine may be busy."""

import time

import pytest

pytest.importorskip("langchain.agents", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

from chat_models import Scripted
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from router_sdk_langchain import RoutedState, RouterMiddleware, recorded, route_node

from router_sdk import Agent, Outcome

pytestmark = pytest.mark.benchmark
AGENTS = [Agent("cheap", description="greetings"), Agent("strong", description="proofs and programs")]
TEXT = "proofs and programs"


class State(RoutedState, total=False):
    text: str


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


def more(ours, by_hand, times=600):
    """Microseconds of the processor, of all threads, that one call takes more than the other: the median of rounds."""
    found = []
    for i in range(times // 20):
        costs = []
        for call in (ours, by_hand):
            begun = time.process_time()
            for j in range(20):
                call(20 * i + j)
            costs.append(time.process_time() - begun)
        found.append((costs[0] - costs[1]) / 20 * 1e6)
    return sorted(found)[len(found) // 2]


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


@pytest.mark.parametrize("saver", [None, InMemorySaver])
def test_the_middleware(router, saver):
    models = {agent.name: Scripted(model=agent.name) for agent in AGENTS}

    def made(middleware):
        return create_agent(Scripted(model="x"), [], middleware=[middleware], checkpointer=saver and saver())

    ours, by_hand = made(RouterMiddleware(router, models)), made(ByHand(router))

    def run(one, name):
        return lambda i: one.invoke({"messages": [HumanMessage(TEXT)]}, {"configurable": {"thread_id": f"{name}{i}"}})

    cost = more(run(ours, "ours"), run(by_hand, "by hand"))
    print(f"middleware, checkpointer {saver}: {cost:.0f} us of processor time over calling by hand")
    assert cost < 2_000


def test_a_node_and_a_recorded_one(router):
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
    cost = more(lambda _: ours.invoke({"text": TEXT}), lambda _: by_hand.invoke({"text": TEXT}))
    print(f"route_node and recorded: {cost:.0f} us of processor time over calling by hand")
    assert cost < 2_000
