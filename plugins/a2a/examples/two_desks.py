"""Two agents that speak the protocol, in one program: the router reads their cards, and forwards tasks as an agent."""

import asyncio

import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_stream_response_text, new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    SendMessageRequest,
)
from router_sdk_a2a import CardAgents, a2a_app
from starlette.applications import Starlette
from starlette.routing import Host
from starlette.routing import Router as Hosts

from router_sdk import Router


class Desk(AgentExecutor):
    """Stands for a real agent."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer at once."""
        await event_queue.enqueue_event(new_task_from_user_message(context.message))
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await updater.add_artifact([Part(text=f"{self._name} took care of it")])
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Nothing takes long enough."""


def desk(name: str, matters: str) -> Starlette:
    """An agent at ``http://NAME.example``."""
    card = AgentCard(
        name=name,
        description=f"The {name} desk",
        version="1",
        supported_interfaces=[
            AgentInterface(url=f"http://{name}.example/", protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="desk", name=name, description=matters, tags=[name], examples=[matters])],
    )
    handler = DefaultRequestHandler(Desk(name), InMemoryTaskStore(), card)
    return Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])


async def main() -> None:
    """Ask the router's own agent twice."""
    hosts = Hosts([Host("billing.example", desk("billing", "invoices and refunds"))])
    hosts.routes.append(Host("shipping.example", desk("shipping", "parcels and delivery")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(hosts)) as http:
        with Router([], ["heuristic"], ":memory:", epsilon=0.0) as router:
            cards = CardAgents(router, ["http://billing.example", "http://shipping.example"], http)
            print("agents:", (await cards.refresh()).added)
            hosts.routes.append(Host("router.example", a2a_app(router, cards, "http://router.example/")))
            client = await create_client("http://router.example", ClientConfig(httpx_client=http))
            for number, text in enumerate(["where are my refunds", "my parcels"]):
                message = Message(role=Role.ROLE_USER, parts=[Part(text=text)], message_id=str(number))
                async for event in client.send_message(SendMessageRequest(message=message)):
                    if event.HasField("artifact_update"):
                        print(f"{text!r}:", get_stream_response_text(event))
            router.flush()
            print("learnt:", [(example.agent, example.reward) for example in router.examples])


if __name__ == "__main__":
    asyncio.run(main())
