"""What one outcome says, beside the vector of its task; agents by small numbers, so that arrays can speak of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import Example

NOBODY = 0
"""Code of "no agent fits"."""
UNKNOWN = -1
"""Code where nothing is known."""


class Names:
    """Codes in the order in which names came up; a code is never given twice.

    Args:
        names: Names that have a code already, in order; the first code, that of nobody, is implied.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._codes: dict[str | None, int] = {None: NOBODY}
        for name in names:
            self.code(name)

    def code(self, name: str | None) -> int:
        """The code of a name, a new one if it has none; None is nobody."""
        return self._codes.setdefault(name, len(self._codes))

    def known(self) -> dict[str | None, int]:
        """A copy of all codes by name."""
        return dict(self._codes)

    def listed(self) -> list[str]:
        """All names but nobody's, in the order of their codes."""
        return [name for name in self._codes if name is not None]

    def check(self, *listed: Iterable[int]) -> None:
        """See that codes that came from elsewhere stand for somebody.

        Raises:
            ValueError: if one does not.
        """
        if any(not NOBODY <= code < len(self) for codes in listed for code in codes):
            raise ValueError("an agent's code stands for nobody that is named")

    def __len__(self) -> int:
        return len(self._codes)


class Verdict(NamedTuple):
    """What one outcome says, agent by agent.

    Attributes:
        right: Who was right; None is nobody where there is a label.
        credit: How right, in [0, 1].
        wrong: Who failed, or None.
        blame: How badly, in [0, 1].
    """

    right: str | None
    credit: float
    wrong: str | None
    blame: float


@dataclass(slots=True, frozen=True, eq=False)
class Row:
    """One decision's outcome, ready to learn from.

    Attributes:
        decision_id: Which decision; a newer row of the same one replaces it.
        seq: Position in the log.
        vector: The task's embedding, float32 of shape ``(d,)``, of length 1.
        label: With ``labelled``, who would have been right; None means that nobody would.
        labelled: Whether a label is known.
        agent: Who acted, or None.
        reward: Reward of ``agent`` in [0, 1], or None while unknown.
        weight: What the outcome counts for.
        at: When it first arrived, in seconds since the epoch.
        synthetic: Whether it was generated rather than observed.
        before: What the revision before said, for whoever keeps sums and has to take it back.
        task_type: The task's type.
        eligible: Who could have been chosen; empty where that is not known.
        propensity: Probability with which ``agent`` was chosen; None where somebody else chose.
    """

    decision_id: str
    seq: int
    vector: NDArray[np.float32]
    label: str | None = None
    labelled: bool = False
    agent: str | None = None
    reward: float | None = None
    weight: float = 1.0
    at: float = 0.0
    synthetic: bool = False
    before: Row | None = None
    task_type: str = ""
    eligible: tuple[str, ...] = ()
    propensity: float | None = None

    def verdict(self, *, exclusive: bool) -> Verdict:
        """Who it says was right and who failed.

        With exclusive labels a label says it all; else the agent that acted is judged by its reward as well.
        """
        blamed, reward = (self.agent, self.reward) if self.rewarded else (None, 1.0)
        if self.labelled:
            beside = not exclusive and blamed is not None and blamed != self.label
            return Verdict(self.label, 1.0, blamed if beside else None, 1.0 - (reward or 0.0) if beside else 0.0)
        return Verdict(self.agent, reward or 0.0, blamed, 1.0 - (reward or 0.0))

    @property
    def rewarded(self) -> bool:
        """Whether the reward of somebody who acted is known."""
        return self.agent is not None and self.reward is not None

    @property
    def tells(self) -> bool:
        """Whether there is anything to learn from it."""
        return self.labelled or self.rewarded


def row_of(example: Example, vector: NDArray[Any], clip: float | None = None) -> Row:
    """The row that one revision of an example makes.

    Args:
        example: What happened.
        vector: Its task's embedding.
        clip: Most that one over the propensity may be; None weighs all alike.
    """
    vector = np.ascontiguousarray(vector, dtype=np.float32)
    weight = 1.0
    if clip is not None and not example.labelled and example.propensity:
        weight = min(1.0 / example.propensity, clip)
    before = None
    if example.previous is not None:
        said = example.previous
        before = Row(
            example.decision_id,
            example.seq,
            vector,
            said.correct_agent,
            said.labelled,
            example.agent,
            example.previous_reward,
            weight,
            example.first_at,
        )
    return Row(
        example.decision_id,
        example.seq,
        vector,
        example.label,
        example.labelled,
        example.agent,
        example.reward,
        weight,
        example.first_at,
        example.source == "synthetic",
        before,
        example.task_type,
        example.eligible,
        example.propensity,
    )


class Facts(NamedTuple):
    """What is known of some rows; arrays of one shape.

    Attributes:
        right: Code of who was right, that of nobody, or -1.
        credit: How right, in [0, 1].
        wrong: Code of who failed, or -1.
        blame: How badly, in [0, 1].
        rivalry: What a success says of the other agents, from 0, nothing, to 1, that they would have failed.
        weight: What the row counts for; 0 where it was dropped.
    """

    right: NDArray[np.int32]
    credit: NDArray[np.float32]
    wrong: NDArray[np.int32]
    blame: NDArray[np.float32]
    rivalry: NDArray[np.float32]
    weight: NDArray[np.float32]

    def take(self, places: Any) -> Facts:
        """The facts of chosen rows, in the shape of ``places``."""
        return Facts(*(column[places] for column in self))


def stack_facts(parts: Sequence[Facts]) -> Facts:
    """The facts of several blocks of rows, one after the other."""
    return Facts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
