"""Which of a chain's strategies is asked first: a fold over the log, by what each one's favourites would have earned.

Strategies that learn and stand together at the front of the chain are all asked, and whom each prefers is logged with
the decision. So a decision says of each of them what it would have done before anything was known, and the outcome what
that would have earned: outright by a label, else by a doubly robust estimate (``numerics.policy_comparison``). Of each
type of task the one that earns most is asked first. That is deterministic given the state, so that a propensity is what
the strategy says it is. Where all prefer the same, nothing is at stake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.numerics.policy_comparison import PolicyComparison
from router_sdk.numerics.state_file import load_state, write_state

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from router_sdk.numerics.policy_selection import PolicyWeights
    from router_sdk.records import Example

SELECTION = "selection"
"""Name of its fold; no strategy may have it."""
FIRST = 0.98
"""What the first in the chain is trusted with before anything was seen; the others share the rest. Another one is asked
first once it is two standard errors ahead."""


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
        rest = (1.0 - FIRST) / (len(self.strategies) - 1)
        prior = (FIRST, *[rest] * (len(self.strategies) - 1))
        self._comparison = PolicyComparison(self.strategies, prior, in_spreads=False, every=1, cautious=True)

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
    def weights(self) -> PolicyWeights:
        """Share of each strategy, by task type: who has most is asked first."""
        return self._comparison.weights

    def report(self) -> dict[str, dict[str, float]]:
        """Share of each strategy by task type, and under ``""`` what a new type begins with."""
        return self._comparison.report()

    def learn(self, examples: Sequence[Example]) -> None:
        """Compare by each decision's first reward, or label."""
        for one in examples:
            preferred = one.favourites if one.propensity else {}
            called = self.called if one.decision_seq > self.since else self.strategies
            if len([name for name in called if name in preferred]) < 2:
                continue  # others stood in the chain then
            before = one.previous
            new = one.previous_reward is None and (before is None or not before.labelled)
            if self._comparison.asks(one, None, new=new):
                names = one.eligible
                place_of = {name: place for place, name in enumerate(names)}
                places = tuple(place_of.get(preferred.get(name, ""), -1) for name in called)
                # Of the agents themselves nothing is known here: what those earn whom the same ones prefer is.
                expected = [self._comparison.scale.current.mean] * len(names)
                self._comparison.note(one, None, places, expected)

    def forget_agents(self, names: Collection[str]) -> None:
        """Nothing to do: strategies are compared, not agents."""

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Nothing to do: no payload is kept."""

    def save(self, folder: Path) -> None:
        """Write the comparison."""
        write_state(folder, SELECTION, {}, {"comparison": self._comparison.state()})

    def load(self, folder: Path) -> None:
        """Inverse of ``save``.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written; all is then as it was.
        """
        load_state(folder, SELECTION, self._restore)

    def _restore(self, arrays: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        read = self.begun_again()
        read._comparison.restore(told["comparison"])
        self._comparison = read._comparison

    def begun_again(self) -> StrategySelection:
        """One like it that was taught nothing."""
        return StrategySelection(self.strategies, self.called, self.since)

    def close(self) -> None:
        """Nothing is open."""
