"""How much the answers depend on each parameter: the diagonal of the Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from router_sdk_bert.finetuning.model import HEAD

if TYPE_CHECKING:
    import torch


if TYPE_CHECKING:
    Fisher = Mapping[str, torch.Tensor]
    """Parameter name to a tensor of its shape, each entry at least 0."""


def diagonal_fisher(
    parameters: Mapping[str, torch.Tensor],
    loss_of: Callable[[int], torch.Tensor],
    n: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, torch.Tensor]:
    """The mean over samples of each sample's *own* squared gradient.

    Squaring the gradient of a batch's mean loss instead would be near zero at an optimum, where gradients cancel
    though every one of them is large.

    Args:
        parameters: Leaves that require a gradient.
        loss_of: Negative log-likelihood of one sample, a scalar.
        n: Samples.
        check: Called before each sample; may raise, to stop.

    Returns:
        For each parameter a tensor of its shape.
    """
    import torch

    total = {name: torch.zeros_like(value, requires_grad=False) for name, value in parameters.items()}
    for sample in range(n):
        check()
        gradients = torch.autograd.grad(loss_of(sample), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name].addcmul_(gradient, gradient, value=1.0 / n)
    return total


def accumulated(old: Fisher, new: Fisher, decay: float) -> dict[str, torch.Tensor]:
    """Fisher information of all fits so far, the older the less.

    Schwarz et al., "Progress & Compress", ICML 2018 (online EWC): ``decay · old + new``.

    Args:
        old: Of the fits before.
        new: Of this one.
        decay: What the old counts, in [0, 1].
    """
    return {
        name: decay * old[name].float() + new[name].float() if name in old and name in new else _one(old, new, name)
        for name in {**old, **new}
    }


def _one(old: Fisher, new: Fisher, name: str) -> torch.Tensor:
    return (new[name] if name in new else old[name]).float()


def regrown(fisher: Fisher, before: Sequence[str], now: Sequence[str]) -> dict[str, torch.Tensor]:
    """The same information after agents came and went: rows of the head follow their names, new ones are zero.

    Args:
        fisher: Fisher information; parameters of the head have one row per agent.
        before: Agents of its rows.
        now: Agents of the new rows.
    """
    place = {name: row for row, name in enumerate(before)}
    kept = [(row, place[name]) for row, name in enumerate(now) if name in place]
    grown: dict[str, torch.Tensor] = {}
    for name, value in fisher.items():
        if not name.startswith(HEAD):
            grown[name] = value
            continue
        grown[name] = value.new_zeros((len(now), *value.shape[1:]))
        for row, old_row in kept:
            grown[name][row] = value[old_row]
    return grown
