"""A server's tools as agents: found, followed, and called within a routed piece of work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk import Agent, Router, RouterError

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, Tool

    from router_sdk import Call


class Discovered(NamedTuple):
    """What a look at the server came to, by agents' names.

    Attributes:
        added: New, or changed.
        removed: The server has them no more.
        refused: Not taken, and why.
    """

    added: list[str]
    removed: list[str]
    refused: dict[str, str]


class ToolAgents:
    """The tools of one server as agents of a router. Its name stands before theirs: ``search/web``.

    A tool's description becomes the agent's. Its annotations are hints of a server that nobody vouches for, so they
    stand in ``metadata["mcp"]`` and narrow nothing.

    Args:
        client: Connected to the server (``async with Client(...) as client``).
        server: What to call it; part of the agents' names, so it must differ between servers.
    """

    def __init__(self, client: Client, server: str) -> None:
        self._client, self._server = client, server

    async def refresh(self, router: Router) -> Discovered:
        """Make the router's agents those that the server has now; of those that are as they were nothing is said.

        Agents that did not come from this server are left alone, also where a tool has the name of one of them. Where
        the server does not answer, nothing changes. Call it at the start, and on ``notifications/tools/list_changed``.

        Raises:
            MCPError: if the server refuses to list its tools.
        """
        import asyncio

        tools = await self._tools()
        return await asyncio.to_thread(self._take, router, tools)

    async def call(self, call: Call, arguments: Mapping[str, Any] | None = None, **options: Any) -> CallToolResult:
        """Call the tool that was chosen: ``async with router.handle(text) as call: await tools.call(call, {...})``.

        ``handle`` records a success, the latency, and a failure where this raises. What the tool itself reports as an
        error is a failure, too, and is returned. A call that is cancelled records nothing.

        Args:
            call: A routed piece of work, whose agent is one of this server's.
            arguments: As the tool's ``input_schema`` asks, see the agent's ``metadata["mcp"]``.
            **options: For ``Client.call_tool``, such as ``read_timeout_seconds``.

        Raises:
            LookupError: if the chosen agent is not a tool of this server.
            MCPError: if the server refuses the call.
        """
        server, separator, tool = (call.agent or "").partition("/")
        if not separator or server != self._server:
            raise LookupError(f"{call.agent!r} is not a tool of the server {self._server!r}")
        started = time.perf_counter()
        result = await self._client.call_tool(tool, dict(arguments or {}), **options)
        call.result = _text(result)
        call.report(latency_ms=(time.perf_counter() - started) * 1_000)
        if result.is_error:
            said = _text(result)[:10_000].encode(errors="replace").decode()
            call.report(success=False, error=said or "the tool reported an error")
        return result

    async def _tools(self) -> list[Tool]:
        found: list[Tool] = []
        cursor: str | None = None
        while True:
            page = await self._client.list_tools(cursor=cursor, cache_mode="refresh")
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return found

    def _take(self, router: Router, tools: list[Tool]) -> Discovered:
        there = {agent.name: agent for agent in router.agents}
        mine = {name for name, agent in there.items() if _server_of(agent) == self._server}
        came, refused = dict[str, Agent](), dict[str, str]()
        for tool in tools:
            name = f"{self._server}/{tool.name}"
            try:
                agent = self._agent(name, tool)
            except RouterError as error:
                refused[name] = str(error)
                continue
            if name in came:
                refused[name] = "the server lists two tools of that name; the first is taken"
            elif name in there and name not in mine:
                refused[name] = "an agent that is not this server's has that name"
            else:
                came[name] = agent
        added = [name for name, agent in came.items() if agent != there.get(name)]
        removed = sorted(mine - came.keys())
        for name in added:
            router.add_agent(came[name])
        for name in removed:
            router.remove_agent(name)
        return Discovered(added, removed, refused)

    def _agent(self, name: str, tool: Tool) -> Agent:
        hints = tool.annotations.model_dump(exclude_none=True) if tool.annotations else {}
        title = tool.title or hints.get("title")
        about = {"server": self._server, "input_schema": tool.input_schema, "annotations": hints}
        words = ". ".join(part.strip().rstrip(".") for part in (title, tool.description) if part and part.strip())
        return Agent(name, description=words, metadata={"mcp": about})


def _server_of(agent: Agent) -> object:
    """Which server an agent came from, or None."""
    about = agent.metadata.get("mcp")
    return about.get("server") if isinstance(about, dict) else None


def _text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")
