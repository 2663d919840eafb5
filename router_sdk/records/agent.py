"""Who can be chosen: one agent, and an ordered set of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, overload

from pydantic import AliasChoices, Field, StrictBool

from router_sdk.errors import InvalidAgentError
from router_sdk.records.fields import MAX_ITEMS, AgentName, Cost, Labels, Latency, Metadata, Share, Text
from router_sdk.records.record import Record


class Agent(Record):
    """A routable agent: an *arm* or *action* in bandit papers.

    Args:
        name: What decisions call it, such as ``billing`` or ``openai/gpt-5``; printable, at most 200 characters, not a
            path. It is kept in Unicode's form NFC.
        description: What it is good at, in a sentence or two; at most 1,000,000 characters.
        examples: Texts it should get, at most 10,000 of 1,000,000 characters each; ``utterances`` is accepted as
            another name for it.
        capabilities: What it can do, at most 10,000 of 200 characters each; a task's ``requires`` must be a subset.
        cost_usd: Expected cost of one call, in US dollars, at most 1e9; None is unknown, which is not free.
        latency_ms: Expected latency of one call, in milliseconds, at most 1e12; None is unknown.
        success_rate: Prior belief about its success, in [0, 1]; strategies give it a bounded weight.
        enabled: A disabled agent is known and reported, and gets no traffic.
        metadata: Anything else, up to 1,000,000 bytes as JSON; kept, and never interpreted by the core.

    Raises:
        InvalidAgentError: if a field is malformed, unknown or too large.
    """

    fault: ClassVar[type[InvalidAgentError]] = InvalidAgentError
    short_form: ClassVar[str] = "name"

    name: AgentName
    description: Text = ""
    examples: tuple[Text, ...] = Field(
        default=(), max_length=MAX_ITEMS, validation_alias=AliasChoices("examples", "utterances")
    )
    capabilities: Labels = frozenset()
    cost_usd: Cost | None = None
    latency_ms: Latency | None = None
    success_rate: Share | None = None
    enabled: StrictBool = True
    metadata: Metadata = Field(default_factory=dict)

    def __init__(self, name: str, **fields: Any) -> None:
        super().__init__(name=name, **fields)

    def __hash__(self) -> int:
        return hash(self.name)


def agents_of(values: Iterable[Agent | str | Mapping[str, Any]]) -> list[Agent]:
    """Turn what a caller passed into agents.

    Raises:
        InvalidAgentError: if it is no list, or one of them is no agent.
    """
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        raise InvalidAgentError(f"agents: expected a list of agents, got {type(values).__name__}")
    return [Agent.of(value) for value in values]


class AgentSet(Sequence[Agent]):
    """An immutable, ordered set of agents, shared by all the decisions made over it.

    The router interns these, so a strategy may cache by identity or by ``set_id``.

    Attributes:
        names: The agents' names, in order.
        positions: Name to position.
        set_id: 63-bit hash of the ordered names, equal in every process.
    """

    __slots__ = ("_agents", "names", "positions", "set_id")

    def __init__(self, agents: Sequence[Agent]) -> None:
        self._agents = tuple(agents)
        self.names: tuple[str, ...] = tuple(agent.name for agent in self._agents)
        self.positions: dict[str, int] = {name: i for i, name in enumerate(self.names)}
        if len(self.positions) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise InvalidAgentError(f"agents: names must be unique, {twice} stand more than once")
        digest = hashlib.blake2b("\x00".join(self.names).encode(), digest_size=8).digest()
        self.set_id: int = int.from_bytes(digest) >> 1

    @overload
    def __getitem__(self, index: int) -> Agent: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Agent, ...]: ...
    def __getitem__(self, index: int | slice) -> Agent | tuple[Agent, ...]:
        return self._agents[index]

    def __len__(self) -> int:
        return len(self._agents)

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents)

    def __contains__(self, item: object) -> bool:
        return (item.name if isinstance(item, Agent) else item) in self.positions

    def __repr__(self) -> str:
        return f"AgentSet({', '.join(self.names)})"

    def get(self, name: str) -> Agent | None:
        """The agent of that name, or None."""
        position = self.positions.get(name)
        return None if position is None else self._agents[position]


AgentLike = Agent | str | Mapping[str, Any]
"""An agent, its name, or a mapping of its fields."""
