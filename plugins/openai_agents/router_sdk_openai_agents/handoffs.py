"""Hand-offs that the router narrows: of thirty agents the model is offered the five that fit best."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from agents import Agent, Handoff, RunContextWrapper, handoff

from router_sdk import Router, Task
from router_sdk_openai_agents.conversation import text_of

_log = logging.getLogger(__name__)


def narrowed(
    router: Router, agents: Sequence[Agent[Any]], *, top_k: int = 5, **options: Any
) -> list[Handoff[Any, Any]]:
    """Hand-offs for ``Agent(handoffs=...)``, of which each run is offered those whom the router ranks highest.

    They are ranked by what the user said last. Nothing is logged by that: who takes over is the model's choice, and is
    learnt once it is known (``watch``, ``pick``). A run's offer stays as it is while the user says nothing more,
    whatever is learnt meanwhile: a model must not be refused what it was offered. Where there is nothing to rank by, or
    the router fails, all are offered; where it says that no agent fits, none is.

    Args:
        router: Who ranks. Its agents have the names of these.
        agents: Whom the model may hand over to.
        top_k: How many of them it is offered, at least 1.
        **options: For ``handoff``, such as ``input_filter``.

    Raises:
        ValueError: if an agent is none of the router's, or two agents' names give one tool name, of which the SDK would
            send the last alone.
    """
    if top_k < 1:
        raise ValueError(f"top_k: must be a whole number of at least 1, got {top_k!r:.60}")
    if "is_enabled" in options:
        raise ValueError("is_enabled: is what narrows the hand-offs; leave agents out instead")
    names = [agent.name for agent in agents]
    refuse_strangers(router, names)
    tools: dict[str, str] = {}
    for name, agent in zip(names, agents, strict=True):
        tool = Handoff.default_tool_name(agent)
        if tool in tools:
            raise ValueError(f"agents {tools[tool]!r} and {name!r} would both be the tool {tool!r}; rename one of them")
        tools[tool] = name
    offers = _Offers(router, frozenset(names), top_k)
    return [handoff(agent, is_enabled=offers.asked(agent.name), **options) for agent in agents]


def refuse_strangers(router: Router, names: Sequence[str]) -> None:
    """Raise where an agent of the SDK is none of the router's."""
    known = {agent.name for agent in router.agents}
    if strange := sorted(set(names) - known):
        raise ValueError(f"no agent is called {', '.join(strange)}; router.add_agent makes one")


class _Offers:
    """Who is offered in each run: ranked once for what the user said, whoever is asked about, and however often."""

    def __init__(self, router: Router, names: frozenset[str], top_k: int) -> None:
        self._router, self._names, self._top_k = router, names, top_k
        self._made: WeakKeyDictionary[RunContextWrapper[Any], tuple[str, frozenset[str]]] = WeakKeyDictionary()

    def asked(self, name: str) -> Callable[[RunContextWrapper[Any], Any], bool]:
        """Whether one of them is offered, in the form in which the SDK asks."""

        def is_enabled(context: RunContextWrapper[Any], agent: Any) -> bool:
            return name in self._of(context)

        return is_enabled

    def _of(self, context: RunContextWrapper[Any]) -> frozenset[str]:
        text = text_of(context.turn_input)
        made = self._made.get(context)
        if made is None or made[0] != text:
            made = self._made[context] = (text, self._ranked(text))
        return made[1]

    def _ranked(self, text: str) -> frozenset[str]:
        if not text.strip():
            return self._names
        others = {agent.name for agent in self._router.agents} - self._names
        try:
            ranked = self._router.rank(Task(text), top_k=self._top_k, exclude=others)
        except Exception:
            _log.exception("all hand-offs are offered: the router could not rank them")
            return self._names
        return frozenset(one.agent for one in ranked)
