"""A real server's tools as agents, and what is recorded of each way in which a call can end."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the framework of router-sdk-mcp")
pytest.importorskip("router_sdk_mcp", reason="plugins/mcp")

import router_sdk_mcp
from mcp import Client, MCPError
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ListToolsResult, Tool, ToolAnnotations
from router_sdk_mcp import ToolAgents, mcp_server

from router_sdk import Agent


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


def fails(city: str) -> str:
    """Always fails."""
    raise ToolError(f"no such city: {city}")


def crashes(city: str) -> str:
    """Always crashes."""
    raise ZeroDivisionError(city)


async def slow(city: str) -> str:
    """Never answers."""
    await asyncio.Event().wait()
    return city


def refuses(city: str) -> str:
    """Answers with an error of the protocol."""
    raise MCPError(code=-32_000, message="go away")


@pytest.fixture
def server():
    made = MCPServer("tools")
    made.add_tool(weather, annotations=ToolAnnotations(read_only_hint=True))
    for tool in (fails, crashes, slow, refuses):
        made.add_tool(tool)
    return made


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=[], epsilon=0.0)


def names(router):
    return sorted(agent.name for agent in router.agents)


async def test_tools_become_agents_and_follow_the_server(server, router):
    router.add_agent(Agent("mine"))
    async with Client(server) as client:
        tools = ToolAgents(client, "tools")
        found = await tools.refresh(router)
        every = ["tools/crashes", "tools/fails", "tools/refuses", "tools/slow", "tools/weather"]
        assert (sorted(found.added), found.removed, found.refused) == (every, [], {})
        weather_agent = next(agent for agent in router.agents if agent.name == "tools/weather")
        assert weather_agent.description == "Tell the weather of a city"
        assert weather_agent.metadata["mcp"]["input_schema"]["required"] == ["city"]
        assert weather_agent.metadata["mcp"]["annotations"]["read_only_hint"] is True
        assert weather_agent.capabilities == frozenset()
        assert await tools.refresh(router) == ([], [], {})
        server.remove_tool("fails")
        server.add_tool(weather, name="forecast")
        assert await tools.refresh(router) == (["tools/forecast"], ["tools/fails"], {})
        assert "mine" in names(router)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_routed_call_is_made_and_recorded(server, router, mode):
    async with Client(server, mode=mode) as client:
        tools = ToolAgents(client, "tools")
        await tools.refresh(router)
        async with router.handle("the weather of a city, tell me") as call:
            result = await tools.call(call, {"city": "Oslo"})
        assert (call.agent, result.content[0].text) == ("tools/weather", "rain in Oslo")
    router.flush()
    (example,) = router.examples
    assert (example.reward, example.signals.success) == (1.0, True)
    assert example.signals.latency_ms > 0


async def only(router, client, tool):
    tools = ToolAgents(client, "tools")
    await tools.refresh(router)
    others = {name for name in names(router) if name != f"tools/{tool}"}
    return tools, router.handle("x", exclude=others)


@pytest.mark.parametrize("tool", ["fails", "crashes"])
async def test_what_a_tool_reports_as_an_error_is_a_failure(server, router, tool):
    async with Client(server) as client:
        tools, handled = await only(router, client, tool)
        async with handled as call:
            assert (await tools.call(call, {"city": "Oslo"})).is_error
    router.flush()
    assert [example.signals.success for example in router.examples] == [False]


async def test_arguments_that_the_tool_refuses_are_a_failure_which_is_all_that_the_protocol_tells(server, router):
    async with Client(server) as client:
        tools, handled = await only(router, client, "weather")
        async with handled as call:
            assert (await tools.call(call, {"town": "Oslo"})).is_error
    router.flush()
    assert [example.reward for example in router.examples] == [0.0]


async def test_an_error_of_the_protocol_is_a_failure_and_is_raised(server, router):
    async with Client(server) as client:
        tools, handled = await only(router, client, "refuses")
        with pytest.raises(MCPError, match="go away"):
            async with handled as call:
                await tools.call(call, {"city": "Oslo"})
    router.flush()
    assert [example.reward for example in router.examples] == [0.0]


async def test_a_time_out_is_a_failure_and_a_cancelled_call_is_unknown(server, router):
    async with Client(server, mode="legacy") as client:
        tools, handled = await only(router, client, "slow")
        with pytest.raises(MCPError):
            async with handled as call:
                await tools.call(call, {"city": "Oslo"}, read_timeout_seconds=0.05)
        tools, handled = await only(router, client, "slow")

        async def work():
            async with handled as call:
                begun.set()
                await tools.call(call, {"city": "Oslo"})

        begun = asyncio.Event()
        working = asyncio.create_task(work())
        await begun.wait()
        await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    router.flush()
    assert [example.reward for example in router.examples] == [0.0]
    assert router.status()["store"]["decisions"] == 2


async def test_a_decision_for_somebody_else_is_not_sent_to_the_server(server, router):
    router.add_agent(Agent("mine"))
    async with Client(server) as client:
        tools = ToolAgents(client, "tools")
        with pytest.raises(LookupError, match="not a tool of the server 'tools'"):
            async with router.handle("x") as call:
                await tools.call(call, {})


def listing(*pages):
    async def list_tools(context, params):
        position = int(params.cursor) if params and params.cursor else 0
        more = str(position + 1) if position + 1 < len(pages) else None
        return ListToolsResult(tools=pages[position], next_cursor=more)

    return Server("odd", on_list_tools=list_tools)


def tool(name, **fields):
    return Tool(name=name, input_schema={"type": "object"}, **fields)


async def test_pages_doubles_and_names_that_no_agent_can_have(router):
    router.add_agent(Agent("odd/taken", description="of the program"))
    pages = [[tool("a", title="A", description="does a."), tool("a")], [tool("../up"), tool("taken"), tool("b/c")]]
    async with Client(listing(*pages)) as client:
        found = await ToolAgents(client, "odd").refresh(router)
    assert found.added == ["odd/a", "odd/b/c"]
    assert set(found.refused) == {"odd/a", "odd/../up", "odd/taken"}
    assert {agent.name: agent.description for agent in router.agents} == {
        "odd/taken": "of the program",
        "odd/a": "A. does a",
        "odd/b/c": "",
    }


async def test_a_server_that_does_not_answer_changes_nothing(server, router):
    async with Client(server) as client:
        await ToolAgents(client, "tools").refresh(router)
    before = names(router)

    async def broken(context, params):
        raise MCPError(code=-32_603, message="not now")

    async with Client(Server("tools", on_list_tools=broken)) as client:
        with pytest.raises(MCPError, match="not now"):
            await ToolAgents(client, "tools").refresh(router)
    assert names(router) == before


async def test_the_disk_is_not_touched_on_the_loop(server, router, monkeypatch):
    threads = set()
    add_agent = router.add_agent

    def spied(agent):
        threads.add(threading.current_thread())
        add_agent(agent)

    monkeypatch.setattr(router, "add_agent", spied)
    async with Client(server) as client, Client(mcp_server(router)) as own:
        await ToolAgents(client, "tools").refresh(router)
        assert not (await own.call_tool("add_agent", {"name": "x"})).is_error
    assert threads
    assert threading.current_thread() not in threads


def test_the_example_runs():
    example = Path(router_sdk_mcp.__file__).parents[1] / "examples" / "tools_as_agents.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert "travel/forecast: rain in Oslo" in done.stdout
    assert "travel/trains: failed" in done.stdout
