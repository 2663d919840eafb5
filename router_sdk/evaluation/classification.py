"""Choices against labels, class by class: who is taken for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from router_sdk.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How well one class was recognised.

    Attributes:
        name: The agent; None is "no agent fits".
        precision: Share of its choices that were right; 0 where it was never chosen.
        recall: Share of its tasks that it got; 0 where it has none.
        f1: Their harmonic mean.
        support: Tasks whose label it is.
    """

    name: str | None
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each label met each choice.

    Attributes:
        names: The classes, sorted; None, "no agent fits", is the last.
        counts: Rows are labels, columns are choices, shape ``(k, k)``.
        unanswered: For each label, tasks on which nothing was chosen, shape ``(k,)``.
    """

    names: tuple[str | None, ...]
    counts: tuple[tuple[int, ...], ...]
    unanswered: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gave, also after a trip through JSON."""
        counts = tuple(tuple(row) for row in fields["counts"])
        return cls(tuple(fields["names"]), counts, tuple(fields["unanswered"]))


@dataclass(frozen=True, slots=True)
class Classification:
    """Choices against labels.

    Attributes:
        accuracy: Share of choices that are the label.
        macro_f1: Mean F1 over the classes, each counting the same.
        report: Figures of each class.
        confusion: Who was taken for whom.
    """

    accuracy: float
    macro_f1: float
    report: tuple[ClassFigures, ...]
    confusion: Confusion


def classify(
    chosen: Sequence[str | None], labels: Sequence[str | None], answered: Sequence[bool] | None = None
) -> Classification:
    """Compare choices with labels.

    The classes are those that occur among either. What was not answered is wrong, and no class's false choice.

    Args:
        chosen: One choice per task; None is "no agent fits".
        labels: One label per task.
        answered: Whether anything was chosen; by default always.

    Raises:
        InvalidInputError: if there is no task, or lengths differ.
    """
    given = [True] * len(chosen) if answered is None else answered
    if not labels or not len(chosen) == len(labels) == len(given):
        raise InvalidInputError(f"choices and labels must be as many and not none, there are {len(labels)} labels")
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    seen = {*labels, *(name for name, known in zip(chosen, given, strict=True) if known)}
    names = sorted(seen, key=lambda name: (name is None, name or ""))
    codes = {name: code for code, name in enumerate(names)}
    nothing = len(names)
    truth = [codes[label] for label in labels]
    choices = [codes[name] if known else nothing for name, known in zip(chosen, given, strict=True)]
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, choices, labels=range(nothing), zero_division=0.0
    )
    counts = confusion_matrix(truth, choices, labels=range(nothing + 1))[:nothing].tolist()
    return Classification(
        accuracy=sum(row[code] for code, row in enumerate(counts)) / len(labels),
        macro_f1=float(f1.mean()),
        report=tuple(
            ClassFigures(name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, name in enumerate(names)
        ),
        confusion=Confusion(
            tuple(names), tuple(tuple(row[:nothing]) for row in counts), tuple(row[nothing] for row in counts)
        ),
    )
