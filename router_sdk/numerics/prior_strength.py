"""How strong the prior of linear posteriors is: fitted to what was seen, by its evidence (empirical Bayes).

The marginal likelihood of all that was seen is known in closed form for each strength of the prior (MacKay, "Bayesian
interpolation", Neural Computation 1992; Bishop, "Pattern Recognition and Machine Learning", 2006, section 3.5): one
eigendecomposition of an agent's features tells of all of them, and the agents share the prior.

A prior stronger than the one to start from is never chosen, though it often is the likeliest one while little is seen:
doubt shrinks with it, and doubt is what finds out more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.numerics.normal_gamma import Moments, NormalGamma

FIRST = 64
"""Observations before which the prior stays as it is; from there on it is asked about whenever they have doubled."""
WEAKER = (1.0, 0.25, 0.25**2, 0.25**3, 0.25**4, 0.25**5)
"""Shares of the strength to start from among which is chosen."""
MOST_WORK = 1e9
"""Agents times the cube of the features' number, beyond which the prior stays as it is: half a second to a second."""


class Spectrum(NamedTuple):
    """What was seen of one agent, in coordinates in which its features do not correlate, the constant taken out.

    Attributes:
        curves: Sums of the coordinates' squares, shape ``(d - 1,)``.
        along: Squares of the sums of coordinates times rewards, shape ``(d - 1,)``.
        power: Sum of the rewards' squares.
        weight: Observations.
    """

    curves: NDArray[np.float64]
    along: NDArray[np.float64]
    power: float
    weight: float


def due(observed: int) -> bool:
    """Whether the prior is asked about after so many observations."""
    return observed >= FIRST and observed & (observed - 1) == 0


def fitted_strength(posterior: NormalGamma) -> float:
    """The precision of the prior on the weights under which what was seen is likeliest; as it is where that is dear."""
    rows = posterior.rows.values()
    if posterior.width == 1 or not rows or len(rows) * posterior.width**3 > MOST_WORK:
        return posterior.strength
    strengths, total = np.array([posterior.ridge * share for share in WEAKER]), np.zeros(len(WEAKER))
    for row in rows:
        seen = spectrum(posterior.moments(row), posterior.ridge)
        total += log_evidence(seen, strengths, posterior.kappa, posterior.guess)
    return float(strengths[int(total.argmax())])


def spectrum(seen: Moments, ridge: float) -> Spectrum:
    """What was seen, without the constant in front of the features, whose weight has a prior of this precision."""
    gram, moment = seen.gram, seen.moment
    held = float(gram[0, 0]) + ridge
    curves, axes = np.linalg.eigh(gram[1:, 1:] - np.outer(gram[1:, 0], gram[0, 1:] / held))
    along = (moment[1:] - gram[1:, 0] * (moment[0] / held)) @ axes
    power = seen.power - float(moment[0]) ** 2 / held
    return Spectrum(np.maximum(curves, 0.0), np.square(along), max(power, 0.0), seen.weight)


def log_evidence(seen: Spectrum, strengths: NDArray[np.float64], kappa: float, guess: float) -> NDArray[np.float64]:
    """Logarithm of what was seen's marginal likelihood under each strength, up to a constant that all share.

    Args:
        seen: Of one agent.
        strengths: Precisions of the prior on the weights, in units of the noise's, shape ``(m,)``.
        kappa: Pseudo-observations behind the guess of the noise.
        guess: Variance that is guessed for the noise.
    """
    precisions = seen.curves + strengths[:, None]
    left = np.maximum(seen.power - (seen.along / precisions).sum(axis=1), 0.0)
    shrunk = np.log(strengths[:, None] / precisions).sum(axis=1)
    found: NDArray[np.float64] = (shrunk - (kappa + seen.weight) * np.log(kappa * guess + left)) / 2.0
    return found
