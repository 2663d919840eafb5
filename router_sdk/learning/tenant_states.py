"""What each tenant's own outcomes have taught: a state of a strategy for each of them, and all of them one fold.

A tenant's state begins with its first outcome in the log, learns what that tenant's decisions came to and nothing else,
and is given up where too many other tenants were taught since. So it depends on the log alone, like any other fold.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from router_sdk.errors import CorruptArtifactError, InvalidConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.records import AgentSet, Example
    from router_sdk.strategy import Strategy

_FILE = "tenants.json"


@dataclass(slots=True)
class TenantState:
    """One tenant's.

    Attributes:
        strategy: What its outcomes have taught.
        outcomes: Decisions of which it was taught how they went.
        born: Position in the log at which it began anew after it had been given up; 0 where it never was.
        early: Decisions up to there that it has been taught since.
    """

    strategy: Strategy
    outcomes: int = 0
    born: int = 0
    early: set[str] = field(default_factory=set)

    def lesson(self, example: Example) -> Example | None:
        """An example as this state must learn it: what it was not taught, it cannot take back.

        Returns:
            None where it only takes something back that was taught to a state before this one.
        """
        if example.decision_seq <= self.born and example.decision_id not in self.early:
            if example.withdrawn:
                return None
            self.early.add(example.decision_id)
            example = replace(example, revision=0, previous=None, previous_reward=None)
        self.outcomes += (example.previous is None) - example.withdrawn
        return example


class TenantStates:
    """The states of the tenants that were taught last.

    Read by requests and changed by the learner's thread. Decisions without a tenant are those of one tenant more.

    Args:
        strategy: Whose; it may have been taught something, and been fitted.
        most: How many tenants have a state; of more, the one goes whose last outcome is the longest ago.
        alone: Whether that strategy itself is taught nothing, and states can be made after it.

    Attributes:
        root: What states are made after: a strategy that is taught nothing.
        most: How many tenants have a state.
        given_up: How often one went.

    Raises:
        InvalidConfigError: if the strategy cannot be made a second time.
    """

    def __init__(self, strategy: Strategy, most: int, *, alone: bool) -> None:
        self.most, self.given_up = most, 0
        self._states: OrderedDict[str | None, TenantState] = OrderedDict()
        self._agents: AgentSet | None = None
        try:
            root = type(strategy)(strategy.config, strategy.services)
            if alone:
                root.close()
            self.root = strategy if alone else root
        except TypeError as error:
            raise InvalidConfigError(
                "tenancy: a state for each tenant takes a strategy that can be made again from its configuration and "
                f"services, see Strategy.__init__: {error}"
            ) from error

    def of(self, tenant: str | None) -> TenantState | None:
        """A tenant's state; None where it has none (yet, or any more)."""
        return self._states.get(tenant)

    def strategies(self) -> Iterator[Strategy]:
        """All states, of whomever."""
        return (state.strategy for state in list(self._states.values()))

    def prepare(self, agents: AgentSet) -> None:
        """Get every state ready for these agents, those that come later too."""
        self._agents = agents
        for strategy in self.strategies():
            strategy.prepare(agents)

    def _fresh(self) -> Strategy:
        strategy = self.root.untaught()
        if self._agents is not None:
            strategy.prepare(self._agents)
        return strategy

    # -- the fold

    def learn(self, examples: Sequence[Example]) -> None:
        """Teach each tenant's state what that tenant's decisions came to."""
        lots: dict[str | None, list[Example]] = {}
        for example in examples:
            tenant = example.task.tenant
            state = self._states.get(tenant)
            if state is None:
                while len(self._states) >= self.most:
                    gone, last = self._states.popitem(last=False)
                    lots.pop(gone, None)
                    self.given_up += 1
                    last.strategy.close()
                born = example.seq if self.given_up else 0
                state = self._states[tenant] = TenantState(self._fresh(), born=born)
            self._states.move_to_end(tenant)
            lesson = state.lesson(example)
            if lesson is not None:
                lots.setdefault(tenant, []).append(lesson)
        for tenant, lot in lots.items():
            self._states[tenant].strategy.learn(lot)

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what was learnt of these agents, by whomever."""
        for strategy in self.strategies():
            strategy.forget_agents(names)

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop memories of these decisions."""
        for strategy in self.strategies():
            strategy.forget_examples(decision_ids)

    def save(self, folder: Path) -> None:
        """Write every state into a folder of its own, and beside them whose they are, by when they were taught last."""
        told = []
        for number, (tenant, state) in enumerate(self._states.items()):
            own = folder / str(number)
            own.mkdir()
            state.strategy.save(own)
            told.append([tenant, state.outcomes, state.born, sorted(state.early)])
        (folder / _FILE).write_text(json.dumps({"given_up": self.given_up, "tenants": told}), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Inverse of ``save``.

        Raises:
            CorruptArtifactError: if a state is not valid; all are then as they were.
        """
        known = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        states: OrderedDict[str | None, TenantState] = OrderedDict()
        try:
            for number, (tenant, outcomes, born, early) in enumerate(known["tenants"]):
                states[tenant] = TenantState(self._fresh(), int(outcomes), int(born), set(early))
                states[tenant].strategy.load(folder / str(number))
            given_up = int(known["given_up"])
        except BaseException as fault:
            for state in states.values():
                state.strategy.close()
            if isinstance(fault, (KeyError, TypeError, ValueError)):
                raise CorruptArtifactError(f"the tenants' states are malformed: {fault}") from fault
            raise
        before, self._states, self.given_up = self._states, states, given_up
        for state in before.values():
            state.strategy.close()

    def begun_again(self) -> TenantStates:
        """The same before anybody was taught; states of both are made after one ``root``."""
        fresh = copy(self)
        fresh._states, fresh.given_up = OrderedDict(), 0
        return fresh

    def close(self) -> None:
        """Close every tenant's state, and leave ``root`` to whoever opened it."""
        for strategy in self.strategies():
            strategy.close()

    def report(self) -> dict[str, Any]:
        """How many there are, as JSON values."""
        return {"known": len(self._states), "given_up": self.given_up}
