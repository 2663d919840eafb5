"""A failure at each tool of the server and each step of discovery in turn, on the router's side and on the protocol's.

Nothing is doubled, nothing is credited to who did not do it, and a client learns what was refused.
"""

import asyncio

import pytest

pytest.importorskip("mcp", reason="the framework of router-sdk-mcp")
pytest.importorskip("router_sdk_mcp", reason="plugins/mcp")

from adapter_faults import Fault
from mcp import Client, MCPError
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from router_sdk_mcp import ToolAgents, mcp_server
from router_sdk_mcp.server import _Tools

from router_sdk import Router, RouterError

OFFERED = [name for name in vars(_Tools) if not name.startswith("_") and name not in ("register", "agents", "status")]
"""The server's tools: what it has of its own; a new one needs arguments below, and is covered by itself."""

ASKED = [name for name in dir(Router) if not name.startswith("_") and callable(getattr(Router, name))]


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], epsilon=0.0)


def given(decision_id):
    return {
        "route": {"text": "refunds and invoices"},
        "record": {"decision_id": decision_id, "success": True},
        "rank": {"text": "refunds and invoices"},
        "explain": {"decision_id": decision_id},
        "ask_about": {},
        "add_agent": {"name": "new"},
    }


async def test_every_tool_is_among_them(router):
    async with Client(mcp_server(router)) as client:
        assert sorted(tool.name for tool in (await client.list_tools()).tools) == sorted(OFFERED)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("tool", OFFERED)
async def test_what_the_router_refuses_is_told_and_sent_again_it_counts_once(router, monkeypatch, tool, mode):
    decision = router.route("refunds and invoices")
    with monkeypatch.context() as patch:
        fault = Fault(patch, router, [name for name in ASKED if name not in ("flush", "close")])
        patch.setattr(_Tools, tool, fault.within(vars(_Tools)[tool]))
        async with Client(mcp_server(router), mode=mode) as client:
            arguments = given(decision.decision_id)[tool]
            refused = await client.call_tool(tool, arguments)
            if tool == "ask_about":  # it asks the examples, which is no method
                assert (fault.entered, fault.raised) == (1, 0)
            else:
                assert refused.is_error, tool
                assert "StoreUnavailableError: the disk is full" in refused.content[0].text
            assert not (await client.call_tool(tool, arguments)).is_error
    router.flush()
    assert [(one.agent, one.reward) for one in router.examples] == [("billing", 1.0)] * (tool == "record")
    assert router.status()["store"]["outcomes"] == (tool == "record")
    assert router.status()["store"]["decisions"] == 1 + (tool == "route")


async def test_who_is_cancelled_while_an_outcome_is_written_may_send_it_again(router, monkeypatch):
    decision, arecord, begun = router.route("refunds and invoices"), router.arecord, asyncio.Event()

    async def slow(*told, **named):
        begun.set()
        await arecord(*told, **named)

    monkeypatch.setattr(router, "arecord", slow)
    async with Client(mcp_server(router)) as client:
        arguments = {"decision_id": decision.decision_id, "success": True, "outcome_id": "mine"}
        calling = asyncio.create_task(client.call_tool("record", arguments))
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert not (await client.call_tool("record", arguments)).is_error
    assert router.status()["store"]["outcomes"] == 1


# -- another server's tools


def works(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


def fails(city: str) -> str:
    """Say that it cannot."""
    raise ToolError("no such city")


def refuses(city: str) -> str:
    """Answer with an error of the protocol."""
    raise MCPError(code=-32_000, message="go away")


TOOLS = {"works": 1.0, "fails": 0.0, "refuses": 0.0}


async def called(router, client, tool):
    """What a routed call of one tool ended with: the name of its exception, or nothing."""
    tools = ToolAgents(client, "tools")
    await tools.refresh(router)
    others = {agent.name for agent in router.agents if agent.name != f"tools/{tool}"}
    try:
        async with router.handle("the weather", exclude=others) as call:
            await tools.call(call, {"city": "Oslo"})
    except Exception as error:
        return type(error).__name__
    return None


@pytest.fixture
def server():
    made = MCPServer("tools")
    for tool in (works, fails, refuses):
        made.add_tool(tool)
    return made


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_tools_outcome_is_its_own(make_router, server, tool):
    router = make_router(["heuristic"], agents=[], epsilon=0.0, store=":memory:")
    async with Client(server) as client:
        assert await called(router, client, tool) == ("MCPError" if tool == "refuses" else None)
    router.flush()
    assert [(one.agent, one.reward) for one in router.examples] == [(f"tools/{tool}", TOOLS[tool])]
    assert len(router.examples.parts(router.examples[-1].decision_id)) == 1


@pytest.mark.parametrize("callback", [name for name in vars(ToolAgents) if not name.startswith("_")])
async def test_agents_that_could_not_be_followed_are_at_the_next_look(make_router, server, monkeypatch, callback):
    router = make_router(["heuristic"], agents=[], epsilon=0.0, store=":memory:")
    fault = Fault(monkeypatch, router, ["add_agent", "remove_agent"], after=1)
    monkeypatch.setattr(ToolAgents, callback, fault.within(vars(ToolAgents)[callback]))
    async with Client(server) as client:
        if callback == "refresh":
            with pytest.raises(RouterError, match="the disk is full"):
                await called(router, client, "works")
        assert await called(router, client, "works") is None
        assert fault.raised == (callback == "refresh")
    router.flush()
    assert len(router.agents) == 3
    assert [(one.agent, one.reward) for one in router.examples] == [("tools/works", 1.0)]
