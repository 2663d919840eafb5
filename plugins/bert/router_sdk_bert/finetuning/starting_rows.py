"""The linear rows that a fine-tune starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_sdk_bert.finetuning.lessons import Lessons
from router_sdk_bert.finetuning.linear import LinearRows, class_means, no_rows, probe
from router_sdk_bert.finetuning.targets import targets_of


def served_rows(lessons: Lessons, left: LinearRows | None) -> LinearRows | None:
    """The serving version's linear rows, for the agents that it knows; None where it cannot tell two apart.

    Args:
        lessons: What is to be learnt.
        left: Rows that the last fine-tune trained; else rows are fitted to what the version serves for, on its own
            embeddings.
    """
    return left if left is not None and left.names else _probed(lessons, lessons.known())


def first_rows(lessons: Lessons, served: LinearRows | None) -> LinearRows:
    """Where the trained rows start: what served, and for a new agent the mean of what it is taught."""
    vectors = lessons.vectors()
    rows = no_rows(vectors.shape[1]) if served is None else served
    targets = targets_of(lessons.samples, {name: row for row, name in enumerate(lessons.names)})
    means = class_means(lessons.names, vectors, targets)
    length = float(np.linalg.norm(rows.weight, axis=1).mean()) if rows.names else 1.0
    return rows.grown(lessons.names, {name: mean * length for name, mean in means.items()})


def _probed(lessons: Lessons, which: Sequence[int]) -> LinearRows | None:
    """Rows fitted to some of the samples, for the agents that they name."""
    samples = [lessons.samples[place] for place in which]
    told = {name for sample in samples for name in (sample.label, sample.agent) if name is not None}
    names = tuple(name for name in lessons.names if name in told)
    if len(names) < 2:
        return None
    vectors = lessons.vectors()[list(which)]
    targets = targets_of(samples, {name: row for row, name in enumerate(names)})
    start = no_rows(vectors.shape[1]).grown(names, class_means(names, vectors, targets))
    return probe(start, vectors, targets, exclusive=lessons.exclusive)
