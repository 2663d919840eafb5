"""Ends a fit within a second, even in the middle of a long pass through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import FitStoppedError

if TYPE_CHECKING:
    import torch


class StopWatch:
    """Asks whether to stop.

    Args:
        stopped: ``FitContext.stopped``.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def check(self) -> None:
        """Go on, or end the fit.

        Raises:
            FitStoppedError: if it was told to stop.
        """
        if self._stopped():
            raise FitStoppedError("the fit was told to stop; what serves is untouched")

    @contextmanager
    def inside(self, model: torch.nn.Module) -> Iterator[None]:
        """Ask at each layer as well, forwards and backwards: a pass through a large model on a CPU takes seconds."""
        hooks = [
            hook
            for module in _layers(model)
            for hook in (module.register_forward_pre_hook(self._forward), module.register_forward_hook(self._watch))
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _forward(self, module: torch.nn.Module, inputs: Any) -> None:
        self.check()

    def _watch(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if hidden.requires_grad:
            hidden.register_hook(self._backward)

    def _backward(self, gradient: torch.Tensor) -> None:
        self.check()


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks that a transformer stacks."""
    import torch

    return [layer for stack in model.modules() if isinstance(stack, torch.nn.ModuleList) for layer in stack]
