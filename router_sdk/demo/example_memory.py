"""Texts that went well become examples of the agent that got them: how a text strategy learns from outcomes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_sdk.router import Router

EVERY = 250
"""Tasks between two looks at the log."""
SETTLING = 100
"""Newest decisions that are left alone, because their first verdict may still be corrected."""
GROWTH = 1.5
"""An agent is published again once it has this many times as many examples: indexing its texts costs time."""
MOST_TEXTS = 4_000
"""Examples of all agents together."""


class ExampleMemory:
    """Reads joined outcomes from the log and adds agents again with the texts that they were right about.

    Args:
        router: Whose log is read, and whose agents grow.
        most: Examples that one agent may have; 0 leaves the agents as they are.
    """

    def __init__(self, router: Router, most: int) -> None:
        self._router = router
        self._most = min(most, MOST_TEXTS // len(router.agents))
        self._agents = {agent.name: agent for agent in router.agents}
        self._seen: set[str] = set()
        self._waiting: dict[str, list[str]] = defaultdict(list)
        self._kept = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report should say of it."""
        if not self._kept:
            return ()
        return (
            f"While the stream ran, {self._kept:,} texts that went well were added to the examples of the agent that got "
            f"them (at most {self._most} each, read from the log, through add_agent).",
        )

    def refresh(self, now: int) -> None:
        """Look at the log when it is time to, and publish the agents that have grown enough."""
        if self._most == 0 or now == 0 or now % EVERY:
            return
        for example in self._router.examples[-(EVERY + 2 * SETTLING) :][:-SETTLING]:
            if example.decision_id not in self._seen and example.agent is not None and example.reward == 1.0:
                self._waiting[example.agent].append(example.task.text)
            self._seen.add(example.decision_id)
        for name, texts in self._waiting.items():
            known = self._agents[name].examples
            grown = (*known, *texts)[: self._most]
            if len(grown) > len(known) and (len(grown) >= GROWTH * len(known) or len(grown) == self._most):
                self._agents[name] = self._agents[name].model_copy(update={"examples": grown})
                self._router.add_agent(self._agents[name])
                self._kept += len(grown) - len(known)
                texts.clear()
