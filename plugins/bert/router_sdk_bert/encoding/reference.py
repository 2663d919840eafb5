"""What an exported encoder is compared with: the folder's pipeline, one text at a time, in numpy.

It shares the transformer with what is exported, and nothing that comes behind it: no padding, no mask, no graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.pipeline import WEIGHTS, Activation, Dense, Step
from router_sdk_bert.tensor_layout import read_tensor

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.encoding.module import EncoderModule
    from router_sdk_bert.encoding.settings import PoolingMode

_POOLINGS: dict[PoolingMode, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "cls": lambda states, _: states[0],
    "lasttoken": lambda states, _: states[-1],
    "max": lambda states, _: states.max(axis=0),
    "mean": lambda states, _: states.mean(axis=0),
    "mean_sqrt_len_tokens": lambda states, _: states.sum(axis=0) / math.sqrt(len(states)),
    "weightedmean": lambda states, places: np.average(states, axis=0, weights=places),
}
_MEASURED = 64
"""Texts whose vectors' lengths are averaged."""
_erf = np.vectorize(math.erf)
_ACTIVATIONS: dict[Activation, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0.0),
    "GELU": lambda x: x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0))),
    "SiLU": lambda x: x / (1.0 + np.exp(-x)),
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
}


def reference_vectors(
    module: EncoderModule, folder: Path, tokens: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float32], float]:
    """Normalised vectors, shape ``(n, d)``, and the mean length that they had before.

    Args:
        module: Whose transformer to run; on the CPU.
        folder: Checkpoint that it was read from.
        tokens: Ids of each text.

    Raises:
        EncoderUnavailableError: if the model makes none, or none that are finite.
    """
    import torch

    layers = [_Layer(folder, step) for step in module.pipeline.steps]
    vectors = []
    for ids in tokens:
        try:
            vectors.append(_vector(module, layers, torch.tensor([ids])))
        except Exception as error:  # What a model raises depends on what it is.
            kind = type(module.model).__name__
            raise EncoderUnavailableError(f"{folder}: a {kind} makes nothing of a text: {first_line(error)}") from error
    made = np.stack(vectors)
    if not np.isfinite(made).all():
        raise EncoderUnavailableError(f"{folder}: the model's vectors are not finite")
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    return (made / np.maximum(lengths, 1e-12)).astype(np.float32), float(lengths[:_MEASURED].mean())


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _vector(module: EncoderModule, layers: Sequence[_Layer], ids: torch.Tensor) -> NDArray[np.float64]:
    import torch

    with torch.inference_mode():
        if module.pooling == "classifier":
            seen: NDArray[np.float64] = module.pool(ids)[0].double().numpy()
            return seen
        states: NDArray[np.float64] = module.model(input_ids=ids).last_hidden_state[0].double().numpy()
    places = np.arange(1.0, len(states) + 1.0)
    kept, places = states[module.skipped :], places[module.skipped :]
    vector = np.concatenate([_POOLINGS[mode](kept, places) for mode in module.modes])
    for layer in layers:
        vector = layer(vector)
    return vector[: module.pipeline.dimension]


class _Layer:
    def __init__(self, folder: Path, step: Step) -> None:
        self._step = step
        if not isinstance(step, Dense):
            return
        path = folder / step.folder / WEIGHTS
        weight = read_tensor(path, "linear.weight")
        if weight is None:
            raise EncoderUnavailableError(f"{folder}: {step.folder}/{WEIGHTS} holds no linear.weight")
        self._weight, self._bias = weight.astype(np.float64), read_tensor(path, "linear.bias")
        self._residual = read_tensor(path, "residual.weight")

    def __call__(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        step = self._step
        if not isinstance(step, Dense):
            return vector / max(float(np.linalg.norm(vector)), 1e-12)
        bias = 0.0 if self._bias is None else self._bias
        found = _ACTIVATIONS[step.activation](self._weight @ vector + bias)
        if step.residual:
            found = found + (vector if self._residual is None else self._residual @ vector)
        return found
