"""What a policy would have earned on decisions that another one made: off-policy estimators, and how sure they are.

The log holds with which probability each choice was made, its propensity. So choices that a policy makes more often
than the log did count for more, by the ratio of both probabilities, and the mean is that policy's. Four ways to it:

- ``inverse_propensity``: the mean of ratio times reward. Unbiased; the widest.
- ``self_normalized``: divided by the sum of the ratios. A little biased while there are few; narrower (Swaminathan &
  Joachims, NeurIPS 2015).
- ``doubly_robust``: what a reward model expects of the policy, and ratio times the model's error on what was chosen.
  Unbiased where the model knows earlier rounds alone, and narrower the better it is (Dudík, Langford & Li, ICML 2011).
- ``switch``: the same, but where the ratio is large, the model alone. A little biased, and narrow (Wang, Agarwal &
  Dudík, ICML 2017, as they combine it with doubly robust estimates).

Logs of a router that learns are *adaptive*: the propensity of one round depends on the rounds before. Given those, what
a round adds to the first and third estimate still has the right mean, so that the sums are martingales, and a
confidence sequence for such means holds, however often it is looked at (``sequential.mean_sequence``). The second and
fourth have it approximately. What a log cannot tell is refused: below an effective sample size of 100 nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.evaluation.moments import LOGGED, MOST_RATIO, SUPPOSED, WIDEST, Rounds
from router_sdk.evaluation.reward_model import RewardModel
from router_sdk.evaluation.sequential import mean_sequence, sequence_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.evaluation.moments import Moments
    from router_sdk.records import Example

    Floats = NDArray[np.float64]

LEAST_ESS = 100.0
"""Effective sample size below which nothing is said."""
MOST_UNSUPPORTED = 0.01
"""Share of a policy's choices that the log could never show, beyond which nothing is said."""
ALPHA = 0.05
MOST_DECISIONS = 1e12
"""Beyond so many nobody waits for an answer."""


class RoundsSoFar:
    """Makes rounds one by one, in the order of the log, with a reward model that knows what was known at each decision.

    An outcome may come late, and say something of choices that were made meanwhile, as where a session has one outcome
    for all its steps. So the model learns it once the log has it.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._sessions: dict[tuple[str | None, str | int], int] = {}
        self._session: list[int] = []
        self._model = RewardModel()
        self._coming: list[tuple[int, int, str, str | None, float]] = []

    def add(self, example: Example, policy: Mapping[str | None, float]) -> None:
        """Take in one that has a reward and a propensity.

        Args:
            example: What was logged.
            policy: The probability that the policy gives to each whom it would have chosen; None is "no agent fits".
        """
        while self._coming and self._coming[0][0] < example.decision_seq:
            _, _, task_type, agent, known = heappop(self._coming)
            self._model.learn(task_type, agent, known)
        reward, propensity = float(example.reward or 0.0), float(example.propensity or 0.0)
        heappush(self._coming, (example.seq, len(self._rows), example.task_type, example.agent, reward))
        drawn: dict[str | None, float] = {example.agent: propensity}
        drawn.update(example.probabilities.items())
        *expected, expected_acted = self._model.expect(example.task_type, [*policy, example.agent]).tolist()
        supported = {name: share for name, share in policy.items() if drawn.get(name, 0.0) > 0.0}
        self._rows.append(
            (
                reward,
                propensity,
                min(policy.get(example.agent, 0.0), 1.0),
                min(sum(share * each for share, each in zip(policy.values(), expected, strict=True)), 1.0),
                expected_acted,
                sum(share * share / drawn[name] for name, share in supported.items()),
                min(max(1.0 - sum(supported.values()), 0.0), 1.0),
            )
        )
        task = example.task
        key = (task.tenant, example.decision_seq if task.session_id is None else task.session_id)
        self._session.append(self._sessions.setdefault(key, len(self._sessions)))

    @property
    def rounds(self) -> Rounds:
        """All of them."""
        return Rounds.of(self._rows, self._session)


class Interval(NamedTuple):
    """A mean with its confidence sequence, as of now: it holds at all times at once with the stated chance."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """What a policy earns on average, as far as a log tells.

    Attributes:
        mean: In [0, 1] but for chance; NaN without any decision.
        low: Lower end of the confidence sequence.
        high: Upper end.
        ess: Effective sample size.
        decisions: On how many decisions this rests.
        estimator: By which way.
        insufficient: Why the log cannot answer; None where it can. Then nothing should rest on the mean.
    """

    mean: float
    low: float
    high: float
    ess: float
    decisions: int
    estimator: str = "doubly_robust"
    insufficient: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)


def inverse_propensity(rounds: Rounds, *, alpha: float = ALPHA, least_ess: float = LEAST_ESS) -> PolicyValue:
    """The mean of ratio times reward (Horvitz & Thompson, 1952).

    Args:
        rounds: What was logged.
        alpha: Chance that the sequence ever misses, in (0, 1).
        least_ess: Effective sample size below which the answer is "insufficient"; 0 never refuses.
    """
    return policy_value(rounds, "inverse_propensity", alpha=alpha, least_ess=least_ess)


def self_normalized(rounds: Rounds, *, alpha: float = ALPHA, least_ess: float = LEAST_ESS) -> PolicyValue:
    """The weighted mean of rewards; see ``inverse_propensity`` for the arguments."""
    return policy_value(rounds, "self_normalized", alpha=alpha, least_ess=least_ess)


def doubly_robust(rounds: Rounds, *, alpha: float = ALPHA, least_ess: float = LEAST_ESS) -> PolicyValue:
    """The model's mean, corrected where the log tells; see ``inverse_propensity`` for the arguments."""
    return policy_value(rounds, "doubly_robust", alpha=alpha, least_ess=least_ess)


def switch(rounds: Rounds, *, alpha: float = ALPHA, least_ess: float = LEAST_ESS) -> PolicyValue:
    """The same, uncorrected where a ratio is beyond ``MOST_RATIO``; see ``inverse_propensity`` for the arguments."""
    return policy_value(rounds, "switch", alpha=alpha, least_ess=least_ess)


class Added(NamedTuple):
    """What each decision adds to an estimate.

    Attributes:
        values: Pseudo-outcomes whose mean is the estimate, shape ``(n,)``.
        errors: What was multiplied by the ratio, shape ``(n,)``.
        alone: Share of the policy's choices of which the model alone tells.
    """

    values: Floats
    errors: Floats
    alone: float = 0.0


def _weighted(rounds: Rounds) -> Added:
    return Added(rounds.ratio * rounds.reward, rounds.reward)


def _normalized(rounds: Rounds) -> Added:
    """The estimate, and what each decision adds to it to first order."""
    ratio = rounds.ratio
    total = float(ratio.sum())
    if not total > 0.0:
        return Added(np.full(len(rounds), np.nan), rounds.reward)
    value = float((ratio * rounds.reward).sum()) / total
    errors = rounds.reward - value
    return Added(value + ratio * errors * (len(rounds) / total), errors)


def _corrected(rounds: Rounds) -> Added:
    errors = rounds.reward - rounds.expected_acted
    return Added(rounds.expected + rounds.ratio * errors, errors)


def _switched(rounds: Rounds) -> Added:
    ratio = rounds.ratio
    trusted = ratio <= MOST_RATIO
    errors = np.where(trusted, rounds.reward - rounds.expected_acted, 0.0)
    alone = float(np.where(trusted, 0.0, ratio).mean()) if len(rounds) else 0.0
    return Added(rounds.expected + ratio * errors, errors, min(alone, 1.0))


ESTIMATORS: Mapping[str, Callable[[Rounds], Added]] = {
    "inverse_propensity": _weighted,
    "self_normalized": _normalized,
    "doubly_robust": _corrected,
    "switch": _switched,
}


def sequence(rounds: Rounds, estimator: str = "doubly_robust", *, alpha: float = ALPHA, beside: bool = False) -> Floats:
    """The confidence sequence of a policy's value after each decision, shape ``(n, 2)``.

    Where choices are rare in the log, a few decisions make most of an estimate's variance, and as long as they did not
    come nothing shows it. But the propensities are known: the sequence is never narrower than they say.

    Args:
        rounds: What was logged.
        estimator: One of ``ESTIMATORS``.
        alpha: Chance that it ever misses, in (0, 1).
        beside: Whether it is that of the difference to what was logged.
    """
    values, errors, alone = ESTIMATORS[estimator](rounds)
    ratio, count = rounds.ratio, np.arange(1.0, len(rounds) + 1.0)
    squares = np.cumsum(ratio * errors * errors) + SUPPOSED * WIDEST
    spread = np.cumsum(rounds.spread) / count - float(beside)
    least = np.maximum(spread, 0.0) * squares / (np.cumsum(ratio) + SUPPOSED)
    found = _mean_sequence(rounds, values - rounds.reward if beside else values, alpha, least)
    beyond = alone + (np.cumsum(rounds.unsupported) / count)[:, None]
    found += beyond * np.array([-1.0, 1.0])
    return found


def _mean_sequence(rounds: Rounds, values: Floats, alpha: float, least_variance: Floats | float = 0.0) -> Floats:
    """That of a mean over decisions; wider where those of one session are alike."""
    found = mean_sequence(values, alpha, least_variance=least_variance)
    middle = (np.cumsum(values) / np.arange(1.0, values.size + 1.0))[:, None]
    widened: Floats = middle + math.sqrt(rounds.design_effect(values)) * (found - middle)
    return widened


def difference(rounds: Rounds | Moments, estimator: str = "doubly_robust", *, alpha: float = ALPHA) -> Interval:
    """How much more than the log a policy earns on average; the same decisions' rewards are subtracted."""
    if not len(rounds):
        return Interval(math.nan, -1.0, 1.0)
    mean, low, high = rounds.moments.estimate(estimator, alpha, beside=True)
    return Interval(mean, max(low, -1.0), min(high, 1.0))


def logged_value(rounds: Rounds | Moments, *, alpha: float = ALPHA) -> PolicyValue:
    """What was earned by who chose, with its confidence sequence."""
    count = len(rounds)
    mean, low, high = rounds.moments.estimate(LOGGED, alpha) if count else (math.nan, 0.0, 1.0)
    return PolicyValue(mean, max(low, 0.0), min(high, 1.0), float(count), count, LOGGED)


def policy_value(
    rounds: Rounds | Moments, estimator: str = "doubly_robust", *, alpha: float = ALPHA, least_ess: float = LEAST_ESS
) -> PolicyValue:
    """What a policy earns, by the estimator of that name; see ``inverse_propensity`` for the arguments."""
    told = rounds.moments
    count, ess = len(told), told.ess
    mean, low, high = told.estimate(estimator, alpha) if count else (math.nan, 0.0, 1.0)
    refused = refusal(ess, told.beyond, least_ess)
    return PolicyValue(mean, max(low, 0.0), min(high, 1.0), ess, count, estimator, refused)


def refusal(ess: float, unsupported: float, least_ess: float = LEAST_ESS) -> str | None:
    """Why a log cannot answer, in words; None where it can, and always None where ``least_ess`` is 0."""
    if not least_ess:
        return None
    if ess < least_ess:
        return f"insufficient: the log is worth {ess:.0f} decisions of this policy, and it takes {least_ess:.0f}"
    if unsupported > MOST_UNSUPPORTED:
        return f"insufficient: {unsupported:.1%} of what it would have chosen had no chance in the log"
    return None


def decisions_for_ess(rounds: Rounds | Moments, least_ess: float = LEAST_ESS) -> int | None:
    """How many decisions more, like those so far, it takes to reach an effective sample size; None where none tells."""
    ess = rounds.moments.ess
    if ess >= least_ess:
        return 0
    needed = len(rounds) * least_ess / ess if ess else math.inf
    return math.ceil(needed) - len(rounds) if needed < MOST_DECISIONS else None


def decisions_to_separate(
    rounds: Rounds | Moments, estimator: str = "doubly_robust", *, alpha: float = ALPHA
) -> int | None:
    """How many decisions more it takes until the sequence of the difference leaves 0, if all goes on like this.

    Returns:
        0 where it has left; None where none tells, or nobody would wait for it.
    """
    if len(rounds) < 2:
        return None
    mean, low, high = difference(rounds, estimator, alpha=alpha)
    if not low <= 0.0 <= high:
        return 0
    _, lower, upper = rounds.moments.estimate(estimator, alpha, beside=True)
    spread = (upper - lower) / 2.0 / sequence_width(len(rounds), alpha)
    fewest, most = float(len(rounds)), MOST_DECISIONS
    if not spread * sequence_width(most, alpha) < abs(mean):
        return None
    while most > fewest * 1.001 + 1.0:
        middle = math.sqrt(fewest * most)
        fewest, most = (fewest, middle) if spread * sequence_width(middle, alpha) < abs(mean) else (middle, most)
    return math.ceil(most) - len(rounds)
