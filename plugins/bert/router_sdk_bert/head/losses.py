"""What a matrix of log odds costs, and its slope: one softmax over agents, or one sigmoid for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from router_sdk_bert.head.names import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.shelf import Facts

LEAST_DOUBT = 1e-6
"""Least chance of failing that is assumed where one happened, so that a slope stays finite."""


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
        self._good = np.zeros((len(weight), columns), dtype=np.float32)
        self._bad = np.repeat((credit * facts.rivalry)[:, None], columns, axis=1)
        self._bad[rows, place] = 0.0
        self._good[rows, place] += credit
        self._bad[rows, fault] += blame

    def __call__(self, odds: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        """Loss and slope."""
        cost = self._good * np.logaddexp(0.0, -odds) + self._bad * np.logaddexp(0.0, odds)
        slope = (self._good + self._bad) / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0))) - self._good
        return float(cost.sum(dtype=np.float64)), slope.astype(np.float32)


def make_loss(
    labels: Literal["exclusive", "independent"],
    facts: Facts,
    column_of: NDArray[np.intp],
    weight: NDArray[np.float32],
) -> Loss:
    """The loss that goes with what a label means."""
    return (SharedSuccess if labels == "exclusive" else OwnSuccess)(facts, column_of, weight)


def _place(
    who: NDArray[np.int32], much: NDArray[np.float32], column_of: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Columns, 0 where there is none, and masses, 0 there."""
    column = np.where(who >= NOBODY, column_of[np.maximum(who, NOBODY)], -1)
    return np.maximum(column, 0), np.where(column >= 0, much, 0.0).astype(np.float32)
