"""Agents' cards as they are served and changed, and tasks that a routed piece of work sends."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("a2a.client", reason="the framework of router-sdk-a2a")
pytest.importorskip("router_sdk_a2a", reason="plugins/a2a")

import httpx
import router_sdk_a2a
from a2a.types import Message, Task
from agents_for_a2a import Agents
from router_sdk_a2a import CardAgents

from router_sdk import Agent

CARD_0_3 = {
    "protocolVersion": "0.3.0",
    "name": "legacy",
    "description": "An agent of old",
    "url": "http://legacy.test/",
    "preferredTransport": "JSONRPC",
    "version": "2",
    "capabilities": {"streaming": False},
    "defaultInputModes": ["text/plain"],
    "defaultOutputModes": ["text/plain"],
    "skills": [
        {
            "id": "s",
            "name": "Parcels",
            "description": "tracks parcels",
            "tags": ["parcels"],
            "examples": ["where is it"],
        }
    ],
    "supportsAuthenticatedExtendedCard": True,
    "security": [{"key": []}],
    "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x"}},
    "somethingNew": 1,
}


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=[Agent("mine", description="anything else")], epsilon=0.0)


@pytest.fixture
def network():
    agents = Agents()
    agents.add("billing")
    agents.add("technical", streaming=False)
    return agents


@pytest.fixture
async def http(network):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(network)) as client:
        yield client


@pytest.fixture
def cards(router, http):
    return CardAgents(router, ["http://billing.test", "http://technical.test/"], http)


def names(router):
    return sorted(agent.name for agent in router.agents)


def told(router):
    router.flush()
    return [(example.agent, example.reward) for example in router.examples]


async def test_cards_become_agents(router, cards):
    found = await cards.refresh()
    assert (sorted(found.added), found.removed, found.refused) == (["billing", "technical"], [], {})
    billing = next(agent for agent in router.agents if agent.name == "billing")
    assert billing.description == "The billing desk\nbilling skill: billing matters"
    assert billing.examples == ("about billing",)
    assert billing.capabilities == {"billing"}
    assert billing.metadata["a2a"]["url"] == "http://billing.test"
    assert router.route("about technical").agent == "technical"


async def test_a_card_of_old_is_understood(router, network, http):
    network.add_raw("legacy", CARD_0_3)
    await CardAgents(router, ["http://legacy.test/.well-known/agent-card.json"], http).refresh()
    agent = next(agent for agent in router.agents if agent.name == "legacy")
    assert agent.capabilities == {"parcels"}
    assert agent.examples == ("where is it",)
    assert agent.metadata["a2a"]["protocols"] == ["0.3.0"]


async def test_an_unchanged_card_is_not_sent_again_and_a_changed_one_is_followed(router, network, cards):
    await cards.refresh()
    assert await cards.refresh() == ([], [], {})
    network.cards["billing"].skills[0].tags.append("refund")
    assert await cards.refresh() == (["billing"], [], {})
    assert next(agent for agent in router.agents if agent.name == "billing").capabilities == {"billing", "refund"}


async def test_only_changes_are_sent(network, cards, http):
    statuses = []
    http.event_hooks["response"].append(lambda answer: _noted(statuses, answer))
    await cards.refresh()
    await cards.refresh()
    assert sorted(statuses) == [200, 200, 304, 304]


async def _noted(statuses, answer):
    statuses.append(answer.status_code)


async def test_who_is_listed_no_more_goes_and_others_stay(router, cards):
    await cards.refresh()
    cards.urls.remove("http://billing.test")
    assert (await cards.refresh()).removed == ["billing"]
    assert names(router) == ["mine", "technical"]


async def test_a_card_that_cannot_be_had_keeps_its_agent_from_traffic_until_it_can(router, network, cards):
    await cards.refresh()
    app = network.apps["billing.test"]
    network.remove("billing")
    found = await cards.refresh()
    assert "ConnectError" in found.refused["http://billing.test"]
    assert names(router) == ["billing", "mine", "technical"]
    assert "billing" not in router.available
    network.apps["billing.test"] = app
    assert (await cards.refresh()).refused == {}
    assert "billing" in router.available


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "no agent's card"),
        (b"[]", "no agent's card"),
        ({"name": ""}, "name"),
        ({"name": "x", "skills": 1}, "no agent's card"),
        ({"name": "x" * 300}, "name"),
        (b"[" * 100_000, "no agent's card"),
        (b" " * (1 << 20) + b"  ", "more than"),
    ],
)
async def test_what_is_no_card_is_refused_with_a_reason(router, network, http, body, words):
    network.add_raw("odd", body)
    found = await CardAgents(router, ["http://odd.test", "http://billing.test"], http).refresh()
    assert words in found.refused["http://odd.test"]
    assert found.added == ["billing"]


async def test_two_of_one_name_and_names_of_others_are_refused(router, network, http):
    network.add_raw("twin", {**CARD_0_3, "name": "billing"})
    network.add_raw("thief", {**CARD_0_3, "name": "mine"})
    found = await CardAgents(router, ["http://billing.test", "http://twin.test", "http://thief.test"], http).refresh()
    assert found.added == ["billing"]
    assert "already" in found.refused["http://twin.test"]
    assert "did not come from here" in found.refused["http://thief.test"]


async def test_what_is_no_address_is_refused(router):
    async with httpx.AsyncClient() as http:
        found = await CardAgents(router, ["nowhere", "http://"], http).refresh()
    assert set(found.refused) == {"nowhere", "http://"}


# -- work


@pytest.mark.parametrize("name", ["billing", "technical"])
async def test_a_task_that_completes_is_a_success(router, cards, name):
    await cards.refresh()
    async with router.handle(f"about {name}") as call:
        result = await cards.call(call, f"about {name}")
    assert isinstance(result, Task)
    assert call.result == f"{name} did it"
    assert told(router) == [(name, 1.0)]
    assert router.examples[-1].signals.latency_ms > 0


async def test_a_message_is_a_success_too(router, cards):
    await cards.refresh()
    async with router.handle("about billing") as call:
        result = await cards.call(call, "a message please")
    assert isinstance(result, Message)
    assert call.result == "billing says hello"
    assert told(router) == [("billing", 1.0)]


@pytest.mark.parametrize("name", ["billing", "technical"])
@pytest.mark.parametrize("how", ["fail", "reject"])
async def test_a_task_that_fails_is_a_failure(router, cards, name, how):
    await cards.refresh()
    async with router.handle(f"about {name}") as call:
        await cards.call(call, how)
    assert told(router) == [(name, 0.0)]


async def test_a_task_that_waits_for_input_says_nothing_of_how_it_went(router, cards):
    await cards.refresh()
    async with router.handle("about billing") as call:
        await cards.call(call, "ask me")
    assert told(router) == [("billing", None)]


async def test_an_agent_that_does_not_answer_is_a_failure_and_gets_no_traffic_for_a_while(router, network, cards):
    await cards.refresh()
    network.remove("billing")
    with pytest.raises(Exception, match="does not answer"):
        async with router.handle("about billing") as call:
            await cards.call(call, "about billing")
    assert told(router) == [("billing", 0.0)]
    assert "billing" not in router.available
    assert router.route("about billing").agent != "billing"


async def test_a_call_that_is_cancelled_records_nothing(router, network, cards):
    await cards.refresh()
    begun = asyncio.Event()

    async def hangs(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    network.apps["technical.test"] = hangs

    async def work():
        async with router.handle("about technical") as call:
            await cards.call(call, "wait")

    running = asyncio.create_task(work())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told(router) == []
    assert "technical" in router.available


async def test_an_agent_of_ones_own_cannot_be_called(router, cards):
    await cards.refresh()
    with pytest.raises(LookupError, match="'mine' did not come from an agent's card"):
        async with router.handle("x", exclude={"billing", "technical"}) as call:
            await cards.call(call, "x")


def test_without_the_framework_the_import_says_what_to_install():
    program = "import sys; sys.modules['a2a'] = None; import router_sdk_a2a"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: router_sdk_a2a needs a2a-sdk" in done.stderr


def test_the_example_runs():
    example = Path(router_sdk_a2a.__file__).parents[1] / "examples" / "two_desks.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert "learnt" in done.stdout
