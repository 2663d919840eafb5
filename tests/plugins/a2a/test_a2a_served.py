"""The router served as an agent, called by the SDK's own client: whom it asks, what comes back, what is recorded."""

import asyncio

import pytest

pytest.importorskip("a2a.client", reason="the framework of router-sdk-a2a")
pytest.importorskip("router_sdk_a2a", reason="plugins/a2a")

import httpx
from a2a.client import ClientConfig, ClientFactory, create_client
from a2a.helpers import get_artifact_text, get_message_text
from a2a.types import CancelTaskRequest, GetTaskRequest, Message, Part, Role, SendMessageRequest, TaskState
from agents_for_a2a import Agents
from google.protobuf.json_format import MessageToDict
from router_sdk_a2a import CardAgents, RouterExecutor, a2a_app

from router_sdk import Agent, Outcome


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
async def cards(router, http):
    found = CardAgents(router, ["http://billing.test", "http://technical.test"], http)
    await found.refresh()
    return found


@pytest.fixture
async def desk(router, network, cards, http):
    """A client of the router's, which reads its card as any client would."""
    network.apps["desk.test"] = a2a_app(router, cards, "http://desk.test/")
    return await create_client("http://desk.test", ClientConfig(httpx_client=http))


_number = iter(range(10_000))


def says(text, **where):
    message = Message(role=Role.ROLE_USER, parts=[Part(text=text)], message_id=f"m{next(_number)}", **where)
    return SendMessageRequest(message=message)


async def ask(client, text, **where):
    """The task as it stands once the stream has ended."""
    task_id = None
    async for event in client.send_message(says(text, **where)):
        if event.HasField("task"):
            task_id = event.task.id
        elif event.HasField("status_update"):
            task_id = event.status_update.task_id
    return await client.get_task(GetTaskRequest(id=task_id))


def state(task):
    return TaskState.Name(task.status.state).removeprefix("TASK_STATE_").lower()


def words(task):
    return "\n".join(get_artifact_text(one, "") for one in task.artifacts)


def told(router):
    router.flush()
    return [(example.agent, example.reward, example.source) for example in router.examples]


def about(task):
    return MessageToDict(task.metadata)["router_sdk"]


async def test_its_card_says_what_its_agents_can_do(router, network, desk, http):
    card = (await http.get("http://desk.test/.well-known/agent-card.json")).json()
    assert [skill["id"] for skill in card["skills"]] == ["billing", "technical"]
    assert card["skills"][0]["examples"] == ["about billing"]
    assert card["skills"][0]["tags"] == ["billing"]
    router.remove_agent("billing")
    card = (await http.get("http://desk.test/.well-known/agent-card.json")).json()
    assert [skill["id"] for skill in card["skills"]] == ["technical"]


@pytest.mark.parametrize("name", ["billing", "technical"])
async def test_a_task_goes_to_whom_the_router_chooses_and_its_end_is_the_outcome(router, network, desk, name):
    task = await ask(desk, f"about {name}", context_id="thread-7")
    assert (state(task), words(task)) == ("completed", f"{name} did it")
    assert told(router) == [(name, 1.0, "routed")]
    decision = router.decision(about(task)["decision_id"])
    assert decision.task.session_id == "thread-7"
    assert router.examples[-1].decision_id == decision.decision_id


async def test_later_feedback_joins_it(router, desk):
    task = await ask(desk, "about billing")
    router.record(about(task)["decision_id"], Outcome(feedback=-1.0))
    assert told(router) == [("billing", 0.0, "routed")]


@pytest.mark.parametrize(("how", "ended"), [("fail", "failed"), ("reject", "rejected")])
@pytest.mark.parametrize("name", ["billing", "technical"])
async def test_a_task_that_fails_there_fails_here_and_is_a_failure(router, desk, name, how, ended):
    task = await ask(desk, f"{how} about {name}")
    assert state(task) == ended
    assert f"{name}: {how}" in get_message_text(task.status.message)
    assert told(router) == [(name, 0.0, "routed")]


async def test_an_answer_without_a_task_is_one_here(router, desk):
    task = await ask(desk, "a message about billing")
    assert (state(task), words(task)) == ("completed", "billing says hello")
    assert told(router) == [("billing", 1.0, "routed")]


async def test_an_exception_of_the_agent_is_a_failure(router, desk):
    task = await ask(desk, "raise about billing")
    assert state(task) == "failed"
    assert told(router) == [("billing", 0.0, "routed")]


async def test_a_task_that_waits_is_gone_on_with_by_the_same_agent(router, network, desk):
    task = await ask(desk, "ask about billing")
    assert state(task) == "input_required"
    assert told(router) == []
    task = await ask(desk, "technical words", task_id=task.id, context_id=task.context_id)
    assert state(task) == "completed"
    assert told(router) == [("billing", 1.0, "routed")]
    assert router.status()["store"]["decisions"] == 1
    assert network.workers["technical"].asked == []
    assert [text for text, _ in network.workers["billing"].asked] == ["ask about billing", "technical words"]


async def test_a_conversation_goes_on_at_each_agent_under_its_own_name(network, desk):
    for _ in range(2):
        await ask(desk, "about billing", context_id="thread-7")
    (_, first), (_, second) = network.workers["billing"].asked
    assert first == second


async def test_who_cannot_be_reached_has_failed_and_another_is_asked(router, network, desk):
    network.remove("billing")
    task = await ask(desk, "about billing")
    assert (state(task), words(task)) == ("completed", "technical did it")
    assert told(router) == [("billing", 0.0, "routed"), ("technical", 1.0, "routed")]
    assert "billing" not in router.available


async def test_where_nobody_can_be_reached_the_task_fails(router, network, desk):
    network.remove("billing")
    network.remove("technical")
    task = await ask(desk, "about billing")
    assert state(task) == "failed"
    assert told(router) == [("billing", 0.0, "routed"), ("technical", 0.0, "routed")]


async def test_where_nobody_is_eligible_the_task_fails_and_says_why(router, desk):
    router.remove_agent("billing")
    router.remove_agent("technical")
    task = await ask(desk, "about billing")
    assert state(task) == "failed"
    assert get_message_text(task.status.message)
    assert told(router) == []


async def test_a_task_that_is_cancelled_is_cancelled_there_and_records_nothing(router, network, http, cards):
    network.apps["desk.test"] = a2a_app(router, cards, "http://desk.test/")
    desk = await create_client("http://desk.test", ClientConfig(httpx_client=http, streaming=False, polling=True))
    async for event in desk.send_message(says("wait about technical")):
        task_id = event.task.id
    await network.workers["technical"].begun.wait()
    async with asyncio.timeout(20):
        while "router_sdk" not in MessageToDict((await desk.get_task(GetTaskRequest(id=task_id))).metadata):
            await asyncio.sleep(0.01)
    task = await desk.cancel_task(CancelTaskRequest(id=task_id))
    assert state(task) == "canceled"
    assert len(network.workers["technical"].cancelled) == 1
    assert told(router) == []


async def test_a_client_of_old_is_served(router, network, cards, http):
    network.apps["desk.test"] = a2a_app(router, cards, "http://desk.test/")
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "message/send",
        "params": {
            "message": {
                "role": "user",
                "kind": "message",
                "messageId": "m",
                "parts": [{"kind": "text", "text": "about billing"}],
            }
        },
    }
    answer = (await http.post("http://desk.test/", json=call)).json()
    assert answer["result"]["status"]["state"] == "completed"
    assert answer["result"]["metadata"]["router_sdk"]["agent"] == "billing"
    assert told(router) == [("billing", 1.0, "routed")]


async def test_an_agent_of_old_is_asked(router, network, cards, http):
    card = {
        "protocolVersion": "0.3.0",
        "name": "legacy",
        "description": "parcels",
        "url": "http://billing.test/",
        "version": "1",
        "capabilities": {"streaming": True},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "parcels", "description": "parcels", "tags": ["parcels"]}],
    }
    network.add_raw("legacy", card)
    cards.urls.append("http://legacy.test")
    await cards.refresh()
    network.apps["desk.test"] = a2a_app(router, cards, "http://desk.test/")
    desk = await create_client("http://desk.test", ClientConfig(httpx_client=http))
    task = await ask(desk, "parcels")
    assert (state(task), words(task)) == ("completed", "billing did it")
    assert told(router) == [("legacy", 1.0, "routed")]


async def test_tasks_at_once_are_told_of_each_for_itself(router, desk):
    names = ["billing", "technical"] * 10
    tasks = await asyncio.gather(*(ask(desk, f"about {name}") for name in names))
    assert [words(task) for task in tasks] == [f"{name} did it" for name in names]
    assert sorted(told(router)) == [("billing", 1.0, "routed")] * 10 + [("technical", 1.0, "routed")] * 10


async def test_an_outcome_that_cannot_be_recorded_does_not_keep_the_answer_back(router, network, desk, monkeypatch):
    async def raises(*given, **named):
        from router_sdk.errors import StoreUnavailableError

        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(router, "arecord", raises)
    assert state(await ask(desk, "about billing")) == "completed"


def test_no_try_at_all_is_refused(router):
    with pytest.raises(ValueError, match="tries"):
        RouterExecutor(router, None, tries=0)


async def test_a_client_made_from_the_card_works(desk, cards, http):
    card = (await http.get("http://desk.test/.well-known/agent-card.json")).json()
    assert {one["protocolVersion"] for one in card["supportedInterfaces"]} == {"1.0", "0.3"}
    client = ClientFactory(ClientConfig(httpx_client=http)).create(cards._known["http://billing.test"].card)
    assert state(await ask(client, "about billing")) == "completed"
