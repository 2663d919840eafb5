"""Where a fit runs, in which arithmetic, on how many threads, and from which seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from router_sdk.plugin import FitError

if TYPE_CHECKING:
    import torch


def choose_device(wanted: str) -> str:
    """The device to train on; ``"auto"`` is a CUDA GPU, else Apple's, else the CPU.

    Raises:
        FitError: if a device was asked for by name that is not there.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise FitError(f"device {wanted!r} cannot be used: {str(error).splitlines()[0]}") from error
    return wanted


def choose_precision(wanted: str, device: str) -> torch.dtype | None:
    """The type that autocast computes in, or None for single precision."""
    import torch

    if wanted == "auto":
        bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if bf16 else None
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def autocast(device: str, precision: torch.dtype | None) -> AbstractContextManager[None]:
    """A context in which matrix products are computed in ``precision``."""
    import torch

    if precision is None:
        return nullcontext()
    context: AbstractContextManager[None] = torch.autocast(device.partition(":")[0], dtype=precision)
    return context


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let one operation use that many threads, and leave the process as it was."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Draw torch's randomness, such as dropout, from this seed, and leave the global generators as they were."""
    import numpy as np
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1))
        yield
