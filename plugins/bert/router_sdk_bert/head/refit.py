"""One refit: a pure function of the stored rows and the prototypes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.state_file import array_of
from router_sdk_bert.head.logistic_regression import (
    Axes,
    LogisticModel,
    OwnSuccess,
    fit_logistic,
    make_loss,
    regression_features,
)
from router_sdk_bert.head.neighbours import (
    COARSE,
    FEW,
    WIDTHS,
    Neighbours,
    coarse_of,
    count_votes,
    evidence,
    left_out,
    nearest_of_many,
)
from router_sdk_bert.head.out_of_scope import LEAST_EACH, NEAR, REFERENCES, novelty, novelty_limit, surroundings
from router_sdk_bert.head.penalty import choose_penalty
from router_sdk_bert.head.rows import NOBODY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.logistic_regression import Loss, Whitening
    from router_sdk_bert.head.memory import Memory
    from router_sdk_bert.head.rows import Facts
    from router_sdk_bert.head.trained_rows import TrainedRows

DEFAULT = np.array([0.8, 0.8, 0.2])
"""Weights of logistic, narrow and wide evidence where there is nothing to fit them on."""
MASS = 10.0
"""Precision of the belief that these are right."""
MOST = 10.0
"""Largest weight."""
TOLERANCE = 1e-6
"""Relative fall of the loss below which the weights have converged."""
UNTAUGHT = np.array([1.0, *DEFAULT[1:]])
"""Weights of the sources before a refit: trained rows as they are, and the neighbours that outcomes become at once."""
HELD_OUT = 5
"""One row in so many is predicted before it is used."""
MOST_HELD_OUT = 500
STEPS = 10
"""Steps of L-BFGS from nothing."""
LAST_STEPS = 6
"""Steps from what was found without the rows held out."""
MANY = 150
"""Agents among which a fit takes twice these steps: it converges the later, the more log odds it has to find."""


def fit_blend(sources: NDArray[np.float64], loss: Loss) -> NDArray[np.float64]:
    """Weights of each source of log odds, shape ``(s,)``.

    Args:
        sources: Log odds by source, row and column, shape ``(s, m, k)``; no rows give the default.
        loss: What the blended log odds cost.
    """
    from scipy.optimize import minimize

    if not sources.shape[1]:
        return DEFAULT.copy()

    flat = sources.reshape(len(sources), -1)

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = loss((weights @ flat).astype(np.float32).reshape(sources.shape[1:]))
        away = weights - DEFAULT
        return value + 0.5 * MASS * float(away @ away), flat @ slope.ravel().astype(np.float64) + MASS * away

    bounds = [(0.0, MOST)] * len(DEFAULT)
    found = minimize(cost, DEFAULT, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": TOLERANCE})
    weights: NDArray[np.float64] = found.x
    return weights


@dataclass(slots=True, frozen=True, eq=False)
class RefitData:
    """What a refit is made from: prototypes first, then stored rows.

    Attributes:
        vectors: Shape ``(n, d)``.
        facts: What is known of each, the weights at the time of the refit among it.
        mark: A hash of each row's identity, by which rows are held out.
        prototypes: How many of the rows are prototypes.
        columns: Codes of the agents that get a row of weights, in the order of their names.
        codes: Number of codes in use.
        exclusive: Whether exactly one agent is right.
        base: Rows of these agents that were trained elsewhere, in the order of the columns; None where none were.
    """

    vectors: NDArray[np.float32]
    facts: Facts
    mark: NDArray[np.uint32]
    prototypes: int
    columns: NDArray[np.intp]
    codes: int
    exclusive: bool
    base: TrainedRows | None = None


@dataclass(slots=True, frozen=True, eq=False)
class Model:
    """What a refit finds.

    Attributes:
        columns: Codes of the agents, shape ``(k,)``.
        logistic: The logistic estimate.
        blend: Weights of the sources of log odds, shape ``(3,)``.
        projection: For coarse search, shape ``(d, c)``, or None where there are few rows.
        references: Rows among which surroundings are looked for, shape ``(r, d)``.
        held_out: How many outcomes the blend was fitted on.
        limit: Novelty above which a task is like nothing that is known; None where that is not known.
        penalty: By which the logistic weights were held; None of a state that does not tell.
    """

    columns: NDArray[np.intp]
    logistic: LogisticModel
    blend: NDArray[np.float64]
    projection: NDArray[np.float32] | None
    references: NDArray[np.float32]
    held_out: int
    limit: float | None = None
    penalty: float | None = None
    _turns: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = [self.logistic.weights, self.logistic.axes.turn.T]
        if self.projection is not None:
            parts += [self.projection.T, np.zeros((1, len(self.projection)), dtype=np.float32)]
        object.__setattr__(self, "_turns", np.ascontiguousarray(np.concatenate(parts)))

    def seen(self, vector: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """The logistic estimate's log odds of one vector, and its coarse vector, from one product."""
        logistic, turned = self.logistic, self._turns @ vector
        agents = len(logistic.weights)
        before = agents + len(logistic.axes.shift)
        odds = logistic.odds_of(turned[:agents], turned[agents:before])
        if self.projection is None:
            return odds, None
        coarse = turned[before:]
        coarse[-1] = left_out(float(coarse @ coarse))
        return odds, coarse

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What ``read_model`` reads."""
        logistic = self.logistic
        arrays: dict[str, NDArray[Any]] = {
            "model.columns": self.columns,
            "model.blend": self.blend,
            "model.references": self.references,
            "model.limit": np.array([] if self.limit is None else [self.limit]),
            "model.penalty": np.array([] if self.penalty is None else [self.penalty]),
            "surface.weights": logistic.weights,
            "surface.intercepts": logistic.intercepts,
            "surface.turn": logistic.axes.turn,
            "surface.shift": logistic.axes.shift,
            "surface.curvature": logistic.curvature,
        }
        return arrays if self.projection is None else {**arrays, "model.projection": self.projection}


def read_model(arrays: Mapping[str, NDArray[Any]], held_out: int, dimension: int | None) -> Model:
    """The model of which the arrays were read from disk.

    Raises:
        KeyError: if an array is missing.
        ValueError: if they do not fit each other.
    """
    columns = array_of(arrays, "model.columns", np.int64, (None,))
    agents, shift = len(columns), array_of(arrays, "surface.shift", np.float32, (None,))
    products = len(shift) * (len(shift) + 1) // 2
    turn = array_of(arrays, "surface.turn", np.float32, (dimension, len(shift)))
    logistic = LogisticModel(
        array_of(arrays, "surface.weights", np.float32, (agents, dimension)),
        array_of(arrays, "surface.intercepts", np.float32, (agents,)),
        Axes(turn, shift),
        array_of(arrays, "surface.curvature", np.float32, (agents, products)),
    )
    projection = None
    if "model.projection" in arrays:
        projection = array_of(arrays, "model.projection", np.float32, (dimension, None))
    blend = array_of(arrays, "model.blend", np.float64, (1 + len(WIDTHS),), (0.0, math.inf))
    references = array_of(arrays, "model.references", np.float32, (None, dimension))
    limit, penalty = (
        next(iter(array_of(arrays, name, np.float64, (None,)).tolist() if name in arrays else []), None)
        for name in ("model.limit", "model.penalty")
    )
    return Model(columns.astype(np.intp), logistic, blend, projection, references, held_out, limit, penalty)


def fit_model(data: RefitData, config: HeadConfig) -> tuple[Model, NDArray[np.float32]]:
    """Refit everything.

    Returns:
        The model, and the mean distance of each row to its surroundings.
    """
    column_of = np.full(data.codes, -1, dtype=np.intp)
    column_of[data.columns] = np.arange(len(data.columns))
    weight = data.facts.weight
    seen_as = regression_features(data.vectors, weight, config.ridge, len(data.columns))
    held = _held_out(data)
    seen = weight.copy()
    seen[held] = 0.0
    found, blend, near, penalty = None, DEFAULT, None, config.ridge
    base = np.zeros((len(weight), len(data.columns)), dtype=np.float32)
    if data.base is not None:
        base = data.base.odds(data.vectors)
    if seen.any():
        loss = make_loss(data.facts, column_of, seen, exclusive=data.exclusive)
        if isinstance(loss, OwnSuccess):
            penalty = choose_penalty(seen_as, loss.good, loss.bad, float(weight.sum(dtype=np.float64)), config.ridge)
            seen_as = seen_as.held(config.ridge, penalty)
        found = fit_logistic(seen_as, loss, base, _steps(STEPS, data))
        predicted = base[held] + seen_as.points[held] @ found
        sources, near = _sources(data, predicted, held, seen, config)
        blend = fit_blend(sources, make_loss(data.facts.take(held), column_of, weight[held], exclusive=data.exclusive))
    if found is None or len(held):
        loss = make_loss(data.facts, column_of, weight, exclusive=data.exclusive)
        found = fit_logistic(seen_as, loss, base, _steps(STEPS if found is None else LAST_STEPS, data), found)
    own = np.argsort(data.mark, kind="stable")[:REFERENCES]
    references = data.vectors[own]
    projection = _projection(data.vectors, seen_as.whitening)
    logistic = seen_as.back(found)
    if data.base is not None:
        logistic = data.base.added_to(logistic)
    density = surroundings(data.vectors, references, own)
    limit = None
    if near is not None and len(held) and _all_are_known(data):
        found_near = near._replace(density=density[near.places])
        limit = novelty_limit(novelty(found_near, predicted), data.facts.take(held), config.novelty_share)
    return Model(data.columns, logistic, blend, projection, references, len(held), limit, penalty), density


def _all_are_known(data: RefitData) -> bool:
    """Whether there are some rows about every agent."""
    own = data.facts.weight[data.prototypes :] > 0.0
    counts = sum(
        np.bincount(codes[data.prototypes :][own].clip(NOBODY), minlength=data.codes)
        for codes in (data.facts.right, np.where(data.facts.wrong == data.facts.right, NOBODY, data.facts.wrong))
    )
    return bool((np.asarray(counts)[data.columns[data.columns != NOBODY]] >= LEAST_EACH).all())


def _steps(steps: int, data: RefitData) -> int:
    return steps + steps * len(data.columns) // MANY


def untaught_model(columns: NDArray[np.intp], base: TrainedRows) -> Model:
    """What there is before the first row: the trained rows alone."""
    dimension = base.weights.shape[1]
    none = Axes(np.zeros((dimension, 0), dtype=np.float32), np.zeros(0, dtype=np.float32))
    logistic = LogisticModel(base.weights, base.intercepts, none, np.zeros((len(columns), 0), dtype=np.float32))
    return Model(columns, logistic, UNTAUGHT, None, np.zeros((0, dimension), dtype=np.float32), 0)


def _held_out(data: RefitData) -> NDArray[np.intp]:
    """Places of the rows that are predicted before they are used: always the same ones."""
    chosen = (data.mark % HELD_OUT == 0) & (data.facts.weight > 0.0)
    chosen[: data.prototypes] = False
    places = np.flatnonzero(chosen)
    return np.sort(places[np.argsort(data.mark[places], kind="stable")[:MOST_HELD_OUT]])


def _sources(
    data: RefitData,
    logistic: NDArray[np.float32],
    held: NDArray[np.intp],
    seen: NDArray[np.float32],
    config: HeadConfig,
) -> tuple[NDArray[np.float64], Neighbours | None]:
    """Log odds of the rows held out, by source, from all others, shape ``(3, m, k)``; and which of these are nearest.

    Of the nearest the density is not known yet.
    """
    shape = (len(WIDTHS) + 1, len(held), len(data.columns))
    sources = np.zeros(shape)
    if not len(held):
        return sources, None
    sources[0] = logistic
    cosines, places = nearest_of_many(data.vectors[held], data.vectors, seen, config.neighbours)
    facts = data.facts._replace(weight=seen)
    for row, near in enumerate(places):
        votes = count_votes(cosines[row], facts.take(near), data.columns)
        sources[1:, row] = evidence(votes, exclusive=data.exclusive)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :NEAR]
    cosines, places = np.take_along_axis(cosines, order, 1), np.take_along_axis(places, order, 1)
    return sources, Neighbours(cosines, facts.take(places), np.zeros_like(cosines), places)


def _projection(vectors: NDArray[np.float32], whitening: Whitening) -> NDArray[np.float32] | None:
    """Their mean and the directions in which the vectors differ most, for coarse search."""
    if len(vectors) <= FEW or vectors.shape[1] <= COARSE:
        return None
    # The whitening has them in order of variance, each scaled.
    directions = np.column_stack((whitening.centre, whitening.turn[:, 2 - COARSE :]))
    return np.ascontiguousarray(np.linalg.qr(directions)[0], dtype=np.float32)


def join(vector: NDArray[np.float32], model: Model | None) -> tuple[NDArray[np.float32] | None, float]:
    """Coarse vector and density of one row that the model was not made from."""
    if model is None:
        return None, 0.0
    coarse = None if model.projection is None else coarse_of(vector, model.projection)
    return coarse, float(surroundings(vector[None], model.references)[0])


def rejoin(memory: Memory, model: Model, density: NDArray[np.float32]) -> None:
    """Place all rows anew, in new arrays: those of the refit together, later ones as if they joined just now.

    Args:
        memory: The rows.
        model: The newest refit.
        density: That of the rows it was made from, which come first.
    """
    if memory.vectors is None:
        return
    count, densities, coarse = len(density), memory.columns["density"].copy(), None
    densities[:count] = density
    if model.projection is not None:
        coarse = np.zeros((len(memory.vectors), model.projection.shape[1] + 1), dtype=np.float32)
        coarse[:count] = coarse_of(memory.vectors[:count], model.projection)
    for place in range(count, memory.used):
        projected, densities[place] = join(memory.vectors[place], model)
        if coarse is not None and projected is not None:
            coarse[place] = projected
    memory.columns["density"], memory.coarse = densities, coarse
