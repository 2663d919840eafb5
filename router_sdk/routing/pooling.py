"""Who answers for a tenant: its own state, what all have taught, or both.

Two answers are one by a linear opinion pool (Stone, "The Opinion Pool", Annals of Mathematical Statistics 1961): the
probabilities are averaged, the tenant's own with the weight n / (n + m), where n of its decisions have an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router_sdk.strategy import Proposal

if TYPE_CHECKING:
    from router_sdk.learning.tenant_states import TenantState, TenantStates
    from router_sdk.records import AgentSet, Task
    from router_sdk.strategy import RouteContext, Strategy


TAKEOVER = {"separate": 0.0, "prior": 30.0}
"""By ``tenancy``: outcomes after which a tenant's own state counts as much as what all have taught."""


class Tenants:
    """A strategy's answer to each tenant.

    Args:
        states: What each tenant's own outcomes have taught.
        shared: Answers where there is no such state, and beside it while that is young.
        takeover: Outcomes m after which a tenant's own state counts half; with 0 it answers alone from the first.
    """

    __slots__ = ("_shared", "_takeover", "states")

    def __init__(self, states: TenantStates, shared: Strategy, takeover: float) -> None:
        self.states, self._shared, self._takeover = states, shared, takeover

    def beside(self, shared: Strategy) -> Tenants:
        """The same states, beside another version of what all have taught."""
        return Tenants(self.states, shared, self._takeover)

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """What the tenant's state and what all have taught say together."""
        own = self.states.of(task.tenant)
        if own is None:
            return self._shared.propose(task, agents, context)
        weight = self._weight(own)
        mine = own.strategy.propose(task, agents, context)
        return mine if weight == 1.0 else pooled(mine, weight, self._shared.propose(task, agents, context))

    def propose_batch(
        self, tasks: Sequence[Task], agents: AgentSet, contexts: Sequence[RouteContext]
    ) -> list[Proposal | None]:
        """``propose`` for many tasks; those of one tenant are put to its state together."""
        answers: list[Proposal | None] = [None] * len(tasks)
        states = {tenant: self.states.of(tenant) for tenant in {task.tenant for task in tasks}}
        weights = {tenant: 0.0 if state is None else self._weight(state) for tenant, state in states.items()}

        def ask(strategy: Strategy, places: Sequence[int]) -> list[Proposal | None]:
            given = strategy.propose_batch([tasks[i] for i in places], agents, [contexts[i] for i in places])
            if len(given) != len(places):
                raise ValueError(f"propose_batch gave {len(given)} answers for {len(places)} tasks")
            return given

        for tenant, state in states.items():
            if state is not None:
                places = [i for i, task in enumerate(tasks) if task.tenant == tenant]
                for i, mine in zip(places, ask(state.strategy, places), strict=True):
                    answers[i] = mine
        together = [i for i, task in enumerate(tasks) if weights[task.tenant] < 1.0]
        if together:
            for i, theirs in zip(together, ask(self._shared, together), strict=True):
                weight = weights[tasks[i].tenant]
                answers[i] = pooled(answers[i], weight, theirs) if weight else theirs
        return answers

    def _weight(self, own: TenantState) -> float:
        outcomes = max(1, own.outcomes)
        return outcomes / (outcomes + self._takeover)


def pooled(mine: Proposal | None, weight: float, theirs: Proposal | None) -> Proposal | None:
    """Two proposals over the same agents as one; where one of them abstains, the other.

    Where one says that no agent fits, the one with more weight decides.

    Args:
        mine: One of them.
        weight: Its weight, in [0, 1].
        theirs: The other.
    """
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    if mine.no_agent_fits or theirs.no_agent_fits:
        return mine if weight >= 0.5 else theirs
    probabilities = _mixed(mine.probabilities, weight, theirs.probabilities)
    scores = None
    if mine.scores is not None and theirs.scores is not None and mine.scores.keys() == theirs.scores.keys():
        scores = _mixed(mine.scores, weight, theirs.scores)
    confidence = None
    if mine.confidence is not None or theirs.confidence is not None:
        favourite = max(probabilities, key=probabilities.__getitem__)
        confidence = weight * _chance(mine, favourite) + (1.0 - weight) * _chance(theirs, favourite)

    def evidence() -> Mapping[str, Any]:
        return {"weight_of_own": round(weight, 6), "own": _evidence(mine), "shared": _evidence(theirs)}

    return Proposal(probabilities, scores, confidence, evidence)


def _mixed(mine: Mapping[str, float], weight: float, theirs: Mapping[str, float]) -> dict[str, float]:
    return {name: weight * float(value) + (1.0 - weight) * float(theirs[name]) for name, value in mine.items()}


def _chance(proposal: Proposal, agent: str) -> float:
    """What a proposal gives of an agent's chance: its confidence in its own favourite, of another the probability."""
    probability = float(proposal.probabilities[agent])
    favours = probability >= max(proposal.probabilities.values())
    return float(proposal.confidence) if favours and proposal.confidence is not None else probability


def _evidence(proposal: Proposal) -> Mapping[str, Any]:
    found = proposal.evidence() if callable(proposal.evidence) else proposal.evidence
    return {} if found is None else dict(found)
