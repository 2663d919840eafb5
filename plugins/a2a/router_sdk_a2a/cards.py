"""Agents from their cards: found, followed, and kept from traffic while they do not answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import httpx
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.card_resolver import parse_agent_card
from a2a.types import AgentCard
from a2a.utils.constants import AGENT_CARD_WELL_KNOWN_PATH
from google.protobuf.json_format import ParseError

from router_sdk import Agent, Router, RouterError
from router_sdk_a2a.work import RemoteTask, message_of

if TYPE_CHECKING:
    from a2a.types import Message, Task

    from router_sdk import Call

_MOST_BYTES = 1 << 20
"""Largest card that is read."""

_AT_ONCE = 8
"""How many cards are fetched beside each other."""

_SHORTEST_S, _LONGEST_S = 15.0, 600.0
"""How long an agent that does not answer is kept from traffic, the first time and at most; each further one doubles."""

_log = logging.getLogger(__name__)


class Discovered(NamedTuple):
    """What a look at the cards came to.

    Attributes:
        added: Names of agents that are new, or changed.
        removed: Whose address is in the list no more.
        refused: Addresses whose card was not taken, and why; an agent that came from there before stays, unhealthy.
    """

    added: list[str]
    removed: list[str]
    refused: dict[str, str]


class CardAgents:
    """The agents at a list of addresses, as agents of a router.

    A card's name and description are the agent's, with those of its skills; the skills' examples are its examples, and
    their tags its capabilities. Cards of the protocol's versions 0.3 and 1.0 are understood. What a card says nobody
    vouches for but the agent: list addresses that you trust.

    Args:
        router: Whose agents they become. It stays the caller's.
        urls: Where agents are: an agent's address, or that of its card (``….json``).
        http: Who fetches and calls; its headers, such as a key, go to every agent. It stays the caller's.
    """

    def __init__(self, router: Router, urls: Sequence[str], http: httpx.AsyncClient) -> None:
        self._router, self.urls, self._http = router, list(urls), http
        self._known: dict[str, _Card] = {}
        self._clients: dict[str, Client] = {}
        self._failures: dict[str, int] = {}
        self._unread: set[str] = set()

    async def refresh(self) -> Discovered:
        """Make the router's agents those whose cards are there now; of those that are as they were nothing is said.

        A card that was not changed is not sent again (``ETag``). One that cannot be had, or read, changes nothing but
        that its agent gets no traffic for a while. Agents that did not come from here are left alone, also where a card
        has the name of one of them. Call it at the start, and every few minutes.
        """
        gate = asyncio.Semaphore(_AT_ONCE)
        urls = list(dict.fromkeys(self.urls))
        found = await asyncio.gather(*(self._fetch(url, gate) for url in urls))
        return await asyncio.to_thread(self._take, dict(zip(urls, found, strict=True)))

    async def call(self, call: Call, task: str | Message) -> Task | Message | None:
        """Let the chosen agent do the task: ``async with router.handle(text) as call: await cards.call(call, text)``.

        ``handle`` records a success, the latency, and a failure where this raises. A task that failed or was rejected
        is a failure, too, and is returned. One that waits for input, or was cancelled, says nothing of how it went.

        Returns:
            The task as it ended, or the message that was answered instead of one.

        Raises:
            LookupError: if the chosen agent did not come from a card.
            A2AError: if the agent refuses the call, or it cannot be reached.
        """
        name = call.agent or ""
        remote = RemoteTask(self.client(name))
        try:
            async for _ in remote.sent(message_of(task)):
                pass
        except Exception:
            await self.heard(name, reached=False)
            raise
        call.result = remote.text
        call.report(**remote.told())
        await self.heard(name, reached=True)
        return remote.result

    def client(self, name: str) -> Client:
        """Who calls an agent.

        Raises:
            LookupError: if it did not come from a card.
        """
        card = next((one.card for one in self._known.values() if one.agent.name == name), None)
        if card is None:
            raise LookupError(f"{name!r} did not come from an agent's card")
        if name not in self._clients:
            self._clients[name] = ClientFactory(ClientConfig(httpx_client=self._http)).create(card)
        return self._clients[name]

    def failed(self, name: str) -> None:
        """An agent could not be reached: no traffic for a while, each time in a row twice as long."""
        count = self._failures[name] = self._failures.get(name, 0) + 1
        for_s = min(_SHORTEST_S * 2.0 ** (count - 1), _LONGEST_S)
        if any(agent.name == name for agent in self._router.agents):
            self._router.set_health(name, healthy=False, for_s=for_s)

    def answered(self, name: str) -> None:
        """An agent could be reached."""
        if self._failures.pop(name, 0) and any(agent.name == name for agent in self._router.agents):
            self._router.set_health(name, healthy=True)

    async def heard(self, name: str, *, reached: bool) -> None:
        """``answered`` or ``failed``, off the loop: strategies are prepared anew for those who are left."""
        if reached and name not in self._failures:
            return
        try:
            await asyncio.to_thread(self.answered if reached else self.failed, name)
        except Exception:
            _log.exception("whether %s gets traffic is as it was", name)

    async def _fetch(self, url: str, gate: asyncio.Semaphore) -> _Card | str:
        """The card at an address, or why there is none."""
        before = self._known.get(url)
        headers = {"If-None-Match": before.etag} if before is not None and before.etag else {}
        place = url if url.endswith(".json") else url.rstrip("/") + AGENT_CARD_WELL_KNOWN_PATH
        try:
            async with gate, self._http.stream("GET", place, headers=headers) as answer:
                if answer.status_code == 304 and before is not None:
                    return before
                answer.raise_for_status()
                body = b""
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        return f"its card has more than {_MOST_BYTES:,} bytes"
            card = parse_agent_card(json.loads(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{type(error).__name__}: {error}"
        except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:  # 1.2 lets some through
            return f"it is no agent's card: {error}"[:500]
        try:
            return _Card(answer.headers.get("etag"), card, agent_of(card, url))
        except RouterError as error:
            return str(error)

    def _take(self, found: Mapping[str, _Card | str]) -> Discovered:
        there = {agent.name: agent for agent in self._router.agents}
        mine = {one.agent.name for one in self._known.values()}
        came, refused = dict[str, Agent](), dict[str, str]()
        for url, card in found.items():
            before = self._known.get(url)
            if isinstance(card, str):
                refused[url] = card
                if before is not None:
                    came[before.agent.name] = before.agent
                    self._unread.add(url)
                    self.failed(before.agent.name)
            elif card.agent.name in came:
                refused[url] = f"another card of the list has the name {card.agent.name!r} already"
            elif card.agent.name in there and card.agent.name not in mine:
                refused[url] = f"an agent that did not come from here is called {card.agent.name!r}"
            else:
                came[card.agent.name] = card.agent
                if before is not card:
                    self._known[url] = card
                    self._clients.pop(card.agent.name, None)
                if url in self._unread:  # else a failure of its work, which its card says nothing about
                    self._unread.discard(url)
                    self.answered(card.agent.name)
        for url in self._known.keys() - found.keys():
            del self._known[url]
        added = [name for name, agent in came.items() if agent != there.get(name)]
        removed = sorted(mine - came.keys())
        for name in added:
            self._router.add_agent(came[name])
        for name in removed:
            self._clients.pop(name, None)
            if name in there:
                self._router.remove_agent(name)
        return Discovered(added, removed, refused)


class _Card(NamedTuple):
    """A card as it was last read."""

    etag: str | None
    card: AgentCard
    agent: Agent


def agent_of(card: AgentCard, url: str) -> Agent:
    """A card as an agent.

    Raises:
        RouterError: if it cannot be one, such as without a name.
    """
    words = [card.description, *(f"{skill.name}: {skill.description}" for skill in card.skills)]
    examples = dict.fromkeys(example for skill in card.skills for example in skill.examples if example.strip())
    about = {
        "url": url,
        "version": card.version,
        "skills": [skill.id for skill in card.skills],
        "protocols": sorted({interface.protocol_version for interface in card.supported_interfaces}),
    }
    return Agent(
        card.name,
        description="\n".join(part.strip() for part in words if part.strip()),
        examples=list(examples),
        capabilities={tag for skill in card.skills for tag in skill.tags if tag.strip()},
        metadata={"a2a": about},
    )
