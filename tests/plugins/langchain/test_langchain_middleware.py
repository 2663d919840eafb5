"""A real agent whose model each step the router chooses, and every way in which a call can end."""

import asyncio

import pytest

pytest.importorskip("langchain.agents", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

from chat_models import Scripted
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from router_sdk_langchain import RouterMiddleware

from router_sdk import Agent

AGENTS = [Agent("cheap", description="greetings and small talk"), Agent("strong", description="proofs and programs")]


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


@pytest.fixture
def models():
    return {"cheap": Scripted(model="small-1"), "strong": Scripted(model="large-1")}


def agent(router, models, *inside, outside=(), tools=(), checkpointer=None, **options):
    own = RouterMiddleware(router, models, **options)
    made = [*outside, own, *inside]
    return create_agent(Scripted(model="default"), list(tools), middleware=made, checkpointer=checkpointer)


def asks(text="prove it with programs"):
    return {"messages": [HumanMessage(text)]}


def told(router):
    """What was learnt: who, with which reward."""
    router.flush()
    return [(example.agent, example.reward) for example in router.examples]


def said(ended):
    return ended["messages"][-1].text


def thread(name="t"):
    return {"configurable": {"thread_id": name}}


def test_the_chosen_model_answers_and_is_credited(router, models):
    ended = agent(router, models, prices={"strong": (1.0, 10.0)}).invoke(asks())
    assert said(ended) == "large-1 answered"
    assert list(ended["routed"].values()) == ["strong"]
    router.flush()
    (example,) = router.examples
    assert (example.agent, example.reward, example.signals.tokens) == ("strong", 1.0, 110)
    assert example.signals.cost_usd == pytest.approx(200 / 1e6)
    assert example.decision_id == next(iter(ended["routed"]))


async def test_it_is_the_same_for_coroutines_and_streams(router, models):
    made = agent(router, models)
    assert said(await made.ainvoke(asks())) == "large-1 answered"
    async for _ in made.astream(asks("greetings"), stream_mode="messages"):
        pass
    assert told(router) == [("strong", 1.0), ("cheap", 1.0)]


def test_each_step_is_chosen_for_itself(router, models):
    @tool
    def look(what: str) -> str:
        """Look something up."""
        return "found"

    models["strong"].script.append(AIMessage("", tool_calls=[{"name": "look", "args": {"what": "x"}, "id": "1"}]))
    ended = agent(router, models, tools=[look]).invoke(asks())
    assert len(ended["routed"]) == 2
    assert told(router) == [("strong", 1.0), ("strong", 1.0)]
    steps = [router.decision(one).task for one in ended["routed"]]
    assert [one.step for one in steps] == [0, 1]
    assert steps[1].history == ("strong",)


def test_an_exception_is_a_failure_and_is_raised(router, models):
    models["strong"].script.append(TimeoutError("too slow"))
    with pytest.raises(TimeoutError, match="too slow"):
        agent(router, models).invoke(asks())
    assert told(router) == [("strong", 0.0)]


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
def test_a_retry_outside_asks_another_model_and_both_are_told_of(router, models, checkpointer):
    models["strong"].script.append(TimeoutError("too slow"))
    retries = ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
    made = agent(router, models, outside=[retries], checkpointer=checkpointer)
    assert said(made.invoke(asks(), thread())) == "small-1 answered"
    assert told(router) == [("strong", 0.0), ("cheap", 1.0)]


def test_where_all_have_failed_all_may_be_tried_again(router, models):
    models["strong"].script += [TimeoutError("1"), None]
    models["cheap"].script.append(TimeoutError("2"))
    retries = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
    assert said(agent(router, models, outside=[retries]).invoke(asks())) == "large-1 answered"
    assert told(router) == [("strong", 0.0), ("cheap", 0.0), ("strong", 1.0)]


def test_a_retry_inside_is_one_outcome(router, models):
    models["strong"].script.append(TimeoutError("too slow"))
    retries = ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
    assert said(agent(router, models, retries).invoke(asks())) == "large-1 answered"
    assert told(router) == [("strong", 1.0)]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_fallback_inside_is_a_failure_of_the_chosen_and_credits_who_answered(router, models, asynchronous):
    models["strong"].script.append(TimeoutError("too slow"))
    made = agent(router, models, ModelFallbackMiddleware(models["cheap"]), prices={"cheap": (0.0, 1.0)})
    ended = await made.ainvoke(asks()) if asynchronous else made.invoke(asks())
    assert said(ended) == "small-1 answered"
    assert sorted(told(router)) == [("cheap", 1.0), ("strong", 0.0)]
    (credited,) = [example for example in router.examples if example.agent == "cheap"]
    assert (credited.source, credited.propensity) == ("observed", None)
    assert (credited.signals.tokens, credited.signals.cost_usd) == (110, pytest.approx(10 / 1e6))


def test_a_fallback_to_a_model_that_is_no_agent_credits_nobody(router, models):
    models["strong"].script.append(TimeoutError("too slow"))
    made = agent(router, models, ModelFallbackMiddleware(Scripted(model="stranger")))
    assert said(made.invoke(asks())) == "stranger answered"
    assert told(router) == [("strong", 0.0)]


def test_a_fallback_outside_does_not_get_the_model_again_that_has_just_failed(router, models):
    models["strong"].script.append(TimeoutError("too slow"))
    made = agent(router, models, outside=[ModelFallbackMiddleware(Scripted(model="stranger"))])
    assert said(made.invoke(asks())) == "small-1 answered"
    assert told(router) == [("strong", 0.0), ("cheap", 1.0)]


def test_where_all_fallbacks_fail_each_has_failed(router, models):
    models["strong"].script.append(TimeoutError("1"))
    models["cheap"].script.append(TimeoutError("2"))
    with pytest.raises(TimeoutError):
        agent(router, models, ModelFallbackMiddleware(models["cheap"])).invoke(asks())
    assert sorted(told(router)) == [("cheap", 0.0), ("strong", 0.0)]


class Inside(AgentMiddleware):
    """Does something instead of the call, or after it."""

    def __init__(self, before=None, after=None):
        super().__init__()
        self.before, self.after = before, after

    def wrap_model_call(self, request, handler):
        if self.before is not None:
            return self.before()
        response = handler(request)
        self.after()
        return response


def test_where_no_model_was_asked_nothing_is_told(router, models):
    def refuses():
        raise ValueError("over the limit")

    ended = agent(router, models, Inside(before=lambda: AIMessage("from a cache"))).invoke(asks())
    assert said(ended) == "from a cache"
    with pytest.raises(ValueError, match="over the limit"):
        agent(router, models, Inside(before=refuses)).invoke(asks())
    assert told(router) == []


def test_an_answer_that_nobody_could_use_is_a_failure(router, models):
    def refuses():
        raise ValueError("not what was asked for")

    with pytest.raises(ValueError, match="not what was asked for"):
        agent(router, models, Inside(after=refuses)).invoke(asks())
    assert told(router) == [("strong", 0.0)]


def test_an_answer_of_a_fallback_that_nobody_could_use_is_its_failure(router, models):
    def refuses():
        raise ValueError("not what was asked for")

    models["strong"].script.append(TimeoutError("too slow"))
    with pytest.raises(ValueError, match="not what was asked for"):
        agent(router, models, Inside(after=refuses), ModelFallbackMiddleware(models["cheap"])).invoke(asks())
    assert sorted(told(router)) == [("cheap", 0.0), ("strong", 0.0)]


def test_whom_a_middleware_asks_besides_gets_and_takes_no_credit(router, models):
    judge = Scripted(model="judge")
    agent(router, models, Inside(after=lambda: judge.invoke("is it good?"))).invoke(asks())
    agent(router, models, Inside(after=lambda: models["cheap"].invoke("is it good?"))).invoke(asks())
    assert told(router) == [("strong", 1.0), ("strong", 1.0)]


def test_an_interrupt_within_the_step_routes_once_and_is_told_of_once(router, models):
    made = agent(router, models, Inside(after=lambda: interrupt("sure?")), checkpointer=InMemorySaver())
    assert "__interrupt__" in made.invoke(asks(), thread())
    assert told(router) == []
    ended = made.invoke(Command(resume="yes"), thread())
    assert said(ended) == "large-1 answered"
    assert told(router) == [("strong", 1.0)]
    assert router.status()["store"]["decisions"] == 1


def test_time_travel_counts_nothing_twice(router, models):
    made = agent(router, models, checkpointer=InMemorySaver())
    ended = made.invoke(asks(), thread())
    earlier = [one for one in made.get_state_history(thread()) if one.next == ("model",)][-1]
    assert made.invoke(None, earlier.config)["routed"] == ended["routed"]
    made.invoke(asks(), thread())
    assert told(router) == [("strong", 1.0), ("strong", 1.0)]
    assert router.status()["store"]["outcomes"] == 2


async def test_a_cancelled_call_is_unknown(router, models):
    models["strong"].script.append("hang")
    running = asyncio.create_task(agent(router, models).ainvoke(asks()))
    while not models["strong"].asked:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told(router) == []


def test_what_is_not_told_is_not_free(router, models):
    models["strong"].usage = None
    agent(router, models, prices={"strong": (1.0, 1.0)}).invoke(asks())
    router.flush()
    assert router.examples[-1].signals[5:8] == (router.examples[-1].signals.latency_ms, None, None)


def test_agents_without_a_model_get_nothing_and_models_need_an_agent(router, models):
    router.add_agent(Agent("human", description="proofs and programs, by hand"))
    agent(router, models).invoke(asks("proofs and programs, by hand"))
    assert told(router)[0][0] in models
    with pytest.raises(ValueError, match="no agent is called other"):
        RouterMiddleware(router, {**models, "other": Scripted(model="x")})


async def test_many_runs_at_once_are_told_of_each_for_itself(router, models):
    made = agent(router, models)
    texts = ["prove it with programs", "greetings and small talk"] * 10
    await asyncio.gather(*(made.ainvoke(asks(text)) for text in texts))
    assert sorted(told(router)) == [("cheap", 1.0)] * 10 + [("strong", 1.0)] * 10
