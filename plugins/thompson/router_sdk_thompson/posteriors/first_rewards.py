"""Rewards that are the first of their decisions, on tasks that are a text and nothing else: nearly all of most logs.

They are learnt from in columns, to the bits of one by one: of such an outcome everything is known beforehand, and no
object is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class FirstReward(NamedTuple):
    """One of them, for what asks of an ``Example`` no more than this."""

    decision_id: str
    task_type: str
    eligible: tuple[str, ...]
    agent: str | None
    reward: float | None
    propensity: float
    at: float

    @property
    def first_at(self) -> float:
        """When it was first heard of: just now."""
        return self.at

    @property
    def revision(self) -> int:
        """It is the first thing known."""
        return 0

    @property
    def previous(self) -> None:
        """Nothing was known before."""

    @property
    def labelled(self) -> bool:
        """It names nobody."""
        return False

    @property
    def label(self) -> None:
        """It names nobody."""


class FirstRewards(NamedTuple):
    """Many, oldest first, in columns of equal length.

    Attributes:
        decision_id: Which decisions.
        task_type: Types of the tasks.
        eligible: Names of the agents that could have been chosen.
        agent: Who acted; None where it was "no agent fits".
        reward: In [0, 1]; None where nothing is known.
        propensity: Probability with which the agent was chosen.
        at: The log's time.
        vector: What an encoder made of the texts.
        others: What to expect of the other agents if it is a success; None where nothing follows. It is known once
            the outcomes are asked for (``PolicyComparison.ask_first``).
    """

    decision_id: Sequence[str]
    task_type: Sequence[str]
    eligible: Sequence[tuple[str, ...]]
    agent: Sequence[str | None]
    reward: Sequence[float | None]
    propensity: Sequence[float]
    at: Sequence[float]
    vector: Sequence[NDArray[Any]] | NDArray[Any]
    others: list[float | None]

    def one(self, place: int) -> FirstReward:
        """That of one place."""
        return FirstReward(
            self.decision_id[place],
            self.task_type[place],
            self.eligible[place],
            self.agent[place],
            self.reward[place],
            self.propensity[place],
            self.at[place],
        )
