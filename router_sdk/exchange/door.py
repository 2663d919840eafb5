"""What an import needs of a router: the door that every decision and outcome comes in by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from router_sdk.records import Decision, Outcome, Task
    from router_sdk.store.rows import Entry


class Observe(Protocol):
    """Makes a decision that somebody else made."""

    def __call__(
        self, task: Task, agent: str | None, at: float | None = None, decision_id: str | None = None
    ) -> Decision:
        """The decision; raises where its agent is unknown."""


class Check(Protocol):
    """Makes an entry of an outcome."""

    def __call__(
        self, decision: Decision, outcome: Outcome, outcome_id: str | None = None, *, at: float | None = None
    ) -> Entry:
        """The entry; raises where it cannot be logged."""


@dataclass(frozen=True, slots=True)
class Door:
    """One router's.

    Attributes:
        observe: Makes the decision of a task, an agent, a time and an id.
        check: Makes an entry of a decision, an outcome, that outcome's id, and when it came.
        strangers: Who of some names is no agent, and never was.
        welcome: Makes agents of names.
        recorded: Told how many outcomes are on disk now, and asked for none where nobody observes: the ids of their
            decisions, and the outcomes.
    """

    observe: Observe
    check: Check
    strangers: Callable[[Iterable[str]], list[str]]
    welcome: Callable[[Collection[str]], None]
    recorded: Callable[[int, Iterable[tuple[str, Outcome]]], None]
