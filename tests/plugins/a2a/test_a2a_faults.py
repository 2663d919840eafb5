"""A failure at each callback of the adapter in turn, on the router's side and on the SDK's.

Nothing is doubled, nothing is credited to who did not do it, and a task ends as it would without the router.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple

import pytest

pytest.importorskip("a2a.client", reason="the framework of router-sdk-a2a")
pytest.importorskip("router_sdk_a2a", reason="plugins/a2a")

import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_artifact_text
from a2a.server.agent_execution import AgentExecutor
from a2a.types import CancelTaskRequest, GetTaskRequest, Message, Part, Role, SendMessageRequest, TaskState
from a2a.utils.errors import InternalError
from adapter_faults import RECORDING, ROUTING, Fault, broken, callbacks, lost
from agents_for_a2a import Agents
from google.protobuf.json_format import MessageToDict
from router_sdk_a2a import CardAgents, RouterExecutor, a2a_app
from router_sdk_a2a.executor import _Relay

from router_sdk import RouterError

EXECUTOR = callbacks(RouterExecutor, AgentExecutor)


class Scenario(NamedTuple):
    """What is asked, how the task ends, and what is to be told; ``away`` cannot be reached."""

    text: str
    ended: str
    told: list
    away: tuple = ()


def told_of(agent, reward):
    return (agent, reward, "routed")


SCENARIOS = {
    "it answers, streamed": Scenario("about billing", "completed: billing did it", [told_of("billing", 1.0)]),
    "it answers": Scenario("about technical", "completed: technical did it", [told_of("technical", 1.0)]),
    "it fails": Scenario("fail about billing", "failed: ", [told_of("billing", 0.0)]),
    "it rejects": Scenario("reject about technical", "rejected: ", [told_of("technical", 0.0)]),
    "it raises": Scenario("raise about billing", "failed: ", [told_of("billing", 0.0)]),
    "a message": Scenario("a message about billing", "completed: billing says hello", [told_of("billing", 1.0)]),
    "it waits": Scenario("ask about billing", "input_required: ", []),
    "another is tried": Scenario(
        "about billing",
        "completed: technical did it",
        [told_of("billing", 0.0), told_of("technical", 1.0)],
        ("billing",),
    ),
    "nobody can be reached": Scenario(
        "about billing", "failed: ", [told_of("billing", 0.0), told_of("technical", 0.0)], ("billing", "technical")
    ),
}


class Office:
    """Two agents, and the router served as a third, which is asked as any client would ask."""

    def __init__(self, router, http, network):
        self.router, self.http, self.network = router, http, network

    async def open(self, scenario=None):
        self.network.add("billing")
        self.network.add("technical", streaming=False)
        self.cards = CardAgents(self.router, ["http://billing.test", "http://technical.test"], self.http)
        await self.cards.refresh()
        for name in () if scenario is None else scenario.away:
            self.network.remove(name)
        self.network.apps["desk.test"] = a2a_app(self.router, self.cards, "http://desk.test/")
        self.desk = await create_client("http://desk.test", ClientConfig(httpx_client=self.http))
        return self

    async def ask(self, text, **where):
        """The task as it stands once the stream has ended."""
        message = Message(role=Role.ROLE_USER, parts=[Part(text=text)], message_id=text, **where)
        task_id = None
        async for event in self.desk.send_message(SendMessageRequest(message=message)):
            task_id = event.task.id or event.status_update.task_id or task_id
        return await self.desk.get_task(GetTaskRequest(id=task_id))

    async def ran(self, scenario):
        """How a task ended, and what was answered."""
        task = await self.ask(scenario.text)
        state = TaskState.Name(task.status.state).removeprefix("TASK_STATE_").lower()
        return f"{state}: " + "\n".join(get_artifact_text(one, "") for one in task.artifacts)

    def told(self):
        self.router.flush()
        parts = [len(self.router.examples.parts(example.decision_id)) for example in self.router.examples]
        assert parts == [1] * len(parts)
        return [(example.agent, example.reward, example.source) for example in self.router.examples]


@pytest.fixture
async def offices(make_router):
    """As many as are asked for, each with nothing in its log."""
    open_ones = []

    async def opened(scenario=None):
        network = Agents()
        http = httpx.AsyncClient(transport=httpx.ASGITransport(network))
        open_ones.append(http)
        router = make_router(["heuristic"], agents=[], epsilon=0.0, store=":memory:")
        return await Office(router, http, network).open(scenario)

    yield opened
    for http in open_ones:
        await http.aclose()


@pytest.mark.parametrize("name", SCENARIOS)
async def test_without_a_failure_of_the_routers_all_is_told(offices, name):
    office = await offices(SCENARIOS[name])
    assert await office.ran(SCENARIOS[name]) == SCENARIOS[name].ended
    assert office.told() == SCENARIOS[name].told


@pytest.mark.parametrize("asked", [RECORDING, ("set_health",)])
@pytest.mark.parametrize("callback", EXECUTOR)
async def test_where_the_router_cannot_be_told_a_task_ends_as_it_would(offices, monkeypatch, caplog, callback, asked):
    raised = 0
    for name, scenario in SCENARIOS.items():
        with monkeypatch.context() as patch:
            office = await offices(scenario)
            fault = Fault(patch, office.router, asked)
            patch.setattr(RouterExecutor, callback, fault.within(vars(RouterExecutor)[callback]))
            caplog.clear()
            assert await office.ran(scenario) == scenario.ended, name
            missing = fault.raised if asked == RECORDING else 0
            assert lost(scenario.told, office.told()) == missing, name
            assert bool([one for one in caplog.records if one.name.startswith("router_sdk")]) == fault.raised, name
            raised += fault.raised
    assert (raised > 0) == (callback == "execute")


async def test_where_the_router_cannot_decide_the_task_fails_and_nobody_has_failed(offices, monkeypatch):
    for name, scenario in SCENARIOS.items():
        with monkeypatch.context() as patch:
            office = await offices(scenario)
            fault = Fault(patch, office.router, ROUTING)
            patch.setattr(RouterExecutor, "execute", fault.within(RouterExecutor.execute))
            assert (await office.ran(scenario), fault.raised) == ("failed: ", 1), name
            assert office.told() == [], name


@pytest.mark.parametrize("callback", EXECUTOR)
async def test_a_callback_that_is_itself_broken_tells_nothing_that_was_not(offices, monkeypatch, callback):
    for scenario in SCENARIOS.values():
        with monkeypatch.context() as patch:
            office = await offices(scenario)
            patch.setattr(RouterExecutor, callback, broken(vars(RouterExecutor)[callback]))
            with suppress(InternalError):
                await office.ran(scenario)
            lost(scenario.told, office.told())


async def test_what_breaks_off_here_is_no_failure_of_the_agents(offices, monkeypatch):
    """The server's own queue, or store of tasks, while an agent's answer is passed on."""
    for method in ("pass_on", "end"):
        with monkeypatch.context() as patch:
            office = await offices()
            patch.setattr(_Relay, method, broken(vars(_Relay)[method]))
            with pytest.raises(InternalError, match="broken"):
                await office.ask("about billing")
            assert office.told() == ([told_of("billing", 1.0)] if method == "end" else [])
            assert "billing" in office.router.available


async def test_whose_client_goes_while_an_outcome_is_written_has_it_written_once(offices, monkeypatch):
    office = await offices()
    arecord = office.router.arecord

    async def left_there(*given, **named):
        asked.cancel()
        await arecord(*given, **named)

    monkeypatch.setattr(office.router, "arecord", left_there)
    asked = asyncio.create_task(office.ask("about technical"))
    with pytest.raises(asyncio.CancelledError):
        await asked
    async with asyncio.timeout(20):
        while not office.told():
            await asyncio.sleep(0.001)
    assert office.told() == [told_of("technical", 1.0)]


async def test_a_cancel_that_fails_there_is_a_cancel_here(offices, monkeypatch):
    office = await offices()
    office.desk = await create_client(
        "http://desk.test", ClientConfig(httpx_client=office.http, streaming=False, polling=True)
    )
    message = Message(role=Role.ROLE_USER, parts=[Part(text="wait about technical")], message_id="m")
    async for event in office.desk.send_message(SendMessageRequest(message=message)):
        task_id = event.task.id
    async with asyncio.timeout(20):
        while "router_sdk" not in MessageToDict((await office.desk.get_task(GetTaskRequest(id=task_id))).metadata):
            await asyncio.sleep(0.005)
    monkeypatch.setattr(office.cards, "client", broken(office.cards.client))
    task = await office.desk.cancel_task(CancelTaskRequest(id=task_id))
    assert task.status.state == TaskState.TASK_STATE_CANCELED
    assert office.told() == []


CALLS = {
    "about billing": told_of("billing", 1.0),
    "fail about billing": told_of("billing", 0.0),
    "raise about technical": told_of("technical", 0.0),
    "a message about billing": told_of("billing", 1.0),
}


@pytest.mark.parametrize("away", [False, True])
async def test_a_call_of_a_program_is_told_of_as_it_ended_whatever_becomes_of_its_agents_health(
    offices, monkeypatch, away
):
    for text, expected in CALLS.items():
        with monkeypatch.context() as patch:
            office = await offices()
            name = expected[0]
            if away:
                office.network.remove(name)
            else:
                office.cards.failed(name)  # so that it is to be well again
                office.router.set_health(name, healthy=True)
            fault = Fault(patch, office.router, ("set_health",))
            patch.setattr(CardAgents, "call", fault.within(CardAgents.call))
            ended = None
            try:
                async with office.router.handle(text) as call:
                    await office.cards.call(call, text)
            except Exception as error:
                ended = error
            assert ended is not None or not away, text
            assert not isinstance(ended, RouterError), text
            assert fault.raised == 1, text
            assert office.told() == [told_of(name, 0.0) if away else expected], text
