"""The adapter never holds the event loop while the log is written, on a disk that takes 60 ms for each commit."""

import asyncio
import time

import pytest

pytest.importorskip("a2a.client", reason="the framework of router-sdk-a2a")
pytest.importorskip("router_sdk_a2a", reason="plugins/a2a")

import httpx
from a2a.client import ClientConfig, create_client
from a2a.server.agent_execution import AgentExecutor
from a2a.types import Message, Part, Role, SendMessageRequest
from adapter_faults import callbacks
from agents_for_a2a import Agents
from loop_steps import SLOW_S, assert_free, slow_writer, watched
from router_sdk_a2a import CardAgents, RouterExecutor, a2a_app

from router_sdk import Proposal, Strategy


class Prepares(Strategy):
    """Takes as long to prepare as one does that embeds its agents' examples."""

    name = "prepares"
    slow = False

    def prepare(self, agents):
        if self.slow:
            time.sleep(SLOW_S)

    def propose(self, task, agents, context):
        fits = [agent.name for agent in agents if agent.name in task.text] or [agent.name for agent in agents]
        return Proposal({agent.name: (agent.name in fits) / len(fits) for agent in agents})


@pytest.mark.parametrize("away", [False, True])
async def test_a_served_tasks_and_a_programs_calls(make_router, monkeypatch, away):
    network, longest = Agents(), {}
    for name in ("billing", "technical"):
        network.add(name)
    router = make_router([Prepares], agents=[], epsilon=0.0)
    for owner, names in [(RouterExecutor, callbacks(RouterExecutor, AgentExecutor)), (CardAgents, ["call", "refresh"])]:
        for name in names:
            longest[name] = []
            monkeypatch.setattr(owner, name, watched(vars(owner)[name], longest[name]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(network)) as http:
        cards = CardAgents(router, ["http://billing.test", "http://technical.test"], http)
        await cards.refresh()
        network.apps["desk.test"] = a2a_app(router, cards, "http://desk.test/")
        desk = await create_client("http://desk.test", ClientConfig(httpx_client=http))
        slow_writer(monkeypatch, router)
        monkeypatch.setattr(Prepares, "slow", True)
        if away:
            network.remove("billing")

        async def served(i):
            message = Message(role=Role.ROLE_USER, parts=[Part(text="about billing")], message_id=str(i))
            async for _ in desk.send_message(SendMessageRequest(message=message)):
                pass

        async def called():
            try:
                async with router.handle("about billing") as call:
                    await cards.call(call, "about billing")
            except Exception:
                assert away

        for i in range(5):
            router.set_health("billing", healthy=True)
            await asyncio.gather(served(i), called(), cards.refresh())
    assert longest.pop("cancel") == []
    assert_free(longest)
