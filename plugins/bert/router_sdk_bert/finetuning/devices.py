"""Where a fit runs, in which arithmetic, from which seed, and how much fits into memory at once."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from router_sdk.plugin import FitError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")


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


class HostMemoryError(MemoryError):
    """The process has grown beyond what it was allowed."""


def resident_mb() -> float:
    """Resident memory of this process, in MiB; its highest so far where the system tells no more."""
    import resource
    import sys

    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (2**20 if sys.platform == "darwin" else 2**10)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)


class Room:
    """How many examples go through the model at once, and where.

    Halves the number whenever memory runs out; at one example it moves to the CPU and starts again; there, at one,
    the fit has failed. A step of the optimiser still sees the same examples, in more parts.

    Args:
        device: Where to begin.
        size: Examples at once, to begin with.
        move: Called with ``"cpu"`` when everything has to go there.
        host_limit_mb: Most resident memory of the process, in MiB, or None.
    """

    def __init__(
        self,
        device: str,
        size: int,
        move: Callable[[str], None] = lambda device: None,
        host_limit_mb: int | None = None,
    ) -> None:
        self.device, self.size = device, size
        self._first, self._move, self._host_limit_mb = size, move, host_limit_mb

    def attempt(self, work: Callable[[], T]) -> T:
        """Do some work that reads ``size`` and ``device``, again and smaller for as long as memory runs out.

        Raises:
            FitError: if a single example does not fit, even on the CPU.
        """
        while True:
            try:
                self._check_host()
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._shrink(reason)

    def _check_host(self) -> None:
        if self._host_limit_mb is None:
            return
        if resident_mb() > self._host_limit_mb:
            gc.collect()
            if (used := resident_mb()) > self._host_limit_mb:
                raise HostMemoryError(f"{used:.0f} MiB are resident, {self._host_limit_mb} are allowed")

    def _shrink(self, reason: str) -> None:
        import torch

        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        if self.size > 1:
            self.size //= 2
            logger.warning("out of memory on %s: batches of %d from now on (%s)", self.device, self.size, reason)
        elif self.device != "cpu":
            self.device, self.size = "cpu", self._first
            self._move("cpu")
            logger.warning("out of memory on the GPU with one example: the fit goes on, on the CPU (%s)", reason)
        else:
            raise FitError(f"out of memory on the CPU with one example at a time: {reason}")


def limit_gpu(device: str, share: float | None) -> None:
    """Use at most this share of the GPU's memory, in [0, 1]; None leaves it as it is."""
    import torch

    if share is not None and device.startswith("cuda"):
        torch.cuda.set_per_process_memory_fraction(share)
