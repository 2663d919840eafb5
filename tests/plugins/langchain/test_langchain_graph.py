"""Real graphs with real checkpointers: what is decided, where it leads, and what is recorded of it."""

import asyncio
import subprocess
import sys
import threading
from operator import add
from pathlib import Path
from typing import Annotated

import pytest

pytest.importorskip("langgraph.graph", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

import router_sdk_langchain
from checkpointers import checkpointer
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, RetryPolicy, interrupt
from router_sdk_langchain import RoutedState, recorded, route_edge, route_node, verify_routes

from router_sdk import Agent

AGENTS = [
    Agent("billing", description="invoices and refunds", examples=["I was charged twice"]),
    Agent("technical", description="errors and crashes", examples=["the app crashes"]),
]
NAMES = [agent.name for agent in AGENTS]


class State(RoutedState, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    ran: Annotated[list[str], add]


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def saver(request, tmp_path):
    with checkpointer(request.param, tmp_path) as made:
        yield made


def worker(name, work=None):
    def run(state):
        if work is not None:
            work(state)
        usage = {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}
        return {"ran": [name], "messages": [AIMessage(f"{name} did it", usage_metadata=usage)]}

    return run


def graph(router, workers, **options):
    builder = StateGraph(State)
    builder.add_node("route", route_node(router, NAMES, **options))
    builder.add_edge(START, "route")
    for name, work in workers.items():
        builder.add_node(name, recorded(router, work, prices={"billing": (2.0, 10.0)}), retry_policy=retry(work))
        builder.add_edge(name, END)
    verify_routes(builder, "route", NAMES)
    return builder


def retry(work):
    return getattr(work, "retry_policy", None)


def asks(text):
    return {"messages": [HumanMessage(text)]}


def thread(name="t"):
    return {"configurable": {"thread_id": name}}


def examples(router):
    router.flush()
    return list(router.examples)


def counts(router):
    router.flush()
    store = router.status()["store"]
    return store["decisions"], store["outcomes"]


def everyone():
    return {name: worker(name) for name in NAMES}


def test_the_chosen_node_runs_and_its_end_is_recorded(router):
    ended = graph(router, everyone()).compile().invoke(asks("the app crashes"))
    assert ended["ran"] == ["technical"]
    ((decision_id, agent),) = ended["routed"].items()
    assert agent == "technical"
    (example,) = examples(router)
    assert (example.decision_id, example.agent, example.reward) == (decision_id, "technical", 1.0)
    assert (example.signals.tokens, example.signals.cost_usd) == (1_100, None)
    assert example.signals.latency_ms > 0


async def test_it_is_the_same_for_coroutines(router):
    async def billing(state):
        await asyncio.sleep(0)
        return worker("billing")(state)

    ended = await graph(router, {**everyone(), "billing": billing}).compile().ainvoke(asks("a refund please"))
    assert ended["ran"] == ["billing"]
    (example,) = examples(router)
    assert example.signals.cost_usd == pytest.approx((1_000 * 2.0 + 100 * 10.0) / 1e6)


def test_a_conversation_is_routed_by_what_was_said_before(router, saver):
    made = graph(router, everyone()).compile(saver)
    made.invoke(asks("I was charged twice"), thread())
    ended = made.invoke(asks("yes"), thread())
    assert ended["ran"] == ["billing", "billing"]
    first, second = (router.decision(decision_id).task for decision_id in ended["routed"])
    assert (first.session_id, first.step, first.parent_decision_id) == ("t", 0, None)
    assert second.text == "I was charged twice\nyes"
    assert (second.step, second.history) == (1, ("billing",))
    assert second.parent_decision_id == next(iter(ended["routed"]))


def test_an_interrupt_records_nothing_and_a_resume_routes_nothing(router, saver):
    answers = []
    made = graph(router, {**everyone(), "billing": worker("billing", lambda _: answers.append(interrupt("sure?")))})
    made = made.compile(saver)
    assert "__interrupt__" in made.invoke(asks("a refund please"), thread())
    assert counts(router) == (1, 0)
    ended = made.invoke(Command(resume="yes"), thread())
    assert (ended["ran"], answers) == (["billing"], ["yes"])
    assert counts(router) == (1, 1)


def test_a_resume_after_an_interrupt_before_the_node_routes_nothing(router, saver):
    made = graph(router, everyone()).compile(saver, interrupt_before=NAMES)
    made.invoke(asks("a refund please"), thread())
    made.invoke(None, thread())
    assert counts(router) == (1, 1)


@pytest.mark.parametrize("where", ["route", "billing"])
def test_time_travel_goes_where_it_went_before_and_counts_nothing_twice(router, saver, where):
    made = graph(router, everyone()).compile(saver)
    ended = made.invoke(asks("a refund please"), thread())
    made.invoke(asks("the app crashes"), thread())
    assert counts(router) == (2, 2)
    earlier = [one for one in made.get_state_history(thread()) if one.next == (where,)][-1]
    again = made.invoke(None, earlier.config)
    assert again["routed"] == ended["routed"]
    assert again["ran"] == ["billing"]
    assert counts(router) == (2, 2)


def test_another_process_that_takes_a_thread_over_decides_nothing_anew(make_router, store_path, saver):
    first = make_router(["heuristic"], agents=AGENTS)
    ended = graph(first, everyone()).compile(saver).invoke(asks("a refund please"), thread())
    first.close()
    second = make_router(["heuristic"], agents=AGENTS, seed=8)
    made = graph(second, everyone()).compile(saver)
    earlier = [one for one in made.get_state_history(thread()) if one.next == ("route",)][-1]
    assert made.invoke(None, earlier.config)["routed"] == ended["routed"]
    assert counts(second) == (1, 1)


def test_the_same_words_in_another_turn_are_another_decision(router, saver):
    made = graph(router, everyone()).compile(saver)
    made.invoke(asks("a refund please"), thread())
    ended = made.invoke(asks("a refund please"), thread())
    assert len(ended["routed"]) == 2
    made.invoke(asks("a refund please"), thread("another"))
    assert counts(router) == (3, 3)


def test_a_fork_with_other_words_is_another_decision(router, saver):
    made = graph(router, everyone()).compile(saver)
    made.invoke(asks("a refund please"), thread())
    earlier = [one for one in made.get_state_history(thread()) if one.next == ("route",)][-1]
    forked = made.update_state(earlier.config, asks("the app crashes with an error"))
    assert "technical" in made.invoke(None, forked)["routed"].values()
    assert counts(router) == (2, 2)


def test_a_failure_is_recorded_and_a_retry_takes_it_back(router):
    tries = []

    def once(state):
        tries.append(state)
        if len(tries) == 1:
            raise TimeoutError("too slow")

    billing = worker("billing", once)
    billing.retry_policy = RetryPolicy(max_attempts=2, initial_interval=0.001, retry_on=TimeoutError)
    ended = graph(router, {**everyone(), "billing": billing}).compile().invoke(asks("a refund please"))
    assert ended["ran"] == ["billing"]
    assert counts(router) == (1, 2)
    assert [example.reward for example in examples(router)] == [1.0]


def test_an_exception_is_a_failure_and_is_raised(router, saver):
    def fails(state):
        raise LookupError("no such customer")

    made = graph(router, {**everyone(), "billing": worker("billing", fails)}).compile(saver)
    with pytest.raises(LookupError, match="no such customer"):
        made.invoke(asks("a refund please"), thread())
    assert [example.reward for example in examples(router)] == [0.0]


async def test_a_cancelled_node_records_nothing(router):
    begun = asyncio.Event()

    async def hangs(state):
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(graph(router, {**everyone(), "billing": hangs}).compile().ainvoke(asks("refund")))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert counts(router) == (1, 0)


async def test_streaming_records_once(router):
    made = graph(router, everyone()).compile()
    seen = [update async for update in made.astream(asks("a refund please"), stream_mode="updates")]
    assert [next(iter(update)) for update in seen] == ["route", "billing"]
    assert counts(router) == (1, 1)


def test_parallel_branches_are_routed_each_for_itself(router, saver):
    def parts(state):
        return [
            {"messages": [HumanMessage(text)]} for text in ("a refund please", "the app crashes", "a refund please")
        ]

    made = graph(router, everyone(), split=parts).compile(saver)
    ended = made.invoke(asks("several things"), thread())
    assert sorted(ended["ran"]) == ["billing", "billing", "technical"]
    assert len(ended["routed"]) == 3
    assert counts(router) == (3, 3)
    earlier = [one for one in made.get_state_history(thread()) if one.next == ("route",)][-1]
    assert made.invoke(None, earlier.config)["routed"] == ended["routed"]
    assert counts(router) == (3, 3)


def test_a_node_of_a_subgraph_sends_to_one_of_the_graph_around_it(router, saver):
    inner = StateGraph(State)
    inner.add_node("route", route_node(router, NAMES, parent=True))
    inner.add_edge(START, "route")
    builder = StateGraph(State)
    builder.add_node("desk", inner.compile())
    builder.add_edge(START, "desk")
    for name in NAMES:
        builder.add_node(name, recorded(router, worker(name)))
    ended = builder.compile(saver).invoke(asks("the app crashes"), thread())
    assert ended["ran"] == ["technical"]
    assert counts(router) == (1, 1)


def test_a_hand_off_to_the_graph_around_is_a_success(router):
    def hands_over(state):
        return Command(goto="billing", graph=Command.PARENT)

    inner = StateGraph(State)
    inner.add_node("technical", recorded(router, hands_over))
    inner.add_edge(START, "technical")
    builder = StateGraph(State)
    builder.add_node("route", route_node(router, {"technical": "desk", "billing": "billing"}))
    builder.add_node("desk", inner.compile())
    builder.add_node("billing", worker("billing"))
    builder.add_edge(START, "route")
    ended = builder.compile().invoke(asks("the app crashes"))
    assert ended["ran"] == ["billing"]
    assert [example.agent for example in examples(router)] == ["technical"]


def test_a_conditional_edge_with_a_path_map_follows_the_decision(router, saver):
    builder = StateGraph(State)
    builder.add_node("route", route_node(router, NAMES, goto=False))
    builder.add_edge(START, "route")
    builder.add_conditional_edges("route", route_edge(), {"billing": "money", "technical": "machines", END: END})
    builder.add_node("money", recorded(router, worker("billing")))
    builder.add_node("machines", recorded(router, worker("technical")))
    ended = builder.compile(saver).invoke(asks("the app crashes"), thread())
    assert ended["ran"] == ["technical"]
    assert counts(router) == (1, 1)


def test_a_loop_decides_at_each_visit(router, saver):
    builder = StateGraph(State)
    builder.add_node("route", route_node(router, NAMES))
    builder.add_edge(START, "route")
    for name in NAMES:
        builder.add_node(name, recorded(router, lambda state: {"ran": ["x"]}))
        builder.add_conditional_edges(name, lambda state: END if len(state["ran"]) == 3 else "route")
    ended = builder.compile(saver).invoke(asks("the app crashes"), thread())
    assert len(ended["routed"]) == 3
    assert counts(router) == (3, 3)


def test_agents_without_a_node_cannot_be_chosen(router):
    router.add_agent(Agent("legal", description="contracts and law suits"))
    ended = graph(router, everyone()).compile().invoke(asks("contracts and law suits"))
    assert set(ended["routed"].values()) < set(NAMES)


def test_what_langgraph_would_pass_over_is_refused(router):
    """An unknown target ends a run without a word, and a static edge is followed beside the decision."""
    builder = StateGraph(State)
    builder.add_node("route", route_node(router, NAMES))
    builder.add_edge(START, "route")
    builder.add_node("billing", worker("billing"))
    with pytest.raises(ValueError, match="technical, which the graph has no node for"):
        verify_routes(builder, "route", NAMES)
    assert builder.compile().invoke(asks("the app crashes")).get("ran", []) == []
    builder.add_node("technical", worker("technical"))
    builder.add_edge("route", "billing")
    with pytest.raises(ValueError, match="an edge to billing beside its decision"):
        verify_routes(builder, "route", NAMES)
    assert sorted(builder.compile().invoke(asks("the app crashes"))["ran"]) == ["billing", "technical"]


def test_a_task_of_ones_own_and_a_name_of_ones_own_for_nodes(router):
    builder = StateGraph(State)
    node = route_node(
        router, {"billing": "a", "technical": "b"}, task=lambda state: {"text": "crashes", "tenant": "acme"}
    )
    builder.add_node("route", node)
    builder.add_edge(START, "route")
    for name in "ab":
        builder.add_node(name, recorded(router, worker(name)))
    ended = builder.compile().invoke(asks("whatever"))
    assert ended["ran"] == ["b"]
    (decision_id,) = ended["routed"]
    router.flush()
    assert router.decision(decision_id).task.tenant == "acme"


def test_the_example_with_six_agents_runs():
    example = Path(router_sdk_langchain.__file__).parents[1] / "examples" / "six_agents.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert "b waits for a person; outcomes so far: 1" in done.stdout
    assert "[('account', 1.0), ('billing', 1.0), ('shipping', 0.0)]" in done.stdout


def test_without_the_framework_the_import_says_what_to_install():
    program = "import sys; sys.modules['langchain'] = None; import router_sdk_langchain"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: router_sdk_langchain needs langchain" in done.stderr
    assert "pip install 'langchain" in done.stderr


async def test_the_disk_is_not_touched_on_the_loop(router, monkeypatch):
    threads, routed = set(), router.route

    def spied(*given, **more):
        threads.add(threading.current_thread())
        return routed(*given, **more)

    monkeypatch.setattr(router, "route", spied)
    await graph(router, everyone()).compile(InMemorySaver()).ainvoke(asks("a refund please"), thread())
    assert threads
    assert threading.current_thread() not in threads


def test_without_a_checkpointer_nothing_is_looked_up(router, monkeypatch):
    keys, routed = [], router.route

    def spied(*given, **more):
        keys.append(more["idempotency_key"])
        return routed(*given, **more)

    monkeypatch.setattr(router, "route", spied)
    made = graph(router, everyone())
    made.compile().invoke(asks("a refund please"), thread())
    made.compile(InMemorySaver()).invoke(asks("a refund please"), thread())
    assert keys[0] is None
    assert keys[1] is not None
