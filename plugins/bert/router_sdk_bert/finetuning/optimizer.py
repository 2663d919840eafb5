"""AdamW with a linear warm-up and decay, whose state can be written as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from router_sdk_bert.config import FULL_LEARNING_RATE, LORA_LEARNING_RATE

if TYPE_CHECKING:
    import torch

    from router_sdk_bert.config import FitSettings

STEPS = "steps"
GRADIENT_SCALE = "gradient_scale"


class Trainable(Protocol):
    """A model as far as it is moved: where it is, what of it moves, and which of that is the head."""

    @property
    def device(self) -> str:
        """Where its parameters are."""

    def trainable(self) -> Mapping[str, torch.nn.Parameter]:
        """Every parameter that moves, by name."""

    def head_parameters(self) -> Mapping[str, torch.nn.Parameter]:
        """Those of the head."""


class Optimizer:
    """Moves a model's parameters.

    Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019. Half-precision gradients are scaled
    against underflow; a step whose gradients overflow is left out.

    Args:
        model: Its trainable parameters are moved.
        settings: Learning rates, decay and clipping.
        steps: Steps of the whole fit, for the schedule.
    """

    def __init__(self, model: Trainable, settings: FitSettings, steps: int) -> None:
        import torch

        self._model, self._settings, self._steps = model, settings, max(steps, 1)
        self._parameters = model.trainable()
        self._fused = model.device.startswith("cuda")  # one kernel for all parameters instead of some for each
        lora = any("lora_" in name for name in self._parameters)
        encoder_rate = settings.learning_rate or (LORA_LEARNING_RATE if lora else FULL_LEARNING_RATE)
        self._rates = (encoder_rate, encoder_rate, settings.head_learning_rate)
        head = model.head_parameters()
        body = [value for name, value in self._parameters.items() if name not in head]
        matrices, others = ([value for value in body if (value.dim() > 1) is matrix] for matrix in (True, False))
        self._adam = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
                {"params": list(head.values()), "weight_decay": 0.0},
            ],
            lr=encoder_rate,
            fused=self._fused,
        )
        self._done = 0
        self._scaler = torch.amp.GradScaler(model.device.partition(":")[0], enabled=settings.mixed_precision == "fp16")

    def zero(self) -> None:
        """Forget gradients."""
        self._adam.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradients."""
        import torch

        if loss.requires_grad:
            torch.autograd.backward(self._scaler.scale(loss))

    def step(self) -> None:
        """Move the parameters by the gradients that were added, at this step's learning rate."""
        import torch

        self._follow()
        factor = self._factor()
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._scaler.unscale_(self._adam)
        torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), self._settings.clip_norm)
        self._scaler.step(self._adam)
        self._scaler.update()
        self._done += 1

    def _factor(self) -> float:
        """Rises over the first steps, then falls to zero in a line; in (0, 1]."""
        warm = max(round(self._settings.warmup * self._steps), 1)
        rising = (self._done + 1) / warm
        falling = (self._steps - self._done) / max(self._steps - warm + 1, 1)
        return max(min(rising, falling, 1.0), 0.0)

    def _follow(self) -> None:
        """Bring the optimiser's state to where its parameters have gone: memory ran out, and they were moved."""
        for parameter, state in self._adam.state.items():
            for name, value in state.items():
                state[name] = value.to(self._place(name, parameter))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state as plain tensors: no pickle is needed to keep it."""
        import torch

        kept = {
            f"{name}/{part}": value
            for name, parameter in self._parameters.items()
            for part, value in self._adam.state.get(parameter, {}).items()
        }
        scale = self._scaler.get_scale() if self._scaler.is_enabled() else 1.0
        return {**kept, STEPS: torch.tensor(self._done), GRADIENT_SCALE: torch.tensor(scale)}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up the state that ``tensors`` gave."""
        rest = dict(tensors)
        self._done = int(rest.pop(STEPS))
        scale = float(rest.pop(GRADIENT_SCALE))
        if self._scaler.is_enabled():
            self._scaler.update(scale)
        for key, value in rest.items():
            name, _, part = key.rpartition("/")
            parameter = self._parameters[name]
            self._adam.state[parameter][part] = value.to(self._place(part, parameter))

    def _place(self, part: str, parameter: torch.Tensor) -> torch.device:
        """Where a part of a parameter's state belongs: counts of steps stay on the CPU unless a kernel reads them."""
        import torch

        return torch.device("cpu") if part == "step" and not self._fused else parameter.device
