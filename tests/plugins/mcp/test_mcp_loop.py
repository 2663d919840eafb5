"""The server and the discovery never hold the event loop while the log is written, on a disk that takes 60 ms for each
commit."""

import asyncio
import inspect

import pytest

pytest.importorskip("mcp", reason="the framework of router-sdk-mcp")
pytest.importorskip("router_sdk_mcp", reason="plugins/mcp")

from loop_steps import assert_free, slow_writer, watched
from mcp import Client
from mcp.server.mcpserver import MCPServer
from router_sdk_mcp import ToolAgents, mcp_server
from router_sdk_mcp.server import _Tools

COROUTINES = [name for name, value in vars(_Tools).items() if inspect.iscoroutinefunction(value)]
"""The tools that run on the loop; the others get a thread each."""


async def test_its_tools(make_router, monkeypatch):
    router, longest = make_router(["heuristic"], epsilon=0.0), {}
    for name in COROUTINES:
        longest[name] = []
        monkeypatch.setattr(_Tools, name, watched(vars(_Tools)[name], longest[name]))
    assert sorted(COROUTINES) == ["rank", "record", "route"]
    slow_writer(monkeypatch, router)
    async with Client(mcp_server(router)) as client:

        async def step(i):
            decision = (await client.call_tool("route", {"text": "refunds"})).structured_content
            await client.call_tool("record", {"decision_id": decision["decision_id"], "success": True})
            await client.call_tool("rank", {"text": "refunds"})

        await asyncio.gather(*(step(i) for i in range(6)))
    assert_free(longest)


async def test_the_tools_of_another_server(make_router, monkeypatch):
    def works(city: str) -> str:
        """Tell the weather of a city."""
        return f"rain in {city}"

    router, longest = make_router(["heuristic"], agents=[], epsilon=0.0), {}
    for name in ("refresh", "call"):
        longest[name] = []
        monkeypatch.setattr(ToolAgents, name, watched(vars(ToolAgents)[name], longest[name]))
    slow_writer(monkeypatch, router)
    for i in range(5):
        server = MCPServer("tools")
        server.add_tool(works, name=f"works{i}")
        async with Client(server) as client:
            tools = ToolAgents(client, "tools")
            await tools.refresh(router)
            async with router.handle("the weather of a city") as call:
                await tools.call(call, {"city": "Oslo"})
    assert_free(longest)
