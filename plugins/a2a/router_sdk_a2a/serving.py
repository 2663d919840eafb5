"""The router served as an agent: its card, which says what its agents can do, and the protocol's endpoint."""

from __future__ import annotations

from typing import Any

from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, TransportProtocol
from starlette.applications import Starlette

from router_sdk import Router, __version__
from router_sdk_a2a.cards import CardAgents
from router_sdk_a2a.executor import RouterExecutor


def a2a_app(
    router: Router,
    cards: CardAgents,
    url: str,
    *,
    name: str = "router",
    description: str = "Gives each task to the agent that does it best, and learns from how it went.",
    tasks: TaskStore | None = None,
    **options: Any,
) -> Starlette:
    """An application for any ASGI server: the card at ``/.well-known/agent-card.json``, JSON-RPC at ``/``.

    It speaks versions 1.0 and 0.3 of the protocol. There is no log-in: put it behind something that has one.

    Args:
        router: Who decides and learns. It stays the caller's.
        cards: Where its agents are; refresh it yourself.
        url: Where callers find this.
        name: What the agent is called.
        description: What it is for.
        tasks: Where tasks are kept; None keeps them in memory.
        **options: For ``RouterExecutor``.
    """
    card = AgentCard(
        name=name,
        description=description,
        version=__version__,
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding=TransportProtocol.JSONRPC, protocol_version=version)
            for version in (PROTOCOL_VERSION_1_0, PROTOCOL_VERSION_0_3)
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=_skills(router),
    )

    async def as_it_is_now(card: AgentCard) -> AgentCard:
        found = AgentCard()
        found.CopyFrom(card)
        del found.skills[:]
        found.skills.extend(_skills(router))
        return found

    handler = DefaultRequestHandler(RouterExecutor(router, cards, **options), tasks or InMemoryTaskStore(), card)
    routes = [
        *create_agent_card_routes(card, card_modifier=as_it_is_now),
        *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
    ]
    return Starlette(routes=routes)


def _skills(router: Router) -> list[AgentSkill]:
    """One for each agent. A required field that is empty would vanish from the card."""
    return [
        AgentSkill(
            id=agent.name,
            name=agent.name,
            description=agent.description or agent.name,
            tags=sorted(agent.capabilities) or [agent.name],
            examples=list(agent.examples),
        )
        for agent in router.agents
        if "a2a" in agent.metadata
    ]
