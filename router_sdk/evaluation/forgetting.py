"""What a fit lost of the old while it learnt the new, on examples that it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from router_sdk.evaluation.held_out import summarised

if TYPE_CHECKING:
    from router_sdk.evaluation.held_out import Answer, HeldOut


@dataclass(frozen=True, slots=True)
class Change:
    """How the same held-out examples were answered before and after.

    Attributes:
        examples: How many could be judged: an effective sample size, where rewards are weighted.
        before: Mean score of what served, in [0, 1].
        after: Mean score of the candidate.
    """

    examples: float
    before: float
    after: float

    @property
    def gained(self) -> float:
        """Above 0 it got better; below, it forgot."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class ForgettingRow:
    """One agent's examples, or everybody's.

    Attributes:
        name: The label; None is "no agent fits", and everybody where ``overall``.
        old: Examples from before the fit before; None where there is none to judge.
        fresh: Examples since.
        overall: Whether it counts all labelled examples; where there are none, all that have a reward.
    """

    name: str | None
    old: Change | None
    fresh: Change | None
    overall: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gave."""
        old, fresh = (None if fields[key] is None else Change(**fields[key]) for key in ("old", "fresh"))
        return cls(fields["name"], old, fresh, fields["overall"])


def forgetting_table(before: HeldOut, after: HeldOut, fresh_after: int) -> tuple[ForgettingRow, ...]:
    """Compare two evaluations on the same examples, old and fresh apart: everybody first, then each label.

    Args:
        before: What served.
        after: The candidate.
        fresh_after: Position in the log that the fit before reached; what came later is fresh.
    """
    pairs = list(zip(before.answers, after.answers, strict=True))
    labels = sorted(
        {mine.label for mine, _ in pairs if mine.labelled and mine.score is not None},
        key=lambda name: (name is None, name or ""),
    )
    everybody = [pair for pair in pairs if pair[0].labelled] if labels else pairs
    rows: list[tuple[str | None, bool, Sequence[tuple[Answer, Answer]]]] = [(None, True, everybody)]
    rows += [(label, False, [one for one in pairs if one[0].labelled and one[0].label == label]) for label in labels]
    return tuple(
        ForgettingRow(
            name,
            old=_change([pair for pair in among if pair[0].seq <= fresh_after]),
            fresh=_change([pair for pair in among if pair[0].seq > fresh_after]),
            overall=overall,
        )
        for name, overall, among in rows
    )


def _change(pairs: Sequence[tuple[Answer, Answer]]) -> Change | None:
    before, after = (summarised([pair[side] for pair in pairs]) for side in (0, 1))
    if before.value is None or after.value is None:
        return None
    return Change(min(before.ess, after.ess), before.value, after.value)
