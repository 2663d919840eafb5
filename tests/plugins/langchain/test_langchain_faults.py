"""A failure at each callback of the adapter in turn, on the router's side and on LangChain's.

Nothing is doubled, nothing is credited to who did not do it, and an answer that is there is given.
"""

import asyncio
from typing import NamedTuple

import pytest

pytest.importorskip("langchain.agents", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

from adapter_faults import RECORDING, ROUTING, Fault, Log, broken, callbacks, lost
from chat_models import Scripted
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.decisions import BaseDecisionModel, Choice
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from router_sdk_langchain import RoutedState, RouterDecisionModel, RouterMiddleware, recorded, route_node
from router_sdk_langchain.middleware import _Calls

from router_sdk import Agent, RouterError

AGENTS = [Agent("cheap", description="greetings and small talk"), Agent("strong", description="proofs and programs")]
ASKS = {"messages": [HumanMessage("prove it with programs")]}
THREAD = {"configurable": {"thread_id": "t"}}
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


def late():
    return TimeoutError("too slow")


def retries(**options):
    return ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False, **options)


class Scenario(NamedTuple):
    """What the models do, what stands around the router's middleware, how the run ends, and what is to be told."""

    ended: str
    told: list
    strong: int = 0
    cheap: int = 0
    outside: object = None
    inside: object = None


STRONG, CHEAP = ("strong", 1.0, "routed"), ("cheap", 1.0, "routed")
NO_STRONG, NO_CHEAP = ("strong", 0.0, "routed"), ("cheap", 0.0, "routed")
HELPED, HELPED_NOT = ("cheap", 1.0, "observed"), ("cheap", 0.0, "observed")

SCENARIOS = {
    "it answers": Scenario("large-1 answered", [STRONG]),
    "it fails": Scenario("TimeoutError", [NO_STRONG], 1),
    "a retry outside": Scenario("small-1 answered", [NO_STRONG, CHEAP], 1, outside=lambda models: retries()),
    "a retry outside gives up": Scenario(
        "TimeoutError", [NO_STRONG, NO_CHEAP], 1, 1, outside=lambda models: retries(on_failure="error")
    ),
    "a retry inside": Scenario("large-1 answered", [STRONG], 1, inside=lambda models: retries()),
    "a retry inside gives up": Scenario(
        "Model call failed after 2 attempts with TimeoutError: too slow",
        [NO_STRONG],
        2,
        inside=lambda models: retries(),
    ),
    "a fallback outside": Scenario(
        "small-1 answered", [NO_STRONG, CHEAP], 1, outside=lambda models: ModelFallbackMiddleware(models["stranger"])
    ),
    "a fallback inside": Scenario(
        "small-1 answered", [NO_STRONG, HELPED], 1, inside=lambda models: ModelFallbackMiddleware(models["cheap"])
    ),
    "a fallback inside fails, too": Scenario(
        "TimeoutError", [NO_STRONG, HELPED_NOT], 1, 1, inside=lambda models: ModelFallbackMiddleware(models["cheap"])
    ),
    "a fallback to a stranger": Scenario(
        "stranger answered", [NO_STRONG], 1, inside=lambda models: ModelFallbackMiddleware(models["stranger"])
    ),
}
WAYS = {"wrap_model_call": "stream", "awrap_model_call": "astream"}


@pytest.fixture
def log(make_router):
    return Log(make_router(["heuristic"], agents=AGENTS, epsilon=0.0, store=":memory:"))


def made(router, scenario, checkpointer=None):
    models = {name: Scripted(model=said) for name, said in [("cheap", "small-1"), ("strong", "large-1")]}
    models["strong"].script += [late() for _ in range(scenario.strong)]
    models["cheap"].script += [late() for _ in range(scenario.cheap)]
    others = {**models, "stranger": Scripted(model="stranger")}
    around = [build(others) for build in [scenario.outside] if build is not None]
    within = [build(others) for build in [scenario.inside] if build is not None]
    chain = [*around, RouterMiddleware(router, models), *within]
    return create_agent(Scripted(model="default"), [], middleware=chain, checkpointer=checkpointer)


async def ran(agent, way, config=None):
    """What a run ended with: the words of its answer, or the name of its exception."""
    try:
        if way == "invoke":
            state = agent.invoke(ASKS, config)
        elif way == "ainvoke":
            state = await agent.ainvoke(ASKS, config)
        elif way == "stream":
            state = [one for _, one in agent.stream(ASKS, config, stream_mode=["messages", "values"])][-1]
        else:
            state = [one async for _, one in agent.astream(ASKS, config, stream_mode=["messages", "values"])][-1]
    except Exception as error:
        return type(error).__name__
    return state["messages"][-1].text


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_without_a_failure_of_the_routers_all_is_told(log, way):
    for name, scenario in SCENARIOS.items():
        router = log.begin()
        assert await ran(made(router, scenario), way) == scenario.ended, name
        assert sorted(log.told()) == sorted(scenario.told), name


@pytest.mark.parametrize("callback", callbacks(RouterMiddleware, AgentMiddleware))
async def test_where_an_outcome_cannot_be_recorded_the_run_ends_as_it_would(log, monkeypatch, caplog, callback):
    for name, scenario in SCENARIOS.items():
        with monkeypatch.context() as patch:
            router = log.begin()
            fault = Fault(patch, router, RECORDING)
            patch.setattr(RouterMiddleware, callback, fault.within(vars(RouterMiddleware)[callback]))
            caplog.clear()
            assert await ran(made(router, scenario), WAYS[callback]) == scenario.ended, name
            assert lost(scenario.told, log.told()) == fault.raised == 1, name
            assert [one.levelname for one in caplog.records].count("ERROR") == 1, name


@pytest.mark.parametrize("callback", callbacks(RouterMiddleware, AgentMiddleware))
async def test_where_the_router_cannot_decide_the_agents_own_model_answers(log, monkeypatch, callback):
    for name, scenario in SCENARIOS.items():
        with monkeypatch.context() as patch:
            router = log.begin()
            fault = Fault(patch, router, ROUTING)
            patch.setattr(RouterMiddleware, callback, fault.within(vars(RouterMiddleware)[callback]))
            agent = made(router, scenario)
            assert (await ran(agent, WAYS[callback]), fault.raised) == ("default answered", 1), name
            assert log.told() == [], name
            assert await ran(agent, WAYS[callback]) == scenario.ended, name  # the next is routed again
            assert sorted(log.told()) == sorted(scenario.told), name


@pytest.mark.parametrize(
    ("owner", "callback"),
    [(RouterMiddleware, name) for name in callbacks(RouterMiddleware, AgentMiddleware)]
    + [(_Calls, name) for name in callbacks(_Calls, BaseCallbackHandler)],
)
async def test_a_callback_that_is_itself_broken_doubles_nothing_and_credits_nobody_else(
    log, monkeypatch, owner, callback
):
    way = "invoke" if callback == "wrap_model_call" else "astream"
    for scenario in SCENARIOS.values():
        with monkeypatch.context() as patch:
            router = log.begin()
            patch.setattr(owner, callback, broken(vars(owner)[callback]))
            await ran(made(router, scenario), way)
            told_of = log.told()
            lost(scenario.told, [one for one in told_of if one[1] == 1.0])  # what it did not see, it may think failed
            assert len({one[0] for one in told_of}) == len(told_of)


RESUMED = {
    "it answers": [STRONG],
    "it fails": [NO_STRONG, CHEAP],
    "a retry outside": [NO_STRONG, CHEAP],
    "a retry inside": [STRONG],
    "a fallback inside": [STRONG],  # it was cancelled before the chosen one's helper was told of; now it does it itself
}


@pytest.mark.parametrize("name", RESUMED)
async def test_who_is_cancelled_while_an_outcome_is_written_has_it_written_once(log, monkeypatch, name):
    scenario, router = SCENARIOS[name], log.begin()
    agent, arecord = made(router, scenario, InMemorySaver()), router.arecord

    async def cancelled_there(*given, **named):
        running.cancel()
        await arecord(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(router, "arecord", cancelled_there)
        running = asyncio.create_task(agent.ainvoke(ASKS, THREAD))
        with pytest.raises(asyncio.CancelledError):
            await running
    async with asyncio.timeout(20):
        while not log.told():
            await asyncio.sleep(0.001)
    assert log.told() == scenario.told[:1]
    await agent.ainvoke(None, THREAD)
    router.flush()
    assert [(one.agent, one.reward, one.source) for one in router.examples] == RESUMED[name]


async def test_a_step_that_failed_and_is_taken_up_elsewhere_counts_as_it_ended_there(log):
    """In another process, which does not know that it failed here: the decision is the same, and now it succeeds."""
    router, saver = log.begin(), InMemorySaver()
    assert await ran(made(router, SCENARIOS["it fails"], saver), "invoke", THREAD) == "TimeoutError"
    assert log.told() == [NO_STRONG]
    elsewhere = made(router, SCENARIOS["it answers"], saver)
    elsewhere.invoke(None, THREAD)
    router.flush()
    assert [(one.agent, one.reward, one.source) for one in router.examples] == [STRONG]
    assert router.status()["store"]["decisions"] == 1


class State(RoutedState, total=False):
    text: str


def graph(router, node, **options):
    builder = StateGraph(State)
    builder.add_node("route", route_node(router, ["cheap", "strong"]))
    builder.add_edge(START, "route")
    for agent in AGENTS:
        builder.add_node(agent.name, recorded(router, node), **options)
        builder.add_edge(agent.name, END)
    return builder.compile()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_nodes_work_is_done_once_where_its_outcome_cannot_be_recorded(
    log, monkeypatch, caplog, asynchronous, fails
):
    router, done = log.begin(), []

    def work(state):
        done.append(state["text"])
        if fails and len(done) == 1:
            raise TimeoutError("too slow")
        return {"text": "done"}

    async def awork(state):
        return work(state)

    fault = Fault(monkeypatch, router, RECORDING)
    retry = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3, retry_on=Exception)
    made, state = graph(router, awork if asynchronous else work, retry_policy=retry), {"text": "programs"}
    with fault:
        ended = await made.ainvoke(state) if asynchronous else made.invoke(state)
    assert ended["text"] == "done"
    assert len(done) == 1 + fails
    router.flush()
    assert fault.raised == 1
    assert [example.reward for example in router.examples] == [1.0] * fails  # of two attempts the newest counts
    assert "goes on without the outcome" in caplog.text


@pytest.mark.parametrize("callback", callbacks(RouterDecisionModel, BaseDecisionModel))
async def test_what_could_not_be_decided_is_not_remembered(log, monkeypatch, callback):
    router = log.begin()
    fault = Fault(monkeypatch, router, ROUTING)
    monkeypatch.setattr(RouterDecisionModel, callback, fault.within(vars(RouterDecisionModel)[callback]))
    model = RouterDecisionModel(router=router)
    question = Choice(instructions="Who?", criteria=dict.fromkeys(["cheap", "strong"]))

    async def ask(text):
        given = {"state": HumanMessage(text), "questions": {"who": question}}
        return await model.ainvoke(given, THREAD) if callback == "_aclassify" else model.invoke(given, THREAD)

    with pytest.raises(RouterError, match="the disk is full"):
        await ask("programs")
    assert model.decided(THREAD) is None
    await ask("programs")
    assert model.decided(THREAD).task.text == "programs"
    await ask("yes")
    assert model.decided(THREAD).task.text == "programs\nyes"
    router.flush()
    assert (fault.raised, router.status()["store"]["decisions"]) == (1, 2)
