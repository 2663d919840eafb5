"""Below which confidence a strategy should hand a task on: what it earns there against what the next ones would.

Where both would choose the same agent nothing is at stake. Where they differ, each one's reward is known from labels,
or from the log where its choice was acted on, weighted by inverse propensity and self-normalised (Swaminathan &
Joachims, NeurIPS 2015). With too few of these the answer is "insufficient", and no threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.calibration import fit_calibrator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.evaluation.held_out import Answer

    Floats = NDArray[np.float64]

LEAST_ESS = 100.0
"""Effective sample size on either side below which nothing is said."""
SIGNIFICANT = 1.96
"""Standard errors of an interval's half, and by which a gain must be above 0."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the log says of one strategy's ``confidence_threshold``.

    Attributes:
        strategy: Whose.
        value: The best, of calibrated confidences in [0, 1]; None where the log does not tell.
        reason: Why it is that.
        tasks: Tasks that the strategy answered.
        differing: On how many of them the next ones would have chosen another agent.
        ess: Effective sample size behind what the next ones would have earned on these, the smaller of both sides.
        handed_on: Share of the tasks that would be handed on, in [0, 1].
        gain: Rewards more per task, less what handing on costs.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    strategy: str
    value: float | None
    reason: str
    tasks: int
    differing: int = 0
    ess: float = 0.0
    handed_on: float = 0.0
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)


def first_answers(members: Sequence[Mapping[str, Answer]], decision_ids: Sequence[str]) -> dict[str, Answer]:
    """What the first of several strategies says that has an answer, by decision."""
    found: dict[str, Answer] = {}
    for decision_id in decision_ids:
        for member in members:
            answer = member.get(decision_id)
            if answer is not None and answer.answered:
                found[decision_id] = answer
                break
    return found


def best_threshold(
    strategy: str, own: Sequence[Answer], rest: Mapping[str, Answer], *, cost_of_handing_on: float = 0.0
) -> Threshold:
    """The confidence below which handing on earns most.

    A wrong answer costs 1, a right one nothing, a grade what it lacks. Handing on costs ``cost_of_handing_on`` beside
    what the next ones lose; by default nothing, because they are asked within the same request.

    Args:
        strategy: Whose threshold.
        own: What it said of examples that it was not taught.
        rest: What those after it say of the same, by decision; those without an answer are left out.
        cost_of_handing_on: In wrong answers, at least 0.
    """
    told = [one for one in own if one.favourite is not None and one.confidence is not None]
    pairs = [(one.confidence, one.score) for one in told if one.score is not None]
    calibrator = fit_calibrator([pair[0] or 0.0 for pair in pairs], [pair[1] for pair in pairs])
    if calibrator is None:
        return Threshold(strategy, None, f"insufficient: {len(pairs)} of its answers are judged", len(told))
    sure = [calibrator(one.confidence or 0.0) for one in told]
    order = sorted((place for place, one in enumerate(told) if one.decision_id in rest), key=sure.__getitem__)
    mine = [told[place] for place in order]
    theirs = [rest[one.decision_id] for one in mine]
    differs = np.array([a.favourite != b.favourite for a, b in zip(mine, theirs, strict=True)], dtype=bool)
    count = int(differs.sum())
    kept, given = _Running.of(mine, differs), _Running.of(theirs, differs)
    whole = 0.0 if not count else float(min(kept.ess[-1], given.ess[-1]))
    if whole < LEAST_ESS:
        reason = f"insufficient: the next would choose otherwise on {count} tasks, and {whole:.0f} tell how that goes"
        return Threshold(strategy, None, reason, len(told), count, whole)
    apart = np.cumsum(differs)
    gain = apart * (given.mean - kept.mean) - cost_of_handing_on * np.arange(1, len(order) + 1)
    error = apart * np.sqrt(kept.error**2 + given.error**2)
    enough = (np.minimum(kept.ess, given.ess) >= LEAST_ESS) & (gain - SIGNIFICANT * error > 0.0)
    steps = np.append(np.diff([sure[place] for place in order]) > 0.0, True)  # equals stay together
    good = np.flatnonzero(enough & steps)
    if not len(good):
        reason = "the next ones do no better, however unsure it is"
        return Threshold(strategy, 0.0, reason, len(told), count, whole)
    last = int(good[np.argmax(gain[good])])
    above = sure[order[last + 1]] if last + 1 < len(order) else min(1.0, sure[order[last]] + 1e-6)
    value = (sure[order[last]] + above) / 2.0
    tasks = len(told)
    per_task, spread = float(gain[last]) / tasks, SIGNIFICANT * float(error[last]) / tasks
    return Threshold(
        strategy,
        round(value, 4),
        "below it the next ones earn more",
        tasks,
        count,
        float(min(kept.ess[last], given.ess[last])),
        (last + 1) / tasks,
        per_task,
        per_task - spread,
        per_task + spread,
    )


@dataclass(frozen=True, slots=True)
class _Running:
    """Self-normalised means over the first so many answers, where they differ: mean, its error, its sample size."""

    mean: Floats
    error: Floats
    ess: Floats

    @classmethod
    def of(cls, answers: Sequence[Answer], differs: NDArray[np.bool_]) -> _Running:
        known = np.array([one.score is not None for one in answers], dtype=bool) & differs
        weight = np.where(known, [one.weight for one in answers], 0.0)
        score = np.array([one.score or 0.0 for one in answers])
        total, squares = np.cumsum(weight), np.cumsum(weight**2)
        inner = np.maximum(total, math.ulp(1.0))
        mean = np.cumsum(weight * score) / inner
        second, cross = np.cumsum((weight * score) ** 2), np.cumsum(weight**2 * score)
        spread = np.maximum(second - 2.0 * mean * cross + mean**2 * squares, 0.0)
        return cls(mean, np.sqrt(spread) / inner, total**2 / np.maximum(squares, math.ulp(1.0)))
