"""A server's tools as agents of a router, and the router as a server: both ends of the protocol in one process."""

import asyncio

from mcp import Client
from mcp.server.mcpserver import MCPServer
from router_sdk_mcp import ToolAgents, mcp_server

from router_sdk import Router


def forecast(city: str) -> str:
    """Tell tomorrow's weather, rain and temperature of a city."""
    return f"rain in {city}"


def trains(city: str) -> str:
    """Find the next trains and connections to a city."""
    raise LookupError(f"no connection to {city}")


async def main() -> None:
    """Route to tools, then ask the router how they did, as any MCP client would."""
    elsewhere = MCPServer("travel")
    elsewhere.add_tool(forecast)
    elsewhere.add_tool(trains)
    with Router(agents=[], strategies=["heuristic"], store=":memory:", epsilon=0.0) as router:
        async with Client(elsewhere) as client:
            tools = ToolAgents(client, "travel")
            print("found:", (await tools.refresh(router)).added)
            for text in ("what will the weather be", "the next trains"):
                async with router.handle(text) as call:  # records success, failure and latency
                    result = await tools.call(call, {"city": "Oslo"})
                print(f"{call.agent}: {'failed' if result.is_error else call.result}")
        async with Client(mcp_server(router)) as client:
            ranking = await client.call_tool("rank", {"text": "tomorrow's rain"})
            print("rank:", ranking.structured_content)


if __name__ == "__main__":
    asyncio.run(main())
