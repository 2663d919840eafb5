"""Which of a chain's strategies is asked first: a fold over the log, by what each one's favourites earned.

Strategies that learn and stand together at the front of the chain are all asked, and whom each prefers is logged with
the decision. So a decision says of each of them what it would have done before anything was known, and the outcome what
that earned or would have: of everybody by a label, else of who acted, weighed by inverse propensity
(``numerics.policy_lead``). Of each type of task the first in the chain answers until another one is ahead. That is
deterministic given the state, so that a propensity is what the strategy says it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.numerics.policy_lead import LeadComparison
from router_sdk.numerics.state_file import load_state, write_state

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from router_sdk.numerics.policy_lead import PolicyLead
    from router_sdk.records import Example

SELECTION = "selection"
"""Name of its fold; no strategy may have it."""


class StrategySelection:
    """Compares the strategies at the front of a chain, outcome by outcome.

    Changed by the learner's thread; requests read one reference.

    Args:
        strategies: Their names, in the chain's order; at least two.
        called: What decisions call them behind the position ``since``, where they are an experiment's; None: the same.
        since: Position in the log with which the experiment began: what it said of strategies of these names before
            is what its own begin with.
    """

    name = SELECTION
    state_version = 2

    def __init__(self, strategies: Sequence[str], called: Sequence[str] | None = None, since: int = 0) -> None:
        self.strategies, self.since = tuple(strategies), since
        self.called = self.strategies if called is None else tuple(called)
        self._comparison = LeadComparison(self.strategies)

    @classmethod
    def among(
        cls, strategies: Sequence[str], called: Sequence[str] | None = None, since: int = 0
    ) -> StrategySelection | None:
        """One for these; None where there are fewer than two."""
        return cls(strategies, called, since) if len(strategies) > 1 else None

    @property
    def settings(self) -> tuple[str, ...]:
        """What its state depends on beside the log."""
        return self.strategies if self.called == self.strategies else (*self.strategies, *self.called, str(self.since))

    @property
    def weights(self) -> PolicyLead:
        """Share of each strategy, by task type: who has most is asked first."""
        return self._comparison.lead

    def report(self) -> dict[str, dict[str, float]]:
        """Share of each strategy by task type, and under ``""`` what a new type begins with."""
        return self._comparison.report()

    def learn(self, examples: Sequence[Example]) -> None:
        """Compare by each decision's first reward, or label."""
        for one in examples:
            preferred = one.favourites if one.propensity else {}
            called = self.called if one.decision_seq > self.since else self.strategies
            favourites = [preferred.get(name) for name in called]
            known = _known(one)
            if known and sum(name is not None for name in favourites) > 1:  # else others stood in the chain then
                self._comparison.note(one.task_type, favourites, known, 1.0 if one.labelled else one.propensity or 1.0)

    def forget_agents(self, names: Collection[str]) -> None:
        """Nothing to do: strategies are compared, not agents."""

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Nothing to do: no payload is kept."""

    def save(self, folder: Path) -> None:
        """Write the comparison."""
        write_state(folder, SELECTION, {}, self._comparison.state())

    def load(self, folder: Path) -> None:
        """Inverse of ``save``.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written; all is then as it was.
        """
        load_state(folder, SELECTION, self._restore)

    def _restore(self, arrays: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        read = LeadComparison(self.strategies)
        read.restore(told)
        self._comparison = read

    def begun_again(self) -> StrategySelection:
        """One like it that was taught nothing."""
        return StrategySelection(self.strategies, self.called, self.since)

    def close(self) -> None:
        """Nothing is open."""


def _known(one: Example) -> dict[str, float]:
    """What is known for the first time of what eligible agents earn at a task; nothing where that is no news."""
    before = one.previous
    if one.previous_reward is not None or (before is not None and before.labelled) or len(one.eligible) < 2:
        return {}
    known = {name: float(name == one.label) for name in one.eligible} if one.labelled else {}
    if one.agent in one.eligible and one.reward is not None:
        known[str(one.agent)] = one.reward
    return known
