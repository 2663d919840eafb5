"""What the adapter costs beside ``route``, ``record`` and the SDK's own client by hand, in processor time."""

import time

import pytest

pytest.importorskip("a2a.client", reason="the framework of router-sdk-a2a")
pytest.importorskip("router_sdk_a2a", reason="plugins/a2a")

import httpx
from a2a.helpers import get_artifact_text
from a2a.types import SendMessageRequest
from agents_for_a2a import Agents
from call_costs import costs
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

        async def by_hand(*, words=False):
            decision = await router.aroute("about billing")
            begun, told = time.perf_counter(), {}
            async for event in client.send_message(SendMessageRequest(message=message_of("about billing"))):
                if words:
                    told["response"] = "".join(get_artifact_text(one, "") for one in event.task.artifacts)
            latency_ms = (time.perf_counter() - begun) * 1_000
            await router.arecord(decision, Outcome(success=True, latency_ms=latency_ms, **told))

        plain, words, with_ours = await costs(lambda i: by_hand(), lambda i: by_hand(words=True), lambda i: ours())
    print(f"CardAgents.call: {with_ours - plain:.0f} us over calling by hand, {words - plain:.0f} for the words alone")
    assert with_ours - plain < 2_000
