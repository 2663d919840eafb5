"""Let the router time the call, notice exceptions, and record both; with threads or with asyncio."""

import asyncio
import tempfile
from pathlib import Path

from router_sdk import Agent, Router

AGENTS = [Agent("planner", description="plan, cancel or change a trip"), Agent("poet", description="poems and songs")]


def answer(agent: str | None, text: str) -> str:
    """Stands for the real agents."""
    if "zeppelin" in text:
        raise LookupError("no such connection")
    return f"{agent} took care of {text!r}"


async def one(router: Router, text: str) -> None:
    """Handle one request beside others."""
    async with router.handle(text) as call:
        await asyncio.sleep(0)
        call.result = answer(call.agent, text)
        call.report(cost_usd=0.001)
    print(call.result)


async def several(router: Router) -> None:
    """Handle a few requests, in order."""
    for text in ("write a poem on rain", "plan a trip to Oslo"):
        await one(router, text)


def main() -> None:
    """Play it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Router(agents=AGENTS, store=Path(folder) / "router.db", seed=1) as router,
    ):
        with router.handle("cancel my trip") as call:
            call.result = answer(call.agent, call.task.text)
        print(call.result)
        try:
            with router.handle("plan a trip by zeppelin") as call:
                call.result = answer(call.agent, call.task.text)
        except LookupError as error:
            print(f"recorded as a failure of {call.agent}: {error}")
        asyncio.run(several(router))
        router.flush()
        rewards = [example.reward for example in router.examples]
        print("rewards:", rewards)


if __name__ == "__main__":
    main()
