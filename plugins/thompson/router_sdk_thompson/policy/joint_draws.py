"""Probabilities of independent draws, counted over seeded joint draws."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DRAWS_TOTAL = 32_768
DRAWS_MOST = 1_024
DRAWS_LEAST = 64


def draw_count(agents: int) -> int:
    """How many joint draws are made over that many agents."""
    return min(DRAWS_MOST, max(DRAWS_LEAST, DRAWS_TOTAL // max(agents, 1)))


def _generator(seed: str) -> np.random.Generator:
    key = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=16).digest())
    return np.random.Generator(np.random.Philox(key=key))


def _shares(draws: NDArray[np.float64]) -> list[float]:
    wins = np.bincount(draws.argmax(axis=1), minlength=draws.shape[1])
    return [float(won) / len(draws) for won in wins]


def beta_draws(alphas: Sequence[float], betas: Sequence[float], seed: str) -> list[float]:
    """Share of joint draws from the Betas that each agent wins.

    Args:
        alphas: First parameters, above 0, of length ``k``, in an order that does not depend on the caller's.
        betas: Second parameters, above 0.
        seed: Anything that names this state of the evidence; the same seed gives the same answer.

    Returns:
        ``k`` probabilities that sum to 1.
    """
    size = (draw_count(len(alphas)), len(alphas))
    return _shares(_generator(seed).beta(alphas, betas, size=size))


def normal_draws(means: Sequence[float], widths: Sequence[float], seed: str) -> list[float]:
    """Share of joint draws from normal distributions that each agent wins; arguments as for ``beta_draws``."""
    size = (draw_count(len(means)), len(means))
    return _shares(_generator(seed).normal(means, widths, size=size))
