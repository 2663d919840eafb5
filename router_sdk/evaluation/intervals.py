"""How far two choosers lie apart on the same tasks, with an interval that knows that a session's tasks are alike."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHOD = (
    "Intervals are of the mean difference per task, paired task by task, 95 %, by session: sums over whole sessions "
    "are what varies (Student's t, one degree of freedom less than there are sessions)."
)
TWO_SIDED = 0.975
"""Where the upper end of a 95 % interval lies in the distribution."""


class Interval(NamedTuple):
    """A mean difference and its 95 % interval, in reward per task."""

    mean: float
    low: float
    high: float


def paired_interval(ours: NDArray[np.float64], theirs: NDArray[np.float64], sessions: NDArray[np.int64]) -> Interval:
    """The mean of the paired differences, and its interval by clusters.

    Tasks of one session may depend on each other in whatever way; sessions are taken to be independent, so what a
    whole run of a learner has in common is not in it, and shows between seeds.

    Args:
        ours: Rewards in [0, 1], shape ``(n,)``.
        theirs: Rewards of the other on the same tasks, shape ``(n,)``.
        sessions: The session of each task, shape ``(n,)``.

    Returns:
        The interval; from less than two sessions it is as wide as differences can be.
    """
    differences = ours - theirs
    mean = float(differences.mean())
    _, session = np.unique(sessions, return_inverse=True)
    count = int(session.max()) + 1
    if count < 2:
        return Interval(mean, -1.0, 1.0)
    half = student_t(count - 1) * clustered_error((differences - mean) / len(differences), session)
    return Interval(mean, mean - half, mean + half)


def clustered_error(influences: NDArray[np.float64], clusters: NDArray[np.integer]) -> float:
    """The standard error of an estimate, from what each observation adds to it beyond its expectation.

    A mean over tasks of sessions is a ratio, of sums over sessions to their numbers of tasks; its variance is that of
    the linearised ratio between clusters (Cochran, "Sampling Techniques", 1977, 6.3 and 9A). So is that of a
    self-normalised estimate, a ratio of weighted sums.

    Args:
        influences: They sum to 0, shape ``(n,)``.
        clusters: The cluster of each observation, from 0 without a gap, at least two of them, shape ``(n,)``.
    """
    count = int(clusters.max()) + 1
    sums = np.bincount(clusters, weights=influences, minlength=count)
    return math.sqrt(count / (count - 1) * float(np.square(sums).sum()))


def student_t(freedom: int, share: float = TWO_SIDED) -> float:
    """A point of Student's t: below it lies ``share`` of the distribution.

    It is the expansion of Cornish and Fisher (Hill, CACM 1970): at .975 it is .004 off at 3 degrees of freedom, and
    .0001 from 7 on; further out it is less exact, some percent too small at .999 and 3.

    Args:
        freedom: Degrees of it, at least 1; for 1 and 2 the point is exact.
        share: In (0, 1).
    """
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    if freedom == 2:
        return (2.0 * share - 1.0) / math.sqrt(2.0 * share * (1.0 - share))
    z, v = NormalDist().inv_cdf(share), float(freedom)
    terms = (
        z,
        (z**3 + z) / (4.0 * v),
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * v**2),
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / (384.0 * v**3),
        (79.0 * z**9 + 776.0 * z**7 + 1482.0 * z**5 - 1920.0 * z**3 - 945.0 * z) / (92160.0 * v**4),
    )
    return sum(terms)
