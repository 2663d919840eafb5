"""Figures of learning one thing after another: what was forgotten, what was gained.

``R[i, j]`` is the accuracy on task ``j`` after learning tasks 0 to ``i``, in [0, 1]; ``R`` has the shape ``(T, T)``.
Above the diagonal stand tasks that are still to come: NaN where they were not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.held_out import summarised

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from router_sdk.evaluation.held_out import Answer, HeldOut


@dataclass(frozen=True, slots=True)
class ContinualFigures:
    """What a sequence of tasks left behind; differences are in [-1, 1].

    Attributes:
        average_accuracy: Mean accuracy over all tasks, at the end.
        average_incremental_accuracy: The same over the tasks so far, averaged over the steps.
        forgetting: What was lost of each earlier task's best.
        backward_transfer: What learning later tasks changed about earlier ones; below 0 is forgetting.
        forward_transfer: What was known of a task before it was learnt, above the baseline; None without one.
        gap_to_joint: How far below one fit on all tasks at once; None without it.
    """

    average_accuracy: float
    average_incremental_accuracy: float
    forgetting: float
    backward_transfer: float
    forward_transfer: float | None = None
    gap_to_joint: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


def continual_figures(
    accuracies: ArrayLike, *, joint: float | None = None, untrained: Sequence[float] | None = None
) -> ContinualFigures:
    """All figures at once.

    Args:
        accuracies: ``R``, shape ``(T, T)``.
        joint: Accuracy over all tasks of a fit on all of them at once.
        untrained: Accuracy on each task before anything was learnt, shape ``(T,)``.

    Raises:
        InvalidInputError: if a value that is needed is missing or outside [0, 1].
    """
    return ContinualFigures(
        average_accuracy=average_accuracy(accuracies),
        average_incremental_accuracy=average_incremental_accuracy(accuracies),
        forgetting=forgetting(accuracies),
        backward_transfer=backward_transfer(accuracies),
        forward_transfer=None if untrained is None else forward_transfer(accuracies, untrained),
        gap_to_joint=None if joint is None else gap_to_joint(accuracies, joint),
    )


def average_accuracy(accuracies: ArrayLike) -> float:
    """Mean accuracy over all tasks after the last one (Lopez-Paz & Ranzato, NeurIPS 2017)."""
    return float(_learnt(accuracies)[-1].mean())


def average_incremental_accuracy(accuracies: ArrayLike) -> float:
    """Mean over the steps of the accuracy on all tasks so far (Rebuffi et al., "iCaRL", CVPR 2017)."""
    matrix = _learnt(accuracies)
    return float(np.mean([row[: step + 1].mean() for step, row in enumerate(matrix)]))


def forgetting(accuracies: ArrayLike) -> float:
    """Mean over the earlier tasks of their best accuracy before the last step minus that at the end.

    Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018. 0 where there is one task.
    """
    matrix = _learnt(accuracies)
    last = len(matrix) - 1
    lost = [matrix[task:last, task].max() - matrix[last, task] for task in range(last)]
    return float(np.mean(lost)) if lost else 0.0


def backward_transfer(accuracies: ArrayLike) -> float:
    """Mean over the earlier tasks of the accuracy at the end minus that when they were learnt.

    Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017. 0 where there is one task.
    """
    matrix = _learnt(accuracies)
    earlier = matrix[-1, :-1] - np.diag(matrix)[:-1]
    return float(earlier.mean()) if len(earlier) else 0.0


def forward_transfer(accuracies: ArrayLike, untrained: Sequence[float]) -> float:
    """Mean over the later tasks of the accuracy just before they were learnt minus that of an untrained model.

    Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017. 0 where there is one task.
    """
    matrix = _square(accuracies)
    ahead, baseline = np.diag(matrix, 1), np.asarray(untrained, dtype=np.float64)
    if baseline.shape != (len(matrix),):
        raise InvalidInputError(f"forward transfer: give {len(matrix)} accuracies of an untrained model")
    _check(ahead)
    _check(baseline)
    return float((ahead - baseline[1:]).mean()) if len(ahead) else 0.0


def gap_to_joint(accuracies: ArrayLike, joint: float) -> float:
    """Accuracy of one fit on all tasks at once minus the average at the end.

    Some forgetting is only that more classes compete; this gap is not.
    """
    _check(np.array([joint]))
    return joint - average_accuracy(accuracies)


def accuracy_by_task(correct: Sequence[float], tasks: Sequence[int], count: int) -> NDArray[np.float64]:
    """One row of ``R``: mean of ``correct`` for each of ``count`` tasks, shape ``(count,)``; NaN where there is none.

    Args:
        correct: 1 or 0 per example, shape ``(n,)``.
        tasks: The task that each example belongs to, in ``range(count)``.
        count: How many tasks there are.
    """
    members = np.asarray(tasks, dtype=np.intp)
    sums = np.bincount(members, weights=np.asarray(correct, dtype=np.float64), minlength=count)
    sizes = np.bincount(members, minlength=count).astype(np.float64)
    row: NDArray[np.float64] = np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0)
    return row


def _square(accuracies: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(accuracies, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise InvalidInputError(f"accuracies: expected the shape (T, T), got {matrix.shape}")
    return matrix


def _learnt(accuracies: ArrayLike) -> NDArray[np.float64]:
    """The matrix, if everything that was learnt was measured."""
    matrix = _square(accuracies)
    _check(matrix[np.tril_indices(len(matrix))])
    return matrix


def _check(values: NDArray[np.float64]) -> None:
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise InvalidInputError("accuracies: values must be given and lie in [0, 1]")


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
