"""The posterior over vectors on disk: arrays as npy, and what belongs to them as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.drift.agent_evidence import checked_pair
from router_sdk_thompson.drift.detectors import restored_detector
from router_sdk_thompson.drift.fading import Restless
from router_sdk_thompson.features.columns import Columns
from router_sdk_thompson.features.design import Design
from router_sdk_thompson.posteriors.saved_arrays import save_array
from router_sdk_thompson.rivals import Rivals

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk_thompson.posteriors.over_vectors import DenseModel

ARRAYS = ("mean", "sigma", "count", "residual", "early")


def save_dense(model: DenseModel, folder: Path, stem: str) -> None:
    """Write what was learnt, in files whose names begin with ``stem``; nothing where nothing was."""
    posterior, design = model.posterior, model.design
    if design is None:
        return
    state = {
        "events": model.events,
        "step": model.clock.step,
        "columns": design.columns.state(),
        "fourier": 0 if design.fourier is None else design.fourier.count,
        "drawn": 0 if design.fourier is None else design.fourier.drawn,
        "early": list(model.early),
        "rivals": [model.rivals.whims, model.rivals.successes],
        "agents": posterior.names(),
        "restless": model.restless.changed,
        "detectors": {name: each.state() for name, each in model.detectors.items()},
    }
    (folder / f"{stem}.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
    rows = [np.pad(x, (0, design.width - len(x))) for x in model.early.values()]
    save_array(folder / f"{stem}_early.npy", np.array(rows).reshape(len(rows), design.width))
    for key, array in posterior.arrays().items():
        save_array(folder / f"{stem}_{key}.npy", array)


def load_dense(model: DenseModel, folder: Path, stem: str) -> None:
    """Read what ``save_dense`` wrote; ``model`` stays as it was if it is not valid.

    Raises:
        CorruptArtifactError: if it cannot be read, is not finite, or a covariance is not positive definite.
    """
    if not (folder / f"{stem}.json").exists():
        return
    try:
        state = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        arrays = {key: np.load(folder / f"{stem}_{key}.npy", allow_pickle=False) for key in ARRAYS}
        early = dict(zip([str(each) for each in state["early"]], arrays["early"], strict=True))
        columns = Columns()
        columns.restore(state["columns"])
        posterior = model.empty()
        posterior.restore([str(name) for name in state["agents"]], arrays)
        detectors = {str(name): restored_detector(model.config, each) for name, each in state["detectors"].items()}
        restless = Restless.restored(state["restless"])
        design = Design(columns, model.fourier(int(state.get("drawn", state["fourier"]))))
        if design.fourier is not None:
            design.fourier.keep(int(state["fourier"]))
        events, step = int(state["events"]), state["step"]
        rivals = Rivals()
        rivals.whims, rivals.successes = checked_pair(state["rivals"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, np.linalg.LinAlgError) as error:
        raise CorruptArtifactError(f"the posterior over features cannot be used: {error}") from error
    if design.fourier is not None:
        design.fourier.grow(columns.count)
    if posterior.rows and posterior.width != design.width:
        raise CorruptArtifactError("the posterior over features does not fit its columns")
    model.replace(design, posterior)
    model.detectors, model.restless, model.rivals = detectors, restless, rivals
    model.events, model.clock.step, model.early = events, step, early
