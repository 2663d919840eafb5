"""Bayesian logistic regression per agent, online: a Gaussian over the weights, moved by assumed-density filtering.

Each outcome moves the posterior along one direction only, so that its Laplace approximation (MacKay, 1992;
Spiegelhalter and Lauritzen, 1990) is a one-dimensional problem: the new logit is found by Newton's method and the
covariance follows in O(d²). A reward between 0 and 1 counts as that share of a success. The sigmoid keeps the order of
logits, so that draws are compared as logits, which Chapelle and Li (2011) do with a diagonal covariance.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.numerics.change_detection import bernoulli_residual
from router_sdk.numerics.normal_gamma import NormalGamma, add_outer
from router_sdk_thompson.posteriors.belief import moderated, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

SURE = 0.9
"""Reward beyond which hope is not expressed as a logit."""
LOOSER = 1.0 / 3.0
"""Share of the linear model's ridge: logits range wider than rewards."""
CLOSER = 0.55
"""Share of its exploration, for the same reason."""
STEPS = 60
CLOSE = 1e-12
MOST_TAKEN = 0.95
"""Share of a direction's precision that taking one outcome back may remove."""


class Logistic(NormalGamma):
    """Gaussian posteriors over the weights of each agent's logit, kept like those of the linear model.

    Args:
        width: Number of features ``d``.
        ridge: What the linear model would take as the precision of the prior on each weight.
        hope: Reward expected of an agent that nothing is known of, in [0, 1].
    """

    def __init__(self, width: int, ridge: float, hope: float) -> None:
        hope = min(max(hope, 1.0 - SURE), SURE)
        super().__init__(width, LOOSER * ridge, log(hope / (1.0 - hope)), 1.0, 1.0, CLOSER)

    def _settle(self, row: int, count: float, residual: float) -> None:
        # A logit has no noise to learn: the Bernoulli's variance is in the likelihood.
        self.count[row] = max(count, 0.0)

    def observe(self, row: int, x: NDArray[np.float64], reward: float, weight: float) -> float:
        """Add one observation; a negative weight takes one back that was added with the positive one.

        Returns:
            The error of the prediction, in standard deviations of a success.
        """
        reach, logit, variance = self._along(row, x)
        if variance <= 0.0:
            return 0.0
        surprise = bernoulli_residual(reward, moderated(logit, variance))
        if weight > 0.0:
            settled, narrowed = _added(logit, variance, reward, weight)
        else:
            settled, narrowed = _removed(logit, variance, reward, -weight, self.prior_variance(x))
        self._move(row, reach, variance, settled - logit, narrowed)
        self._settle(row, self.count[row] + weight, 0.0)
        return surprise

    def correct(self, row: int, x: NDArray[np.float64], old: float, new: float, weight: float) -> None:
        """Replace the reward of an observation that was added before, at its weight."""
        reach, logit, variance = self._along(row, x)
        if variance <= 0.0:
            return
        before, wider = _removed(logit, variance, old, weight, self.prior_variance(x))
        settled, narrowed = _added(before, wider, new, weight)
        self._move(row, reach, variance, settled - logit, narrowed)

    def expected(self, x: NDArray[np.float64]) -> list[float]:
        """Reward at ``x`` by row, at the logit's mean."""
        return [sigmoid(logit) for logit in super().expected(x)]

    def _along(self, row: int, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
        reach = self.sigma[row] @ x
        return reach, self.offset + float(self.mean[row] @ x), float(reach @ x)

    def _move(self, row: int, reach: NDArray[np.float64], variance: float, change: float, narrowed: float) -> None:
        """Give the logit along ``reach`` another mean and variance, and all weights what follows from it."""
        self.mean[row] += reach * (change / variance)
        reach /= variance
        reach *= sqrt(abs(narrowed - variance))
        # The same factor on both sides keeps the matrix symmetric to rounding.
        add_outer(self.sigma[row], -1.0 if narrowed < variance else 1.0, reach, reach)
        self._outline(row)


def _added(logit: float, variance: float, reward: float, weight: float) -> tuple[float, float]:
    """Mean and variance of a logit after an outcome: the mode, where ``a = logit + variance * weight * (y - σ(a))``."""
    pull = variance * weight
    low, high = logit - pull * (1.0 - reward), logit + pull * reward
    found, before = min(max(logit, low), high), inf
    for _ in range(STEPS):
        chance = sigmoid(found)
        gap = found - logit - pull * (reward - chance)
        if gap > 0.0:
            high = found
        else:
            low = found
        following = found - gap / (1.0 + pull * chance * (1.0 - chance))
        if not low < following < high or abs(gap) > before / 2.0:  # it leaps to and fro where the sigmoid is flat
            following = (low + high) / 2.0
        before = abs(gap)
        if abs(following - found) <= CLOSE * (1.0 + abs(found)):
            found = following
            break
        found = following
    chance = sigmoid(found)
    return found, variance / (1.0 + pull * chance * (1.0 - chance))


def _removed(logit: float, variance: float, reward: float, weight: float, widest: float) -> tuple[float, float]:
    """What ``_added`` was given; exact for the newest outcome, and for an older one as it would count today."""
    chance = sigmoid(logit)
    taken = min(weight * chance * (1.0 - chance) * variance, MOST_TAKEN)
    wider = min(variance / (1.0 - taken), max(widest, variance))
    return logit - wider * weight * (reward - chance), wider
