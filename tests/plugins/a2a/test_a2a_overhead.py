"""What the adapter costs beside ``route``, ``record`` and the SDK's own client by hand, in processor time."""

import time

import pytest

pytest.importorskip("a2a.client", reason="the framework of router-sdk-a2a")
pytest.importorskip("router_sdk_a2a", reason="plugins/a2a")

import httpx
from a2a.types import SendMessageRequest
from agents_for_a2a import Agents
from router_sdk_a2a import CardAgents
from router_sdk_a2a.work import message_of

from router_sdk import Outcome

pytestmark = pytest.mark.benchmark


async def test_what_a_task_costs_over_calling_by_hand(make_router):
    network = Agents()
    network.add("billing", streaming=False)
    router = make_router(["heuristic"], agents=[], epsilon=0.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(network)) as http:
        cards = CardAgents(router, ["http://billing.test"], http)
        await cards.refresh()
        client = cards.client("billing")

        async def ours():
            async with router.handle("about billing") as call:
                await cards.call(call, "about billing")

        async def by_hand():
            decision = await router.aroute("about billing")
            begun = time.perf_counter()
            async for _ in client.send_message(SendMessageRequest(message=message_of("about billing"))):
                pass
            latency_ms = (time.perf_counter() - begun) * 1_000
            await router.arecord(decision, Outcome(success=True, latency_ms=latency_ms))

        found = []
        for _ in range(30):
            costs = []
            for one in (ours, by_hand):
                begun = time.process_time()
                for _ in range(10):
                    await one()
                costs.append(time.process_time() - begun)
            found.append((costs[0] - costs[1]) / 10 * 1e6)
    print(f"CardAgents.call: {sorted(found)[15]:.0f} us of processor time over calling by hand")
    assert sorted(found)[15] < 2_000
