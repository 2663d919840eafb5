"""Which of a chain's stages is asked first, and whose verdict counts where several are asked about one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.records import Distribution, Skipped

if TYPE_CHECKING:
    from router_sdk.numerics.policy_selection import PolicyWeights

CLEAR, EVERY = 0.985, 8
"""Share from which a strategy is clearly the best of those compared, a little more than the first one has at the start;
those behind it are then asked one time in so many."""

Verdict = Distribution | Skipped
"""What comes of asking a stage: an answer, or why there is none."""

NO_FAVOURITES: Mapping[str, str] = {}


class Answer(NamedTuple):
    """What a chain says of a task.

    Attributes:
        drawn: What to draw from.
        skipped: Who was asked and does not answer, and why.
        favourites: Whom each of the compared strategies prefers, by its name, where several have an answer.
    """

    drawn: Distribution
    skipped: tuple[Skipped, ...]
    favourites: Mapping[str, str] = NO_FAVOURITES


def first_asked(
    weights: PolicyWeights | None, task_type: str, answers: Sequence[int], number: int = 0
) -> tuple[int, int]:
    """Place of the stage that earns most on such tasks, and how many are asked in any case.

    Where it is clear which that is, those behind it are asked about one task in some; those before it always, so that
    what they encode is logged. Whether they are asked changes no decision.

    Args:
        weights: What speaks for those at the front; None where they are not compared.
        task_type: Of the task.
        answers: How often each stage decided.
        number: The task's place in a batch.
    """
    if weights is None:
        return 0, 0
    shares = weights.of(task_type)
    best = shares.index(max(shares))
    due = shares[best] < CLEAR or (answers[best] + number) % EVERY == 0
    return best, len(shares) if due else best + 1


def settled(
    names: Sequence[str], verdicts: Sequence[Verdict], best: int
) -> tuple[tuple[int, Distribution] | None, tuple[Skipped, ...]]:
    """Whose verdict counts, the best one's if it is an answer, else the first that is; and why not those before it.

    Args:
        names: Of the stages that were asked, in the chain's order.
        verdicts: What each said.
        best: Place of the one that earns most.
    """
    given = {place: verdict for place, verdict in enumerate(verdicts) if isinstance(verdict, Distribution)}
    place = best if best in given else min(given, default=len(verdicts))
    skipped = tuple(
        verdict if isinstance(verdict, Skipped) else Skipped(name, f"{names[place]} earns more on tasks of this type")
        for name, verdict in zip(names[:place], verdicts, strict=False)
    )
    return (place, given[place]) if given else None, skipped


def favourites_of(names: Sequence[str], verdicts: Sequence[Verdict]) -> Mapping[str, str]:
    """Whom each stage prefers that has an answer, where several have one."""
    given = [(name, one) for name, one in zip(names, verdicts, strict=True) if isinstance(one, Distribution)]
    if len(given) < 2:
        return NO_FAVOURITES
    return {name: one.agents.names[one.favourite] for name, one in given if one.favourite >= 0}
