"""How much fits into memory at once, found out by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from router_sdk.plugin import FitError

logger = logging.getLogger(__name__)

T = TypeVar("T")


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
