"""Choices against labels or scores: who is taken for whom, and whether a confidence of .8 is right 8 times in 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from router_sdk.errors import InvalidInputError

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

DEFAULT_BINS = 15

Label = str | None | Mapping[str, float]
"""The agent that would be right, None for "no agent fits", or every agent's score in [0, 1]."""


class ReliabilityBin(NamedTuple):
    """Answers of about the same confidence.

    Attributes:
        answers: How many.
        confidence: Their mean confidence, in [0, 1].
        accuracy: Share of them that were right, or their mean reward.
    """

    answers: int
    confidence: float
    accuracy: float


def reliability(
    confidences: Sequence[float], correct: Sequence[float], *, bins: int = DEFAULT_BINS, adaptive: bool = False
) -> tuple[ReliabilityBin, ...]:
    """Bin answers by confidence, lowest first; empty bins are left out.

    Args:
        confidences: In [0, 1], shape ``(n,)``.
        correct: 1 or 0, or a reward in between, shape ``(n,)``.
        bins: How many.
        adaptive: Bins of equal count instead of equal width (Nixon et al., "Measuring Calibration in Deep Learning",
            CVPR Workshops 2019): where most confidences are high, equal widths put them all in one bin. Equal ones are
            in one bin all the same, that of the middle one of them.

    Raises:
        InvalidInputError: if lengths differ, there is no bin, or a value is outside [0, 1].
    """
    said, was = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if said.shape != was.shape or said.ndim != 1 or bins < 1:
        raise InvalidInputError("calibration: give as many confidences as outcomes, and at least one bin")
    if not all(np.all((values >= 0.0) & (values <= 1.0)) for values in (said, was)):
        raise InvalidInputError("calibration: confidences and outcomes must lie in [0, 1]")
    if adaptive:
        _, which, counts = np.unique(said, return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - counts / 2.0
        place = (middle * bins / max(len(said), 1)).astype(int)[which]
    else:
        place = np.clip(np.ceil(said * bins).astype(int) - 1, 0, bins - 1)
    parts = [np.flatnonzero(place == number) for number in range(bins)]
    return tuple(
        ReliabilityBin(len(part), float(said[part].mean()), float(was[part].mean())) for part in parts if len(part)
    )


def expected_calibration_error(
    confidences: Sequence[float], correct: Sequence[float], *, bins: int = DEFAULT_BINS, adaptive: bool = False
) -> float | None:
    """Mean distance between confidence and accuracy over the bins, each weighted by its answers; None without answers.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Arguments and errors are those of
    ``reliability``.
    """
    found = reliability(confidences, correct, bins=bins, adaptive=adaptive)
    if not found:
        return None
    return sum(part.answers * abs(part.confidence - part.accuracy) for part in found) / len(confidences)


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
    seen = {*labels, *(name for name, known in zip(chosen, given, strict=True) if known)}
    names = sorted(seen, key=lambda name: (name is None, name or ""))
    codes = {name: code for code, name in enumerate(names)}
    nothing = len(names)
    counts = np.zeros((nothing, nothing + 1), dtype=np.int64)
    for label, name, known in zip(labels, chosen, given, strict=True):
        counts[codes[label], codes[name] if known else nothing] += 1
    right, support, taken = counts.diagonal(), counts.sum(axis=1), counts[:, :nothing].sum(axis=0)
    precision, recall, f1 = _share(right, taken), _share(right, support), _share(2 * right, support + taken)
    return Classification(
        accuracy=int(right.sum()) / len(labels),
        macro_f1=float(f1.mean()),
        report=tuple(
            ClassFigures(name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, name in enumerate(names)
        ),
        confusion=Confusion(
            tuple(names), tuple(map(tuple, counts[:, :nothing].tolist())), tuple(counts[:, nothing].tolist())
        ),
    )


def _share(part: Counts, whole: Counts) -> Floats:
    """Part of a whole, 0 of nothing."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        size: Tasks judged.
        accuracy: Share of tasks whose favourite is the label, or one of the best by score.
        macro_f1: F1 averaged over the agents, or None where scores were given.
        mean_score: Mean score of the favourite (1 or 0 where labels were given).
        best_single: Mean score of the best fixed agent.
        best_single_agent: Who that is.
        oracle: Mean of each task's best score.
        mean_confidence: Mean confidence of the favourites, or None.
        ece: Expected calibration error of these confidences over 15 bins of equal width, or None.
        report: Precision, recall and F1 of each agent, or None where scores were given.
        confusion: Who was taken for whom, or None where scores were given.
    """

    size: int
    accuracy: float
    macro_f1: float | None
    mean_score: float
    best_single: float
    best_single_agent: str | None
    oracle: float
    mean_confidence: float | None
    ece: float | None = None
    report: tuple[ClassFigures, ...] | None = None
    confusion: Confusion | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


def judge(
    chosen: Sequence[str | None],
    labels: Sequence[Label],
    agents: Sequence[str],
    confidences: Sequence[float | None],
) -> Evaluation:
    """Compare choices with labels or scores.

    Args:
        chosen: The favourites, one per task.
        labels: What would have been right, one per task.
        agents: All agents, for the best fixed one.
        confidences: The favourites' confidences.

    Raises:
        InvalidInputError: if there are no tasks, lengths differ, or a score is not in [0, 1].
    """
    if not labels or len(chosen) != len(labels):
        raise InvalidInputError(f"evaluate: X and y must be as long as each other and not empty, y has {len(labels)}")
    scored = [_scores(label) for label in labels]
    got = [scores.get(name, 0.0) for name, scores in zip(chosen, scored, strict=True)]
    best = [max(scores.values(), default=0.0) for scores in scored]
    fixed = {name: sum(scores.get(name, 0.0) for scores in scored) / len(scored) for name in agents}
    single = max(fixed, key=lambda name: fixed[name], default=None)
    sure = [(given, mine) for given, mine in zip(confidences, got, strict=True) if given is not None]
    known = [given for given, _ in sure]
    named = [label for label in labels if not isinstance(label, Mapping)]
    classes = classify(chosen, named) if len(named) == len(labels) else None
    return Evaluation(
        size=len(labels),
        accuracy=sum(mine >= top for mine, top in zip(got, best, strict=True)) / len(labels),
        macro_f1=None if classes is None else classes.macro_f1,
        mean_score=sum(got) / len(got),
        best_single=fixed[single] if single is not None else 0.0,
        best_single_agent=single,
        oracle=sum(best) / len(best),
        mean_confidence=sum(known) / len(known) if known else None,
        ece=expected_calibration_error(known, [mine for _, mine in sure]),
        report=None if classes is None else classes.report,
        confusion=None if classes is None else classes.confusion,
    )


def _scores(label: Label) -> dict[str | None, float]:
    if not isinstance(label, Mapping):
        return {label: 1.0}
    for name, score in label.items():
        if not isinstance(score, (int, float)) or not 0.0 <= score <= 1.0:
            raise InvalidInputError(f"evaluate: the score of {name!r} must be a number in [0, 1], got {score!r:.60}")
    return dict(label.items())
