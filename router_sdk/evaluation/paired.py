"""A candidate and what serves on the same held-out examples: how far they lie apart, and how sure that is.

Where labels are known, two scores differ by 1, 0 or -1 on each example. Where a reward alone is known, each side has a
self-normalised estimate (Swaminathan & Joachims, NeurIPS 2015): the very values that the figures of a fit show, so that
the gain is their difference. What each example adds to both estimates, to first order, is subtracted before it varies:
what both have in common cancels out, as in any paired comparison.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk.evaluation.classification import DEFAULT_BINS
from router_sdk.evaluation.held_out import SMALLEST_CHANCE, summarised
from router_sdk.evaluation.intervals import TWO_SIDED, clustered_error, student_t
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.evaluation.held_out import Answer, HeldOut

RECENT = 300
"""Newest held-out examples that say how a candidate does now; more where more have come since the fit before."""
OVERTURNED = 5
"""Fresh labels that it takes to say that old ones of an agent's do not hold any more."""
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Gain:
    """How much more a candidate earns than what serves; rewards are in [0, 1], differences in [-1, 1].

    Attributes:
        pairs: Examples that say something about either side.
        ess: Effective sample size, the smaller of both sides.
        before: Mean score of what serves.
        after: Mean score of the candidate.
        error: Standard error of the difference, by session. A tie proves as much as its number of examples does: half
            a win and half a loss are thought to be there as well (Agresti & Min, "Simple improved confidence intervals
            for comparing matched proportions", Statistics in Medicine 2005).
        freedom: Degrees of freedom of the error; 0 where all examples are of one session.
    """

    pairs: int
    ess: float
    before: float
    after: float
    error: float
    freedom: int

    @property
    def mean(self) -> float:
        """Above 0 the candidate is better."""
        return self.after - self.before

    def at_most(self, share: float = TWO_SIDED) -> float:
        """What the gain does not exceed, with a confidence of ``share``."""
        return 1.0 if not self.freedom else min(1.0, self.mean + student_t(self.freedom, share) * self.error)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.at_most()

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return -1.0 if not self.freedom else max(-1.0, self.mean - student_t(self.freedom) * self.error)

    def numbers(self) -> dict[str, float]:
        """It as evidence of a check."""
        sizes = {"examples": self.pairs, "effective_examples": self.ess}
        return {**sizes, "before": self.before, "after": self.after, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        interval = f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        examples = counted(round(self.ess), "example")
        return f"{self.after:.3f} against {self.before:.3f} of what serves, {interval}, on {examples}"


@dataclass(frozen=True, slots=True)
class AgentGain:
    """One agent's part of the examples.

    Attributes:
        agent: Whose label it is; without labels, whom what serves would choose. None is "no agent fits".
        share: Its part of the examples that could be judged, in [0, 1].
        gain: On these.
    """

    agent: str | None
    share: float
    gain: Gain


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidences were off, of labelled examples that both sides answered.

    Attributes:
        examples: How many.
        before: Expected calibration error of what serves, over 15 bins.
        after: The candidate's.
        low: Lower end of the 95 % interval of the difference, by a bootstrap over sessions.
    """

    examples: int
    before: float
    after: float
    low: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """What two evaluations on the same examples say of each other.

    Attributes:
        recent: On the newest examples; None where one side could not be judged.
        agents: Agent by agent, on all examples.
        forgotten: On labelled examples from before the fit before; None where there are none.
        overturned: Examples that were set aside: fresh labels contradict what theirs say.
        divergence: Mean Kullback-Leibler divergence of the candidate's probabilities from those of what serves, in
            nats, on the newest examples; None where none was answered by both.
        calibration: None where no labelled example was answered by both.
    """

    recent: Gain | None
    agents: tuple[AgentGain, ...]
    forgotten: Gain | None
    overturned: int
    divergence: float | None
    calibration: Calibration | None


class _Pair(NamedTuple):
    before: Answer
    after: Answer


_Pairs = Sequence[_Pair]


def compare(before: HeldOut, after: HeldOut, fresh_after: int, recent: int = RECENT) -> PairedComparison:
    """Compare two evaluations on the same examples.

    A drift that contradicts old labels makes who follows it wrong by these. So old examples that what serves gives to
    their agent are set aside, where of the fresh ones that it still gives to it more than half are labelled with one
    other, and its own have become less than half as frequent: where others' tasks only come in addition, they have not.

    Args:
        before: What serves.
        after: The candidate.
        fresh_after: Position in the log that the fit before reached; what came later is fresh.
        recent: How many of the newest examples say how it does now.
    """
    pairs = sorted(map(_Pair, before.answers, after.answers), key=lambda pair: pair.before.seq)
    old = [pair for pair in pairs if pair.before.seq <= fresh_after]
    fresh = pairs[len(old) :]
    gone = _overturned([pair.before for pair in old], [pair.before for pair in fresh])
    old = [pair for pair in old if not any(_is_right(pair.before, agent) for agent in gone)]
    held = [*old, *fresh]
    newest = held[-max(recent, len(fresh)) :]
    return PairedComparison(
        recent=gain_of(newest),
        agents=_by_agent(held),
        forgotten=gain_of([pair for pair in old if pair.before.labelled]),
        overturned=len(pairs) - len(held),
        divergence=_divergence(newest),
        calibration=_calibration(held),
    )


def gain_of(pairs: Sequence[tuple[Answer, Answer]]) -> Gain | None:
    """What a candidate gains on some examples, each with the answers of what serves and of the candidate.

    Returns:
        None where one side could not be judged on any.
    """
    told = [pair for pair in pairs if pair[0].score is not None or pair[1].score is not None]
    before, after = (summarised([pair[side] for pair in told]) for side in (0, 1))
    if before.value is None or after.value is None:
        return None
    influences = _influences([pair[1] for pair in told], after.value)
    influences -= _influences([pair[0] for pair in told], before.value)
    clusters = _clusters([pair[0] for pair in told])
    freedom, ess = int(clusters.max()), min(before.ess, after.ess)
    error = clustered_error(influences, clusters) if freedom else 1.0
    return Gain(len(told), ess, before.value, after.value, math.hypot(error, 1.0 / (ess + 2.0)), freedom)


def _influences(answers: Sequence[Answer], value: float) -> NDArray[np.float64]:
    """What each answer adds to a weighted mean, to first order."""
    weights = np.array([0.0 if one.score is None else one.weight for one in answers])
    scores = np.array([one.score or 0.0 for one in answers])
    influences: NDArray[np.float64] = weights * (scores - value) / weights.sum()
    return influences


def _clusters(answers: Sequence[Answer]) -> NDArray[np.intp]:
    names = [f"of {one.decision_id}" if one.session is None else f"in {one.session}" for one in answers]
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


def _overturned(old: Sequence[Answer], fresh: Sequence[Answer]) -> set[str]:
    """Agents whose tasks are another's now: of those that what serves gives to them, most are, and few their own."""
    given: dict[str, Counter[str | None]] = {}
    for one in fresh:
        if one.labelled and one.favourite is not None:
            given.setdefault(one.favourite, Counter())[one.label] += 1
    return {
        agent
        for agent, labels in given.items()
        if (whole := labels.total()) >= OVERTURNED
        and max((count for label, count in labels.items() if label != agent), default=0) > whole / 2
        and labels[agent] / _labelled(fresh) < sum(_is_right(one, agent) for one in old) / _labelled(old) / 2
    }


def _labelled(answers: Sequence[Answer]) -> int:
    return max(1, sum(one.labelled for one in answers))


def _is_right(answer: Answer, agent: str) -> bool:
    return answer.labelled and answer.label == agent == answer.favourite


def _by_agent(pairs: _Pairs) -> tuple[AgentGain, ...]:
    """By label; where no label is known, by whom what serves would choose."""
    labelled = [pair for pair in pairs if pair.before.labelled and pair.before.score is not None]
    among: dict[str | None, list[_Pair]] = {}
    for pair in labelled or pairs:
        if labelled or pair.before.answered:
            among.setdefault(pair.before.label if labelled else pair.before.favourite, []).append(pair)
    whole = sum(map(len, among.values()))
    named = sorted(among.items(), key=lambda each: (each[0] is None, each[0] or ""))
    gains = ((agent, len(part), gain_of(part)) for agent, part in named)
    return tuple(AgentGain(agent, count / whole, gain) for agent, count, gain in gains if gain is not None)


def _divergence(pairs: _Pairs) -> float | None:
    """What is left of a distribution's sum is the chance that nobody gets the task."""
    found = []
    for before, after in pairs:
        if before.chances is not None and after.chances is not None:
            old, new = (np.array([*one, max(0.0, 1.0 - math.fsum(one))]) for one in (before.chances, after.chances))
            old, new = (np.maximum(one, SMALLEST_CHANCE) / np.maximum(one, SMALLEST_CHANCE).sum() for one in (old, new))
            found.append(float(np.sum(old * np.log(old / new))))
    return math.fsum(found) / len(found) if found else None


def _calibration(pairs: _Pairs) -> Calibration | None:
    sure = [pair for pair in pairs if pair.before.labelled and None not in (*map(_confidence, pair), pair.before.score)]
    if not sure:
        return None
    clusters = _clusters([pair.before for pair in sure])
    errors = [_Errors([pair[side] for pair in sure]) for side in (0, 1)]
    before, after = (one(np.ones(len(sure))) for one in errors)
    rng, count = np.random.default_rng(0), int(clusters.max()) + 1
    differences = []
    for _ in range(_RESAMPLES):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[clusters].astype(np.float64)
        differences.append(errors[1](weights) - errors[0](weights))
    return Calibration(len(sure), before, after, float(np.quantile(differences, 1.0 - TWO_SIDED)))


def _confidence(answer: Answer) -> float | None:
    return answer.confidence


class _Errors:
    """The expected calibration error of some answers, each of a weight."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        said = np.array([one.confidence or 0.0 for one in answers])
        self._off = said - np.array([one.score or 0.0 for one in answers])
        self._bins = np.clip(np.ceil(said * DEFAULT_BINS).astype(int) - 1, 0, DEFAULT_BINS - 1)

    def __call__(self, weights: NDArray[np.float64]) -> float:
        return float(np.abs(np.bincount(self._bins, weights * self._off)).sum() / weights.sum())
