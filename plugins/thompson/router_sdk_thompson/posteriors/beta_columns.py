"""Many outcomes of one agent at once: what was expected of each, and what they come to, in array operations.

To the same bits as one by one, wherever a batch is cut: every process that folds the log holds the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.drift.agent_evidence import AgentEvidence

MOST_CODES = 1 << 15
"""Codes up to which numpy sorts by their digits rather than by comparing."""

Array = NDArray[Any]
Cell = list[Any]
"""``[observations, reward, the agent's AgentEvidence]``, scaled to the origin."""


def in_order(codes: Array) -> Array:
    """Places of equal codes beside each other, in their order."""
    return np.argsort(codes.astype(np.int16) if len(codes) and codes.max() < MOST_CODES else codes, kind="stable")


def running(start: float, added: Array) -> Array:
    """The sum before each of these is added, and after the last: one more than there are; added in their order."""
    sums: Array = np.add.accumulate(np.concatenate(([start], added)))
    return sums


def powers(exponents: Array) -> Array:
    """Two to these, to the same bits as one by one."""
    return np.fromiter(map((2.0).__pow__, exponents.tolist()), np.float64, len(exponents))


def expected_each(
    config: ThompsonConfig, record: AgentEvidence, cells: list[Cell], place: Array, share: Array, gain: Array
) -> Array:
    """Posterior means before each of these outcomes, as if they came one by one.

    Args:
        config: The strategy's configuration.
        record: The agent's evidence over all task types.
        cells: Its cells.
        place: Which of them each outcome belongs to, shape ``(n,)``, as the others.
        share: What each counts.
        gain: Its reward, times that.
    """
    order = in_order(place)
    here = np.empty((2, len(place)))
    for rows in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        for number, added in enumerate((share, gain)):
            here[number, rows] = running(cells[place[rows[0]]][number], added[rows])[:-1]
    mass, lent = config.prior_mass * share, running(record.mass, share)[:-1] - here[0]
    rate = (config.prior_mean * mass + running(record.reward, gain)[:-1] - here[1]) / (mass + lent)
    mass = np.maximum(mass, np.minimum(config.borrowed_mass * share, lent))
    expected: Array = (rate * mass + here[1]) / (mass + here[0])
    return expected


def add_each(record: AgentEvidence, cells: list[Cell], place: Array, share: Array, reward: Array) -> None:
    """Add outcomes of one agent to its cells and its record, in their order."""
    sums = np.array([cell[:2] for cell in cells])
    for number, added in enumerate((share, reward * share)):
        np.add.at(sums[:, number], place, added)  # in their order, unlike a sum of the batch that is added as one
    for cell, (mass, gain) in zip(cells, sums.tolist(), strict=True):
        cell[0], cell[1] = mass, gain
    record.mass = float(running(record.mass, share)[-1])
    record.reward = float(running(record.reward, reward * share)[-1])
