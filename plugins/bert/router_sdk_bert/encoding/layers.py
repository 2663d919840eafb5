"""What comes behind the pooling, in torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.pipeline import WEIGHTS, Dense, Pipeline
from router_sdk_bert.tensor_layout import read_tensor

if TYPE_CHECKING:
    import torch


def load_layers(folder: Path, pipeline: Pipeline) -> torch.nn.Module:
    """The steps behind the pooling as one module, in single precision, that does not train.

    Args:
        folder: Checkpoint in whose folders their weights lie.
        pipeline: Names them.

    Raises:
        EncoderUnavailableError: if a layer's weights are not there.
        CorruptArtifactError: if a file is not valid.
    """
    import torch

    class Unit(torch.nn.Module):
        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(vectors, dim=1)

    class Layer(torch.nn.Module):
        def __init__(self, step: Dense) -> None:
            super().__init__()
            self.linear = linear(step, "linear")
            self.activation: torch.nn.Module = getattr(torch.nn, step.activation)()
            self.residual = None
            if step.residual:
                narrowed = self.linear.in_features != self.linear.out_features
                self.residual = linear(step, "residual") if narrowed else torch.nn.Identity()

        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.activation(self.linear(vectors))
            return found if self.residual is None else found + self.residual(vectors)

    def linear(step: Dense, name: str) -> torch.nn.Linear:
        path = folder / step.folder / WEIGHTS
        weight, bias = read_tensor(path, f"{name}.weight"), read_tensor(path, f"{name}.bias")
        if weight is None or weight.ndim != 2:
            raise EncoderUnavailableError(f"{folder}: {step.folder}/{WEIGHTS} holds no {name}.weight")
        made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        made.load_state_dict(
            {"weight": torch.from_numpy(weight)} | ({} if bias is None else {"bias": torch.from_numpy(bias)})
        )
        return made

    steps = [Layer(step) if isinstance(step, Dense) else Unit() for step in pipeline.steps]
    return torch.nn.Sequential(*steps).eval().requires_grad_(requires_grad=False)
