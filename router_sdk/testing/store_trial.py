"""What checks of a store are given: an empty one, and short words for what they do to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from router_sdk.records import Agent, AgentSet, Decision, Distribution, Outcome, Task
from router_sdk.rewards import OutcomeReward
from router_sdk.store import Store
from router_sdk.store.identity import new_id
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from router_sdk.engine import Connection, Engine
    from router_sdk.store.tail import LogTail

T = TypeVar("T")

AGENTS = AgentSet([Agent("first"), Agent("second")])


class StoreTrial:
    """One check's store.

    Args:
        location: Its name; nothing is in it.
        folder: For files of the check.
        engines: See ``check_store``.

    Attributes:
        store: Opened.
    """

    def __init__(self, location: str, folder: Path, engines: Mapping[str, type[Engine] | str] | None = None) -> None:
        self.location, self.folder, self._engines = location, folder, engines
        self._opened: list[Store] = []
        self.store = self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for store in self._opened:
            store.close()

    def open(self, **options: Any) -> Store:
        """The same store once more, as another process has it."""
        self._opened.append(Store(self.location, engines=self._engines, **options))
        return self._opened[-1]

    def decision(self, task: Task | None = None, agent: str = "first", at: float | None = None) -> Decision:
        """One that is not logged yet."""
        drawn = Distribution(AGENTS, (0.75, 0.25), 0, 0.5, None, None, "check", None, 0.02, None)
        moment = time.time() if at is None else at
        return Decision(new_id(moment), agent, task or Task("a text"), moment, 0.75, False, drawn, "routed")

    def decide(self, task: Task | None = None, store: Store | None = None, **fields: Any) -> Decision:
        """One that is."""
        decision = self.decision(task, **fields)
        (store or self.store).writer.append([Entry(decision=decision)])
        return decision

    def entry(self, decision: Decision | str, outcome_id: str | None = None, **fields: Any) -> Entry:
        """An outcome as the writer takes it."""
        decision_id = decision if isinstance(decision, str) else decision.decision_id
        outcome = Outcome(**fields)
        return self.store.entry(decision_id, outcome, outcome.signals(), outcome_id=outcome_id)

    def tell(self, decision: Decision | str, outcome_id: str | None = None, **fields: Any) -> None:
        """Log an outcome."""
        self.store.writer.append([self.entry(decision, outcome_id, **fields)])

    def ask(self, work: Callable[[Connection], T]) -> T:
        """What the log says."""
        return self.store.reader.query(work)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What a statement gives."""
        return self.ask(lambda connection: connection.execute(query, values).fetchall())

    def tail(self) -> LogTail:
        """A reader with a cursor; close it."""
        return self.store.tail(OutcomeReward())


def require(holds: object, words: str) -> None:
    """Raise where something does not hold.

    Raises:
        AssertionError: with these words.
    """
    if not holds:
        raise AssertionError(words)
