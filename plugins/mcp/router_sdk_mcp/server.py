"""The router as a server: six tools and two resources. A decision's id is the only state between calls."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from router_sdk import Agent, Outcome, Router, RouterError, Task, __version__
from router_sdk_mcp.replies import (
    Explanation,
    Known,
    Question,
    Questions,
    RankedAgent,
    Ranking,
    Recorded,
    Routed,
)

INSTRUCTIONS = (
    "Decides which agent gets which task, and learns from what came of it. For each task call route and let the agent "
    "it names do the work; then call record with the decision_id and what you know of how it went. What you do not "
    "know, leave out: unknown is not failure. rank tells who would fit without deciding anything."
)

# A parameter that may hold any text is a plain str: mcp reads a text as JSON first where its type is anything else, so
# that the answer "null" would become None, and "[1]" a list.
Words = Annotated[str, Field(description="What is to be done, in words.")]
Kind = Annotated[str, Field(description="A coarse kind of task, such as code; empty where there is none.")]
Features = Annotated[dict[str, bool | int | float | str] | None, Field(description="Numbers, booleans and categories.")]
Names = Annotated[list[str] | None, Field(description="Names of agents.")]
Capabilities = Annotated[list[str] | None, Field(description="What the agent must be able to do.")]
Cost = Annotated[float | None, Field(description="US dollars.")]
Latency = Annotated[float | None, Field(description="Milliseconds.")]
_JSON = "application/json"
Origin = Literal["user", "tool", "judge", "signal", "horizon", "import"]


def mcp_server(router: Router, *, tenant: str | None = None, name: str = "router-sdk") -> MCPServer[Any]:
    """A server for this router; ``run("stdio")``, ``run("streamable-http")`` or mount ``streamable_http_app()``.

    The router stays the caller's: close it after the server has ended. Nothing is kept between calls, so that any
    number of servers may stand before one store.

    Args:
        router: Whose decisions and outcomes they are.
        tenant: Whose tasks all of them are; then other tenants' decisions are refused, and ``router://status``, which
            counts everybody's, is left out.
        name: What clients call the server.
    """
    with _logging_untouched():
        server: MCPServer[Any] = MCPServer(name, instructions=INSTRUCTIONS, version=__version__)
    _Tools(router, tenant).register(server)
    return server


class _Tools:
    """What clients may call.

    What reads or writes the disk and has no coroutine of its own is a plain function, which mcp runs in a thread.
    """

    def __init__(self, router: Router, tenant: str | None) -> None:
        self._router, self._tenant = router, tenant

    def register(self, server: MCPServer[Any]) -> None:
        """Add every tool and resource to a server."""
        looks = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        adds = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
        again = adds.model_copy(update={"idempotent_hint": True})
        replaces = again.model_copy(update={"destructive_hint": True})
        server.add_tool(self.route, title="Choose an agent", annotations=adds)
        server.add_tool(self.record, title="Say how it went", annotations=again)
        server.add_tool(self.rank, title="Rank agents", annotations=looks)
        server.add_tool(self.explain, title="Explain a decision", annotations=looks)
        server.add_tool(self.ask_about, title="What to ask people about", annotations=looks)
        server.add_tool(self.add_agent, title="Add or replace an agent", annotations=replaces)
        server.resource("router://agents", name="agents", description="Who can be chosen.", mime_type=_JSON)(
            self.agents
        )
        if self._tenant is None:
            told = "How the router does: figures, alerts, versions."
            server.resource("router://status", name="status", description=told, mime_type=_JSON)(self.status)

    async def route(
        self,
        text: Words = "",
        task_type: Kind = "",
        features: Features = None,
        session_id: str = "",
        requires: Capabilities = None,
        history: Names = None,
        exclude: Names = None,
        max_cost_usd: Cost = None,
        max_latency_ms: Latency = None,
        parent_decision_id: str = "",
        idempotency_key: Annotated[str, Field(description="The same key gives the same decision again.")] = "",
        explain: Annotated[
            bool, Field(description="Whether to say on what evidence; the log does not keep it.")
        ] = False,
    ) -> Routed:
        """Choose an agent for a task and log the decision. Let that agent do the work, then call record."""
        with _told():
            task = self._task(
                text=text,
                task_type=task_type,
                features=features,
                session_id=session_id,
                requires=requires,
                history=history,
                max_cost_usd=max_cost_usd,
                max_latency_ms=max_latency_ms,
                parent_decision_id=parent_decision_id,
            )
            key = idempotency_key or None
            decision = await self._router.aroute(task, exclude=exclude or (), idempotency_key=key)
            return Routed.of(decision, explain=explain)

    async def record(
        self,
        decision_id: Annotated[str, Field(description="What route returned.")],
        success: Annotated[bool | None, Field(description="Whether the agent did what was asked.")] = None,
        quality: Annotated[float | None, Field(description="How well, from 0 to 1.")] = None,
        feedback: Annotated[float | None, Field(description="What the user said, from -1 to 1.")] = None,
        feedback_text: Annotated[str, Field(description="The user's words.")] = "",
        correct_agent: Annotated[str, Field(description="Who would have been right.")] = "",
        no_agent_fits: Annotated[bool | None, Field(description="True where none would have been right.")] = None,
        response: Annotated[str, Field(description="What the agent answered.")] = "",
        latency_ms: Latency = None,
        cost_usd: Cost = None,
        tokens: int | None = None,
        metrics: dict[str, float] | None = None,
        error: Annotated[str, Field(description="The error that ended the call; a failure.")] = "",
        agent: Annotated[str, Field(description="Who really ran, where it was another than was chosen.")] = "",
        origin: Annotated[Origin | None, Field(description="Who says so.")] = None,
        actor: Annotated[str, Field(description="Which of them, such as a judge's model.")] = "",
        reason: Annotated[str, Field(description="Why they say so, such as a judge's words.")] = "",
        outcome_id: Annotated[str, Field(description="Your id of this report; sent twice it counts once.")] = "",
    ) -> Recorded:
        """Say what came of a decision: all that is known now, more later. It returns once it is on disk."""
        told = locals()
        with _told():
            fields = {name: told[name] for name in Outcome.model_fields if told.get(name) not in (None, "")}
            await self._router.arecord(
                decision_id, Outcome(**fields), outcome_id=outcome_id or None, tenant=self._tenant
            )
            return Recorded(decision_id=decision_id)

    async def rank(
        self,
        text: Words = "",
        task_type: Kind = "",
        features: Features = None,
        session_id: str = "",
        requires: Capabilities = None,
        history: Names = None,
        exclude: Names = None,
        top_k: Annotated[int | None, Field(description="How many; all where it is left out.")] = None,
    ) -> Ranking:
        """Tell who would fit a task, best first. Nothing is decided, logged or explored."""
        with _told():
            task = self._task(
                text=text,
                task_type=task_type,
                features=features,
                session_id=session_id,
                requires=requires,
                history=history,
            )
            ranked = self._router.rank(task, top_k=top_k, exclude=exclude or ())
            return Ranking(agents=[RankedAgent(**one._asdict()) for one in ranked])

    def explain(self, decision_id: Annotated[str, Field(description="What route returned.")]) -> Explanation:
        """Say of a logged decision who answered, what was explored, who abstained, and who was not eligible."""
        with _told():
            return Explanation(**self._router.decision(decision_id, tenant=self._tenant).explain())

    def ask_about(self, n: Annotated[int, Field(description="How many, at least 1.")] = 10) -> Questions:
        """Recent decisions without an outcome, those first whose outcome would teach most."""
        with _told():
            return Questions(
                decisions=[
                    Question(
                        decision_id=one.decision_id,
                        agent=one.agent,
                        text=one.task.text,
                        task_type=one.task.task_type,
                        session_id=one.task.session_id,
                        confidence=one.confidence,
                    )
                    for one in self._router.examples.ask_about(n)
                    if self._tenant is None or one.task.tenant == self._tenant
                ]
            )

    def add_agent(
        self,
        name: Annotated[str, Field(description="What decisions call it.")],
        description: Annotated[str, Field(description="What it is good at, in a sentence or two.")] = "",
        examples: Annotated[list[str] | None, Field(description="Texts that it should get.")] = None,
        capabilities: Annotated[list[str] | None, Field(description="What it can do.")] = None,
        cost_usd: Cost = None,
        latency_ms: Latency = None,
    ) -> Known:
        """Add an agent, or replace the one of that name; what was learnt of it stays."""
        with _told():
            fields = {"examples": examples or (), "capabilities": capabilities or ()}
            agent = Agent(name, description=description, cost_usd=cost_usd, latency_ms=latency_ms, **fields)
            self._router.add_agent(agent)
            return Known.of(agent)

    def agents(self) -> str:
        """Who can be chosen, as JSON."""
        with _told(ResourceError):
            return json.dumps([Known.of(agent).model_dump() for agent in self._router.agents])

    def status(self) -> str:
        """What ``router status --json`` shows."""
        with _told(ResourceError):
            return json.dumps(self._router.status())

    def _task(self, **fields: Any) -> Task:
        return Task.of({**{name: value for name, value in fields.items() if value not in (None, "")}, **self._whose()})

    def _whose(self) -> dict[str, str]:
        return {} if self._tenant is None else {"tenant": self._tenant}


@contextmanager
def _told(as_kind: type[Exception] = ToolError) -> Iterator[None]:
    """Let the client read what the router refuses; of any other exception mcp tells it the tool's name alone."""
    try:
        yield
    except RouterError as error:
        raise as_kind(f"{type(error).__name__}: {error}") from error


@contextmanager
def _logging_untouched() -> Iterator[None]:
    """Making a server configures the root logger of a program that has not done so; how to log is the program's."""
    root, keeper = logging.getLogger(), logging.NullHandler()
    root.addHandler(keeper)
    try:
        yield
    finally:
        root.removeHandler(keeper)
