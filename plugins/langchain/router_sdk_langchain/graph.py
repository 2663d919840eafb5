"""Nodes and edges of LangGraph that the router decides, and nodes whose outcomes it learns."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, TypedDict

from langgraph.constants import END, START
from langgraph.errors import GraphBubbleUp, ParentCommand
from langgraph.graph import StateGraph
from langgraph.types import Command, Send

from router_sdk import Outcome, Router, Task
from router_sdk_langchain.conversation import Prices, used
from router_sdk_langchain.middleware import merged
from router_sdk_langchain.steps import GoingOn, Step, failed, route, routed_in, succeeded, task_of, this_step

Destinations = Mapping[str, str] | Sequence[str]
"""By agent, its node; or the agents whose nodes are called as they are."""


class RoutedState(TypedDict, total=False):
    """What a graph's state needs: the decisions so far, oldest first, by id, and the agents that they named."""

    routed: Annotated[dict[str, str], merged]


def route_node(
    router: Router,
    destinations: Destinations,
    *,
    task: Callable[[Any], Task | str | Mapping[str, Any]] | None = None,
    split: Callable[[Any], Iterable[Mapping[str, Any]]] | None = None,
    nobody: str = END,
    goto: bool = True,
    parent: bool = False,
) -> Callable[[Any], Command[Any]]:
    """A node that chooses the next one.

    Give it no static edge: LangGraph would follow both. What is executed again, by a resume or time travel, goes where
    it went before, and nothing is decided anew.

    Args:
        router: Who decides. Agents without a destination cannot be chosen.
        destinations: By agent, its node; or a list of agents whose nodes have their names.
        task: The task that a state stands for; by default what the user said last.
        split: The states of parallel branches, each of which is routed for itself and sent (``Send``) to its agent.
        nobody: Where to go where no agent fits.
        goto: False decides without going anywhere, for ``add_conditional_edges(node, route_edge(...))``.
        parent: Whether the destinations are nodes of the graph around this one (``Command.PARENT``).
    """
    nodes = dict(destinations) if isinstance(destinations, Mapping) else {name: name for name in destinations}
    graph = Command.PARENT if parent else None

    def asked(state: Any, step: Step) -> list[tuple[Task, Mapping[str, Any] | None]]:
        """What is to be routed, each with the state of its branch."""
        known = {"session_id": step.thread_id[:200] if step.thread_id else None}
        known["parent_decision_id"] = next(reversed(routed_in(state)), None)
        found: list[tuple[Task, Mapping[str, Any] | None]] = []
        for branch in [None] if split is None else split(state):
            looked_at = state if branch is None else branch
            made = Task.of(task_of(looked_at, step) if task is None else task(looked_at))
            missing = {name: value for name, value in known.items() if value and getattr(made, name) is None}
            found.append((made.model_copy(update=missing), branch))
        return found

    def command(routed: list[tuple[Any, Mapping[str, Any] | None]]) -> Command[Any]:
        update = {decision.decision_id: decision.agent or "" for decision, _ in routed}
        targets: list[Any] = []
        for decision, branch in routed:
            target = nobody if decision.agent is None else nodes[decision.agent]
            if branch is None:
                targets.append(target)
            elif target != END:
                targets.append(Send(target, {**branch, "routed": {decision.decision_id: decision.agent or ""}}))
        return Command(update={"routed": update}, goto=targets if goto else (), graph=graph)

    def excluded() -> set[str]:
        return {agent.name for agent in router.agents} - nodes.keys()

    def node(state: Any) -> Command[Any]:
        step = this_step(state)
        pairs = enumerate(asked(state, step))
        return command([(route(router, made, step, excluded(), i), branch) for i, (made, branch) in pairs])

    return node


def route_edge(destinations: Destinations | None = None, *, nobody: str = END) -> Callable[[Any], str]:
    """A path for ``add_conditional_edges``: to whom the newest decision in the state leads. It decides nothing.

    Args:
        destinations: As ``route_node`` takes them; None gives the agent's name, for a path map.
        nobody: Where to go where no agent fits, or nothing was decided.
    """
    nodes = destinations if isinstance(destinations, Mapping) or destinations is None else {n: n for n in destinations}

    def path(state: Any) -> str:
        agent = next(reversed([*routed_in(state).values()]), None)
        if not agent:
            return nobody
        return agent if nodes is None else nodes[agent]

    return path


def recorded(router: Router, node: Callable[..., Any], *, prices: Prices | None = None) -> Any:
    """A node whose end is the outcome of the newest decision in its state: success or failure, latency, tokens, cost.

    An interrupt and a cancelled call record nothing; a hand-off to another graph is a success. A node that is retried
    tells of each attempt, and the newest counts. What is executed again counts once. An outcome that cannot be recorded
    stands in the program's log: the node's work is done.

    Args:
        router: Who learns it.
        node: A function or coroutine function of the state.
        prices: By agent, US dollars for a million tokens in and out; who has none costs an unknown amount.
    """
    if not inspect.iscoroutinefunction(node):

        @wraps(node)
        def run(state: Any, *more: Any, **injected: Any) -> Any:
            visit = _Visit(state, prices or {})
            try:
                ended = node(state, *more, **injected)
            except Exception as error:
                visit.tell(router, error)
                raise
            visit.tell(router, ended)
            return ended

        return run

    @wraps(node)
    async def arun(state: Any, *more: Any, **injected: Any) -> Any:
        visit = _Visit(state, prices or {})
        try:
            ended = await node(state, *more, **injected)
        except Exception as error:
            await visit.atell(router, error)
            raise
        await visit.atell(router, ended)
        return ended

    return arun


class _Visit:
    """One execution of a node that works for the newest decision in its state."""

    def __init__(self, state: Any, prices: Prices) -> None:
        routed = routed_in(state)
        self._step, self._decision_id = this_step(state), next(reversed(routed), None)
        self._price = prices.get(routed[self._decision_id]) if self._decision_id else None
        self._started = time.perf_counter()

    def tell(self, router: Router, how: Any) -> None:
        """Record how it ended, if there is something to say of that."""
        if self._decision_id is not None and (fields := self._ended(how)):
            with GoingOn(f"the outcome of decision {self._decision_id}"):
                router.record(self._decision_id, Outcome(**fields), outcome_id=self._key(fields))

    async def atell(self, router: Router, how: Any) -> None:
        """``tell`` for coroutines."""
        if self._decision_id is not None and (fields := self._ended(how)):
            with GoingOn(f"the outcome of decision {self._decision_id}"):
                await router.arecord(self._decision_id, Outcome(**fields), outcome_id=self._key(fields))

    def _key(self, fields: Mapping[str, Any]) -> str | None:
        return self._step.outcome(self._decision_id, fields, self._step.attempt)

    def _ended(self, how: Any) -> dict[str, Any]:
        """The outcome's fields; none where it is unknown."""
        latency_ms = (time.perf_counter() - self._started) * 1_000
        if isinstance(how, GraphBubbleUp):
            return succeeded(latency_ms=latency_ms) if isinstance(how, ParentCommand) else {}
        if isinstance(how, Exception):
            return failed(how, latency_ms)
        return succeeded(latency_ms=latency_ms, **used(_messages(how), self._price))


def _messages(update: Any) -> Sequence[object]:
    """The messages that a node adds to the state."""
    update = update.update if isinstance(update, Command) else update
    found = update.get("messages", ()) if isinstance(update, Mapping) else ()
    return found if isinstance(found, (list, tuple)) else [found]


def verify_routes(builder: StateGraph[Any], node: str, destinations: Destinations) -> None:
    """Refuse, before ``compile``, what LangGraph would pass over: an unknown target ends a run without a word.

    Args:
        builder: The graph.
        node: The name of its ``route_node``.
        destinations: As the node got them.

    Raises:
        ValueError: if a destination is no node of the graph, or the node has a static edge, which would be followed
            beside the decision.
    """
    targets = set(destinations.values() if isinstance(destinations, Mapping) else destinations)
    if strange := sorted(targets - builder.nodes.keys() - {END}):
        raise ValueError(f"{node!r} may go to {', '.join(strange)}, which the graph has no node for: the run would end")
    if beside := sorted(after for before, after in builder.edges if before == node and before != START):
        raise ValueError(f"{node!r} has an edge to {', '.join(beside)} beside its decision: both would be followed")
