"""How well a ranking agrees with labels or with scores of every agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.calibration import expected_calibration_error
from router_sdk.evaluation.classification import ClassFigures, Confusion, classify

Label = str | None | Mapping[str, float]
"""The agent that would be right, None for "no agent fits", or every agent's score in [0, 1]."""


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
