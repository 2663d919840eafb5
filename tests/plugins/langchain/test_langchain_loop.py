"""The adapter never holds the event loop while the log is written, on a disk that takes 60 ms for each commit."""

import asyncio
from concurrent.futures import Future

import pytest

pytest.importorskip("langchain.agents", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

from adapter_faults import callbacks
from chat_models import Scripted
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.decisions import BaseDecisionModel, Choice
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from loop_steps import assert_free, slow_writer, watched
from router_sdk_langchain import RoutedState, RouterDecisionModel, RouterMiddleware, recorded, route_node
from router_sdk_langchain.middleware import _Calls

from router_sdk import Agent, Strategy
from router_sdk.plugin import Prefetched

AGENTS = [Agent("cheap", description="greetings"), Agent("strong", description="proofs and programs")]
ASKS = {"messages": [HumanMessage("prove it with programs")]}
CALLBACKS = [
    (RouterMiddleware, callbacks(RouterMiddleware, AgentMiddleware)),
    (_Calls, callbacks(_Calls, BaseCallbackHandler)),
]
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


@pytest.mark.parametrize("saver", [None, InMemorySaver])
async def test_an_agents_steps(router, monkeypatch, saver):
    longest = {}
    for owner, names in CALLBACKS:
        for name in names:
            longest[name] = []
            monkeypatch.setattr(owner, name, watched(vars(owner)[name], longest[name]))
    models = {"cheap": Scripted(model="small-1"), "strong": Scripted(model="large-1")}
    models["strong"].script += [TimeoutError("too slow") for _ in range(9)]
    chain = [RouterMiddleware(router, models), ModelFallbackMiddleware(models["cheap"])]
    agent = create_agent(Scripted(model="x"), [], middleware=chain, checkpointer=saver and saver())
    await agent.ainvoke(ASKS, {"configurable": {"thread_id": "first"}})  # what is made once
    for found in longest.values():
        found.clear()
    slow_writer(monkeypatch, router)
    await asyncio.gather(*(agent.ainvoke(ASKS, {"configurable": {"thread_id": str(i)}}) for i in range(8)))
    assert longest.pop("wrap_model_call") == []
    assert_free(longest)


class State(RoutedState, total=False):
    text: str


async def test_a_node_whose_outcome_is_recorded(router, monkeypatch):
    async def work(state):
        return {"text": "done"}

    builder, longest = StateGraph(State), []
    builder.add_node("route", route_node(router, ["cheap", "strong"]))
    builder.add_edge(START, "route")
    for agent in AGENTS:
        builder.add_node(agent.name, watched(recorded(router, work), longest))
        builder.add_edge(agent.name, END)
    made = builder.compile()
    slow_writer(monkeypatch, router)
    for _ in range(6):
        await made.ainvoke({"text": "programs"})
    assert_free({"recorded": longest})


class Asks(Strategy):
    """Waits for a server that does not answer."""

    name = "asks"

    def prefetch(self, task, agents):
        return Prefetched(Future(), 0.03)

    def propose(self, task, agents, context):
        return None


async def test_a_decision_model_whose_strategy_asks_a_server(make_router, monkeypatch):
    router, longest = make_router([Asks, "heuristic"], agents=AGENTS), []
    for name in callbacks(RouterDecisionModel, BaseDecisionModel):
        monkeypatch.setattr(RouterDecisionModel, name, watched(vars(RouterDecisionModel)[name], longest))
    model = RouterDecisionModel(router=router)
    question = Choice(instructions="Who?", criteria=dict.fromkeys(["cheap", "strong"]))
    for _ in range(6):
        await model.ainvoke({"state": "programs", "questions": {"who": question}})
    assert_free({"classify": longest})
