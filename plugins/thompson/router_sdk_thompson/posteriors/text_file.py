"""The posterior over text on disk: what was touched, as npy, and the numbers beside it as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.drift.fading import Restless
from router_sdk_thompson.drift.text_drift import TextWatch
from router_sdk_thompson.features.hashed_text import FEATURES
from router_sdk_thompson.posteriors.diagonal_gaussian import Diagonal
from router_sdk_thompson.posteriors.saved_arrays import save_array

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk_thompson.posteriors.over_text import TextModel

_MOST_HALVED = FEATURES.bit_length() - 2


def save_text(model: TextModel, folder: Path) -> None:
    """Write what was learnt; nothing where nothing was."""
    if not model.events:
        return
    names = sorted(model.evidence.rows)
    state = {
        "events": model.events,
        "step": model.clock.step,
        "agents": names,
        "halved": model.evidence.halved,
        "counts": model.evidence.counts(names),
        "residual": model.residual,
        "observed": model.observed,
        "rivals": [model.rivals.successes, model.rivals.whims],
        "watch": model.watch.state(),
        "restless": model.restless.changed,
    }
    (folder / "text.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
    rows = [model.evidence.rows[name] for name in names]
    mean, precision = model.evidence.mean[rows], model.evidence.precision[rows]
    touched = np.flatnonzero((mean != 0.0) | (precision != 0.0))
    save_array(folder / "text_places.npy", touched.astype(np.int64))
    save_array(folder / "text_mean.npy", mean.ravel()[touched])
    save_array(folder / "text_precision.npy", precision.ravel()[touched])


def load_text(model: TextModel, folder: Path) -> None:
    """Read what ``save_text`` wrote; ``model`` stays as it was if it is not valid.

    Raises:
        CorruptArtifactError: if it cannot be read, is not finite, or a precision is negative.
    """
    if not (folder / "text.json").exists():
        return
    try:
        state = json.loads((folder / "text.json").read_text(encoding="utf-8"))
        places, mean, precision = (
            np.load(folder / f"text_{key}.npy", allow_pickle=False) for key in ("places", "mean", "precision")
        )
        names = [str(name) for name in state["agents"]]
        if not (np.isfinite(mean).all() and np.isfinite(precision).all() and (precision >= 0.0).all()):
            raise ValueError("posterior is not finite, or a precision is negative")
        if len({len(places), len(mean), len(precision)}) != 1:
            raise ValueError("arrays do not fit each other")
        numbers = [float(state[key]) for key in ("residual", "observed")]
        successes, whims = (float(number) for number in state["rivals"])
        if not all(math.isfinite(number) and number >= 0.0 for number in [*numbers, successes, whims]):
            raise ValueError("sums must be finite and at least 0")
        watch = TextWatch.restored(state["watch"], model.config)
        restless = Restless.restored(state["restless"])
        evidence = Diagonal(1.0 / model.evidence.base, min(max(int(state.get("halved", 0)), 0), _MOST_HALVED))
        for name in names:
            evidence.row(name)
        if len(places) and (int(places[0]) < 0 or int(places[-1]) >= len(names) * evidence.mean.shape[1]):
            raise ValueError("places are out of range")
        evidence.mean.ravel()[places] = mean
        evidence.precision.ravel()[places] = precision
        evidence.count[: len(names)] = [float(count) for count in state["counts"]]
        events, step = int(state["events"]), state["step"]
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        raise CorruptArtifactError(f"the posterior over text cannot be used: {error}") from error
    model.evidence, model.watch, model.restless = evidence, watch, restless
    model.copies.touch_all(evidence.rows.values())
    model.residual, model.observed = numbers
    model.rivals.successes, model.rivals.whims = successes, whims
    model.events, model.clock.step = events, step
