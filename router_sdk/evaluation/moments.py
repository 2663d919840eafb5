"""Logged decisions, and the sums that are left of them: they give a policy's value and how sure it is.

Every estimate is the mean of a combination of six columns, so that their sums of products, 36 numbers, are all that its
variance takes; and the same over sums of each session, where decisions of one session are alike. Sums of parts of a log
add up: it can be read once, a piece at a time, whatever its length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.sequential import sequence_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_RATIO = 20.0
"""Ratio beyond which ``switch`` trusts the model."""
SUPPOSED, WIDEST = 10.0, 0.25
"""Choices of the policy's that are supposed to be known beforehand, with the largest variance that rewards can have."""
LOGGED = "logged"
"""What was earned by who chose, beside the names of the estimators."""
_ONE, _RATIO, _REWARD, _WEIGHTED, _CORRECTED, _SWITCHED = range(6)
_COLUMN = {"inverse_propensity": _WEIGHTED, "doubly_robust": _CORRECTED, "switch": _SWITCHED, LOGGED: _REWARD}


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """Logged decisions with what came of them, and what a policy would have done; in the order of the log.

    Attributes:
        reward: What came of who acted, in [0, 1], shape ``(n,)``, as are all.
        propensity: The probability with which who acted was chosen, in (0, 1]; of an experiment, given the arm.
        chance: That with which the policy would have chosen the same.
        expected: What a reward model that knows earlier rounds alone expects the policy to earn.
        expected_acted: What it expects of who acted.
        spread: The mean square of the ratio over all choices that the log could have made, ``Σ π² / p``; at least 0.
        unsupported: How much of its probability the policy gives to whom the log could not have chosen.
        session: Of which session each is, as numbers from 0 on; None where each stands alone.
    """

    reward: Floats
    propensity: Floats
    chance: Floats
    expected: Floats
    expected_acted: Floats
    spread: Floats
    unsupported: Floats
    session: NDArray[np.intp] | None = None

    @classmethod
    def of(cls, rows: list[tuple[float, ...]], session: Sequence[int] | None = None) -> Rounds:
        """From a row of these for each decision, and where some are of one session, of which each is.

        Raises:
            InvalidInputError: if a number is not finite or out of its range.
        """
        columns = np.array(rows, dtype=np.float64).reshape(-1, len(fields(cls)) - 1).T
        return replace(cls(*columns), session=None if session is None else np.array(session, dtype=np.intp))

    def __post_init__(self) -> None:
        columns = [getattr(self, each.name) for each in fields(self)][:-1]
        if len({column.shape for column in columns}) > 1 or self.reward.ndim != 1:
            raise InvalidInputError("off-policy rounds: every column needs one number for each decision")
        shares = [column for column in columns if column is not self.spread]
        if not all(np.all((column >= 0.0) & (column <= 1.0 + 1e-6)) for column in shares):
            raise InvalidInputError("off-policy rounds: rewards and probabilities must lie in [0, 1]")
        if not (np.all(self.propensity > 0.0) and np.all(self.spread >= 0.0) and np.all(np.isfinite(self.spread))):
            raise InvalidInputError("off-policy rounds: a choice that was made has a propensity above 0")

    def __len__(self) -> int:
        return len(self.reward)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Rounds:
        """Some of them: whether each one is, shape ``(n,)``, or where they stand."""
        *columns, session = (getattr(self, each.name) for each in fields(self))
        kept = None if session is None else session[chosen]
        return replace(Rounds(*(column[chosen] for column in columns)), session=kept)

    def design_effect(self, values: Floats) -> float:
        """How much more such values vary because those of one session are alike (Kish, 1965); at least 1."""
        if self.session is None or not values.size:
            return 1.0
        centred = values - values.mean()
        squares = float(np.square(centred).sum())
        return max(1.0, float(np.square(np.bincount(self.session, centred)).sum()) / squares) if squares > 0.0 else 1.0

    @property
    def ratio(self) -> Floats:
        """How much more often the policy makes the choice than the log did."""
        return self.chance / self.propensity

    @property
    def moments(self) -> Moments:
        """What estimates take of them."""
        return Moments.of(self)

    @property
    def ess(self) -> float:
        """Effective sample size, see ``Moments``."""
        return self.moments.ess


class Estimate(NamedTuple):
    """A mean with the ends of its confidence sequence, as of now."""

    mean: float
    low: float
    high: float


def columns(rounds: Rounds) -> Floats:
    """The six columns of which estimates are made, shape ``(n, 6)``."""
    ratio, error = rounds.ratio, rounds.reward - rounds.expected_acted
    trusted = np.where(ratio <= MOST_RATIO, error, 0.0)
    told = (np.ones(len(rounds)), ratio, rounds.reward, ratio * rounds.reward)
    return np.stack([*told, rounds.expected + ratio * error, rounds.expected + ratio * trusted], axis=1)


@dataclass(slots=True)
class Moments:
    """Sums over logged decisions; those of parts add up by ``+``.

    Attributes:
        products: Of each two of the six columns, shape ``(6, 6)``; ``products[0, 0]`` is how many decisions there are.
        grouped: The same where each session's decisions are added up first; exact, or as a sketch estimates it.
        errors: By estimator, the sum of ratio times squared error.
        spread: Of ``Rounds.spread``.
        unsupported: Of ``Rounds.unsupported``.
        alone: Of the ratios of which ``switch`` asks the model alone.
    """

    products: Floats = field(default_factory=lambda: np.zeros((6, 6)))
    grouped: Floats = field(default_factory=lambda: np.zeros((6, 6)))
    errors: Floats = field(default_factory=lambda: np.zeros(3))
    spread: float = 0.0
    unsupported: float = 0.0
    alone: float = 0.0

    @classmethod
    def of(cls, rounds: Rounds, told: Floats | None = None) -> Self:
        """Of some decisions, ``told`` being their ``columns`` where they are known already."""
        told = columns(rounds) if told is None else told
        sums = told
        if rounds.session is not None and len(rounds):
            sums = np.stack([np.bincount(rounds.session, column) for column in told.T], axis=1)
        ratio, error = rounds.ratio, rounds.reward - rounds.expected_acted
        trusted = ratio <= MOST_RATIO
        squares = (rounds.reward, error, np.where(trusted, error, 0.0))
        products = told.T @ told
        return cls(
            products,
            products.copy() if sums is told else sums.T @ sums,
            np.array([float((ratio * each * each).sum()) for each in squares]),
            float(rounds.spread.sum()),
            float(rounds.unsupported.sum()),
            float(np.where(trusted, 0.0, ratio).sum()),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.products + other.products,
            self.grouped + other.grouped,
            self.errors + other.errors,
            self.spread + other.spread,
            self.unsupported + other.unsupported,
            self.alone + other.alone,
        )

    def __len__(self) -> int:
        return int(self.products[_ONE, _ONE])

    @property
    def moments(self) -> Self:
        """Themselves, as ``Rounds.moments`` are those of rounds."""
        return self

    @property
    def ess(self) -> float:
        """Effective sample size, ``(Σ w)² / Σ w²``: how many decisions of the policy's own the log is worth."""
        squares = float(self.products[_RATIO, _RATIO])
        return float(self.products[_ONE, _RATIO]) ** 2 / squares if squares > 0.0 else 0.0

    @property
    def beyond(self) -> float:
        """Mean share of the policy's choices that had no chance in the log."""
        return self.unsupported / len(self) if len(self) else 0.0

    def mean(self, estimator: str) -> float:
        """An estimate; NaN where there is nothing to estimate it from."""
        if not len(self):
            return math.nan
        if estimator == "self_normalized":
            total = float(self.products[_ONE, _RATIO])
            return float(self.products[_ONE, _WEIGHTED]) / total if total > 0.0 else math.nan
        return float(self.products[_ONE, _COLUMN[estimator]]) / len(self)

    def _combination(self, estimator: str) -> Floats:
        """The six columns' weights in what each decision adds to an estimate."""
        weights = np.zeros(6)
        if estimator == "self_normalized":  # to first order
            value, total = self.mean(estimator), float(self.products[_ONE, _RATIO])
            scale = len(self) / total if total > 0.0 else math.nan
            weights[[_ONE, _WEIGHTED, _RATIO]] = value, scale, -scale * value
        else:
            weights[_COLUMN[estimator]] = 1.0
        return weights

    def _squares(self, estimator: str) -> float:
        """The sum of ratio times squared error."""
        if estimator == "self_normalized":
            value, one = self.mean(estimator), self.products[_ONE]
            return float(self.errors[0] - 2.0 * value * one[_WEIGHTED] + value * value * one[_RATIO])
        return float(self.errors[("inverse_propensity", "doubly_robust", "switch").index(estimator)])

    def estimate(self, estimator: str, alpha: float, *, beside: bool = False) -> Estimate:
        """An estimate with its confidence sequence, see ``off_policy.sequence``; infinite below two decisions.

        Args:
            estimator: One of ``ESTIMATORS``, or ``LOGGED``.
            alpha: Chance that the sequence ever misses, in (0, 1).
            beside: Whether it is that of the difference to what was logged.
        """
        count, weights = len(self), self._combination(estimator)
        if beside:
            weights[_REWARD] -= 1.0
        mean = float(weights @ self.products[_ONE]) / count
        if count < 2:
            return Estimate(mean, -math.inf, math.inf)
        centred = weights.copy()
        centred[_ONE] -= mean
        squares = max(float(centred @ self.products @ centred), 0.0)
        alike = float(centred @ self.grouped @ centred) / squares if squares > 0.0 else 1.0
        least = beyond = 0.0
        if estimator != LOGGED:
            seen = self._squares(estimator) + SUPPOSED * WIDEST
            spread = max(self.spread / count - float(beside), 0.0)
            least = spread * seen / (float(self.products[_ONE, _RATIO]) + SUPPOSED)
            beyond = self.beyond + (min(self.alone / count, 1.0) if estimator == "switch" else 0.0)
        half = math.sqrt(max(squares / count, least)) * float(sequence_width(count, alpha))
        half = half * math.sqrt(max(1.0, alike)) + beyond
        return Estimate(mean, mean - half, mean + half)
