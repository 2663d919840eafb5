"""Logistic regression over stored vectors: log odds linear in a vector and in products of its leading coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import isqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from router_sdk_bert.head.rows import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.rows import Facts

LEAST_DOUBT = 1e-6
"""Least chance of failing that is assumed where one happened, so that a slope stays finite."""
CURVATURE = 0.04
"""Curvature of the loss in one log odds that is assumed: p(1 - p) of a model that is mostly sure."""
LEAST_SHARE = 1e-7
"""Share of the largest variance below which a direction counts as empty."""
MOST_AXES = 48
"""Leading coordinates of which products are taken, at most."""
FEWEST_AXES = 16
"""Below that, products of so few coordinates are not worth having."""
LEAST_USUAL = 0.25
"""Share of the variance that products of independent normal coordinates have, below which it is not believed."""
MOST_WORK = 3e7
"""Multiplications, of rows, products and agents, that a pass over all rows may take for the sake of products."""
TOLERANCE = 1e-5
"""Relative fall of the loss below which a fit has converged."""


class Loss(Protocol):
    """The cost of log odds."""

    def __call__(self, odds: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        """Loss, and slope of the same shape as ``odds``, which may be overwritten."""


class SharedSuccess:
    """Exactly one is right: ``-log p`` of who was, ``-log(1 - p)`` of who failed, p a softmax.

    Args:
        facts: What is known of ``n`` rows.
        column_of: Column by code, -1 for none.
        weight: What each row counts for, shape ``(n,)``.
    """

    def __init__(self, facts: Facts, column_of: NDArray[np.intp], weight: NDArray[np.float32]) -> None:
        self._right, self._credit = _place(facts.right, facts.credit * weight, column_of)
        self._wrong, self._blame = _place(facts.wrong, facts.blame * weight, column_of)
        self._rows = np.arange(len(weight))
        self._blames = bool(self._blame.any())

    def __call__(self, odds: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        """Loss and slope."""
        odds -= odds.max(axis=1, keepdims=True)
        chosen = odds[self._rows, self._right]
        shares = np.exp(odds, out=odds)
        total = shares.sum(axis=1)
        loss = float((self._credit * (np.log(total) - chosen)).sum(dtype=np.float64))
        shares /= total[:, None]
        if self._blames:
            held = shares[self._rows, self._wrong]
            doubt = np.maximum(1.0 - held, LEAST_DOUBT)
            loss -= float((self._blame * np.log(doubt)).sum(dtype=np.float64))
            shares *= (self._credit - self._blame * held / doubt)[:, None]
            # By itself, because the difference above loses it where the failure had seemed impossible.
            shares[self._rows, self._wrong] = (self._credit + self._blame) * held
        else:
            shares *= self._credit[:, None]
        shares[self._rows, self._right] -= self._credit
        return loss, shares


class OwnSuccess:
    """Each agent succeeds or fails for itself: a sigmoid per agent, over what is known of it.

    Args:
        facts: What is known of ``n`` rows.
        column_of: Column by code, -1 for none.
        weight: What each row counts for, shape ``(n,)``.
    """

    def __init__(self, facts: Facts, column_of: NDArray[np.intp], weight: NDArray[np.float32]) -> None:
        place, credit = _place(facts.right, facts.credit * weight, column_of)
        fault, blame = _place(facts.wrong, facts.blame * weight, column_of)
        rows, columns = np.arange(len(weight)), int(column_of.max(initial=0)) + 1
        self.good = np.zeros((len(weight), columns), dtype=np.float32)
        self.bad = np.repeat((credit * facts.rivalry)[:, None], columns, axis=1)
        self.bad[rows, place] = 0.0
        self.good[rows, place] += credit
        self.bad[rows, fault] += blame

    def __call__(self, odds: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        """Loss and slope."""
        cost = self.good * np.logaddexp(0.0, -odds) + self.bad * np.logaddexp(0.0, odds)
        slope = (self.good + self.bad) / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0))) - self.good
        return float(cost.sum(dtype=np.float64)), slope.astype(np.float32)


def make_loss(facts: Facts, column_of: NDArray[np.intp], weight: NDArray[np.float32], *, exclusive: bool) -> Loss:
    """The loss that goes with what a label means."""
    return (SharedSuccess if exclusive else OwnSuccess)(facts, column_of, weight)


def _place(
    who: NDArray[np.int32], much: NDArray[np.float32], column_of: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Columns, 0 where there is none, and masses, 0 there."""
    column = np.where(who >= NOBODY, column_of[np.maximum(who, NOBODY)], -1)
    return np.maximum(column, 0), np.where(column >= 0, much, 0.0).astype(np.float32)


@dataclass(slots=True, frozen=True, eq=False)
class Whitening:
    """A centred, scaled rotation of ``n`` vectors.

    Attributes:
        centre: Weighted mean of the vectors, shape ``(d,)``.
        turn: Shape ``(d, r)``; maps a centred vector to its new coordinates.
        points: The vectors in the new coordinates and a column for the intercept, shape ``(n, r + 1)``.
        penalty: What the penalty on a weight becomes there, shape ``(r + 1,)``.
    """

    centre: NDArray[np.float32]
    turn: NDArray[np.float32]
    points: NDArray[np.float32]
    penalty: NDArray[np.float32]

    def back(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights of shape ``(r + 1, k)`` as those of the vectors themselves, ``(k, d)``, and intercepts ``(k,)``."""
        outer = np.ascontiguousarray((self.turn @ weights[:-1]).T)
        return outer, self.points[0, -1] * weights[-1] - outer @ self.centre


def whiten(vectors: NDArray[np.float32], weight: NDArray[np.float32], ridge: float) -> Whitening:
    """Turn vectors so that the loss curves alike in all directions, as far as their second moments tell.

    Args:
        vectors: Shape ``(n, d)``, at least one.
        weight: Shape ``(n,)``, not all 0.
        ridge: Penalty on the weights.
    """
    total = float(weight.sum(dtype=np.float64))
    centre = (weight @ vectors) / np.float32(total)
    centred = vectors - centre
    spread = centred * np.sqrt(weight)[:, None]
    if len(vectors) < vectors.shape[1]:
        variance, left = np.linalg.eigh(spread @ spread.T)
        kept = variance > LEAST_SHARE * max(float(variance[-1]), 1e-12)
        variance = variance[kept]
        axes = spread.T @ (left[:, kept] / np.sqrt(variance))
    else:
        variance, axes = np.linalg.eigh(spread.T @ spread)
        kept = variance > LEAST_SHARE * max(float(variance[-1]), 1e-12)
        variance, axes = variance[kept], axes[:, kept]
    scale = 1.0 / np.sqrt(CURVATURE * variance + ridge)
    turn = np.ascontiguousarray(axes * scale, dtype=np.float32)
    constant = 1.0 / np.sqrt(CURVATURE * total + ridge)
    points = np.empty((len(vectors), turn.shape[1] + 1), dtype=np.float32)
    np.matmul(centred, turn, out=points[:, :-1])
    points[:, -1] = constant
    penalty = (ridge * np.append(scale, constant) ** 2).astype(np.float32)
    return Whitening(centre, turn, points, penalty)


@cache
def _pairs(axes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and second axis of each product."""
    return np.triu_indices(axes)


@dataclass(slots=True, frozen=True, eq=False)
class Axes:
    """Leading coordinates.

    Attributes:
        turn: Shape ``(d, r)``; maps a vector to them.
        shift: What is taken off, shape ``(r,)``.
    """

    turn: NDArray[np.float32]
    shift: NDArray[np.float32]

    def of(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The coordinates of vectors of shape ``(n, d)`` or ``(d,)``, along the last axis."""
        return vectors @ self.turn - self.shift

    def products(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """All ``r (r + 1) / 2`` products for vectors of shape ``(n, d)`` or ``(d,)``, along the last axis."""
        first, second = _pairs(len(self.shift))
        found = self.of(vectors)
        return found[..., first] * found[..., second]


@dataclass(slots=True, frozen=True, eq=False)
class LogisticModel:
    """Log odds of ``k`` agents.

    Attributes:
        weights: Of the vector, shape ``(k, d)``.
        intercepts: Shape ``(k,)``.
        axes: The coordinates whose products count; may be none.
        curvature: Weights of the products, shape ``(k, r (r + 1) / 2)``.
        forms: The same as one triangular matrix per agent, shape ``(k r, r)``, for a request's single vector.
    """

    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    axes: Axes
    curvature: NDArray[np.float32]
    forms: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        agents, axes = len(self.curvature), len(self.axes.shift)
        forms = np.zeros((agents, axes, axes), dtype=np.float32)
        forms[:, *_pairs(axes)] = self.curvature
        object.__setattr__(self, "forms", forms.reshape(agents * axes, axes))

    def odds(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log odds for one vector, shape ``(k,)``."""
        return self.odds_of(self.weights @ vector, vector @ self.axes.turn)

    def odds_of(self, plain: NDArray[np.float32], turned: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same of a vector's products with the weights, shape ``(k,)``, and with the axes' turn, shape ``(r,)``."""
        found = plain + self.intercepts
        if self.curvature.shape[1]:
            along = turned - self.axes.shift
            found += (self.forms @ along).reshape(len(found), -1) @ along
        return found.astype(np.float64)


@dataclass(slots=True, frozen=True, eq=False)
class RegressionFeatures:
    """The columns of a regression over ``n`` rows.

    Attributes:
        whitening: Of the vectors.
        axes: The coordinates whose products are among the columns.
        centre: Mean of the products, shape ``(f,)``.
        scale: What they are multiplied by, shape ``(f,)``.
        points: Shape ``(n, c)``: whitened coordinates, a constant, products.
        penalty: On the weight of each column, shape ``(c,)``.
    """

    whitening: Whitening
    axes: Axes
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    points: NDArray[np.float32]
    penalty: NDArray[np.float32]

    def held(self, before: float, penalty: float) -> RegressionFeatures:
        """The same under another penalty, at least as large as the one ``before``, with which they were made."""
        plain = len(self.penalty) - len(self.scale)
        more = np.full(len(self.penalty), penalty / before)
        more[plain - 1] = 1.0  # the constant
        # A column is scaled by ``1 / sqrt(curvature + penalty)``, and its penalty by the square of that.
        by = (1.0 / np.sqrt(1.0 + (more - 1.0) * self.penalty)).astype(np.float32)
        held = (more * self.penalty * by**2).astype(np.float32)
        points, outer = self.points * by, self.whitening
        turned = Whitening(outer.centre, outer.turn * by[: plain - 1], points[:, :plain], held[:plain])
        return RegressionFeatures(turned, self.axes, self.centre, self.scale * by[plain:], points, held)

    def back(self, weights: NDArray[np.float32]) -> LogisticModel:
        """Weights of the columns, shape ``(c, k)``, as log odds of vectors."""
        plain = len(weights) - len(self.scale)
        outer, intercepts = self.whitening.back(weights[:plain])
        curvature = np.ascontiguousarray((self.scale[:, None] * weights[plain:]).T)
        intercepts -= curvature @ self.centre
        return LogisticModel(outer, intercepts, self.axes, curvature)


def regression_features(
    vectors: NDArray[np.float32], weight: NDArray[np.float32], ridge: float, agents: int
) -> RegressionFeatures:
    """Columns for some rows.

    Products of principal coordinates hardly correlate, so that scaling each is whitening enough. Together they vary as
    much as the vectors do: else the penalty would be another one for them.

    Args:
        vectors: Shape ``(n, d)``, at least one.
        weight: Shape ``(n,)``, not all 0.
        ridge: Penalty on the weights.
        agents: How many log odds are to be fitted; the more, the fewer products can be paid for.
    """
    whitening = whiten(vectors, weight, ridge)
    paid = int(MOST_WORK / (len(vectors) * max(agents, 1)))
    count = min((isqrt(8 * paid + 1) - 1) // 2, MOST_AXES)
    rank = whitening.turn.shape[1]
    # The whitening has the directions in order of variance, each scaled by what that is.
    size = np.linalg.norm(whitening.turn, axis=0)
    # Of rows that are all but alike the variance is less than rounding leaves of it.
    told = np.maximum((np.square(1.0 / size) - ridge) / CURVATURE, 0.0)
    first = rank - min(count, rank) if count >= FEWEST_AXES else rank
    leading = (whitening.turn / size)[:, first:]
    axes = Axes(leading, whitening.centre @ leading)
    products = axes.products(vectors)
    centre = (weight @ products) / weight.sum()
    products -= centre
    variance = weight @ np.square(products)
    # Of a few rows the products may hardly vary, of two rows not at all: that says nothing of their scale.
    usual = (np.square(told[first:].sum()) + 3.0 * np.square(told[first:]).sum()) / (2.0 * weight.sum())
    stretch = np.float32(np.sqrt(told.sum() / max(float(variance.sum()), LEAST_USUAL * float(usual), 1e-12)))
    axes = Axes(leading * np.sqrt(stretch), axes.shift * np.sqrt(stretch))
    scale = 1.0 / np.sqrt(CURVATURE * variance * stretch**2 + np.float32(ridge))
    products *= stretch * scale
    points = np.concatenate((whitening.points, products), axis=1)
    penalty = np.concatenate((whitening.penalty, np.float32(ridge) * scale**2))
    return RegressionFeatures(whitening, axes, centre * stretch, scale, points, penalty)


def fit_logistic(
    features: RegressionFeatures,
    loss: Loss,
    base: NDArray[np.float32],
    steps: int,
    start: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Weights of the features, shape ``(c, columns)``.

    Args:
        features: Of the rows.
        loss: What log odds cost.
        base: Log odds that the fitted ones are added to, shape ``(n, columns)``; weights are drawn to 0, hence log odds
            to these.
        steps: Most steps of L-BFGS (Liu and Nocedal, 1989).
        start: Where to begin; zeros by default.
    """
    from scipy.optimize import minimize

    points, penalty = features.points, features.penalty[:, None]
    shape = (points.shape[1], base.shape[1])

    def cost(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape).astype(np.float32)
        value, slope = loss(base + points @ weights)
        held = penalty * weights
        value += 0.5 * float((held * weights).sum(dtype=np.float64))
        return value, (points.T @ slope + held).ravel().astype(np.float64)

    first = np.zeros(shape) if start is None else start
    found = minimize(
        cost,
        first.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "ftol": TOLERANCE, "gtol": 1e-4},
    )
    weights: NDArray[np.float32] = found.x.reshape(shape).astype(np.float32)
    return weights
