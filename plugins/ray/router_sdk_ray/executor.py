"""The executor: an actor for each fit, asked how far it is, and replaced where its machine was lost."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from router_sdk.plugin import (
    CHECKPOINTS,
    RESULTS,
    FitError,
    FitExecutor,
    FitExecutorConfig,
    FitJob,
    FitStoppedError,
    InvalidConfigError,
    TooFewExamplesError,
    pack_folder,
    unpack_folder,
)
from router_sdk_ray.worker import Worker

if TYPE_CHECKING:
    from types import ModuleType

    from router_sdk_ray.worker import Ended, Said

_STOP_S = 5.0
"""How long a worker that is told to stop has to hand over its last checkpoint."""

_log = logging.getLogger(__name__)
_connecting = threading.Lock()


class RayConfig(FitExecutorConfig):
    """How fits are done on Ray. Every machine that may do one needs the same plugins as this process.

    Attributes:
        address: Of the cluster, such as ``"ray://head:10001"`` or ``"auto"``; None takes the one that the program is
            connected to, else that of ``RAY_ADDRESS``, else starts Ray on this machine. It stays connected.
        num_cpus: Processor cores to reserve for a fit.
        num_gpus: GPUs to reserve, also a part of one; None takes one where the cluster has any and the device of the
            configuration is none of ``cpu`` and ``mps``.
        memory_mb: Memory to reserve, in megabytes; None reserves none.
        resources: Other resources to reserve, by name.
        runtime_env: Ray's runtime environment for the worker.
        retries: How often a fit whose worker was lost is begun again, from its last checkpoint.
        look_seconds: How often is looked how far it is, in seconds.
    """

    address: str | None = None
    num_cpus: float = Field(default=1.0, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory_mb: float | None = Field(default=None, gt=0)
    resources: dict[str, float] = Field(default_factory=dict)
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    retries: int = Field(default=3, ge=0)
    look_seconds: float = Field(default=0.5, gt=0)


class RayExecutor(FitExecutor):
    """Does fits on a Ray cluster."""

    name = "ray"
    copies = True
    Config = RayConfig
    config: RayConfig

    def __init__(self, config: FitExecutorConfig) -> None:
        super().__init__(config)
        try:
            import ray
        except ImportError as error:
            raise InvalidConfigError("fit_executor='ray' needs Ray: pip install router-sdk-ray") from error
        self._ray: ModuleType = ray

    def run(self, job: FitJob) -> None:
        """Do a fit, and return once its results lie in the job's folder."""
        ray = self._ray
        try:
            self._connect()
            first = self._worker(job)  # it starts while the log is copied
            try:
                with tempfile.TemporaryDirectory(prefix="router-fit-") as place:
                    job.copy_to(Path(place) / "fit")
                    fit = ray.put(pack_folder(Path(place) / "fit"))
            except BaseException:
                ray.kill(first)
                raise
            ended = self._seen_through(job, first, fit)
        except ray.exceptions.RayError as error:
            line = str(error).strip().partition("\n")[0]
            raise FitError(f"Ray: {type(error).__name__}: {line}", f"Ray: {type(error).__name__}") from error
        if ended.too_few:
            raise TooFewExamplesError(ended.words, ended.logged)
        if ended.results is None:
            raise FitError(ended.words, ended.logged)
        unpack_folder(ended.results, job.folder, RESULTS)

    def _connect(self) -> None:
        ray = self._ray
        with _connecting:
            if not ray.is_initialized():
                try:
                    ray.init(self.config.address, log_to_driver=False, configure_logging=False, include_dashboard=False)
                except (ConnectionError, ValueError, RuntimeError) as error:
                    raise FitError(f"Ray cannot be reached: {error}", "Ray cannot be reached") from error

    def _seen_through(self, job: FitJob, worker: Any, fit: object) -> Ended:
        """Begin, and begin again with another worker where one is lost."""
        lost = (self._ray.exceptions.RayActorError, self._ray.exceptions.WorkerCrashedError)
        checkpoints = _packed_checkpoints(job)
        for left in range(self.config.retries, -1, -1):
            try:
                return self._followed(job, worker, fit, checkpoints)
            except lost as error:
                if job.stopped():
                    raise FitStoppedError("stopped") from None
                if not left:
                    raise
                _log.warning("the worker of a fit was lost, and another one goes on: %s", type(error).__name__)
                checkpoints = _packed_checkpoints(job)
            finally:
                self._ray.kill(worker)
            worker = self._worker(job)
        raise AssertionError("unreachable")

    def _worker(self, job: FitJob) -> Any:
        config = self.config
        told: dict[str, Any] = {"num_cpus": config.num_cpus, "num_gpus": self._gpus(job.device), "max_concurrency": 4}
        if config.memory_mb is not None:
            told["memory"] = int(config.memory_mb * 1_000_000)
        if config.resources:
            told["resources"] = config.resources
        if config.runtime_env:
            told["runtime_env"] = config.runtime_env
        return self._ray.remote(Worker).options(**told).remote()

    def _gpus(self, device: str) -> float:
        if self.config.num_gpus is not None:
            return self.config.num_gpus
        there = float(self._ray.cluster_resources().get("GPU", 0.0))
        return min(1.0, there) if device not in ("cpu", "mps") else 0.0

    def _followed(self, job: FitJob, worker: Any, fit: object, checkpoints: bytes | None) -> Ended:
        """Ask how far it is until it has ended."""
        ray, pause = self._ray, self.config.look_seconds
        job.progress(0.0, "waiting for a place on the cluster")
        work = worker.work.remote(fit, checkpoints, job.device)
        mark, look, asked = "", worker.look.remote(), time.monotonic()
        while True:
            waiting = [work] if look is None else [work, look]
            ready, _ = ray.wait(waiting, num_returns=1, timeout=pause)
            if job.stopped():
                self._stop(job, worker, mark)
            if work in ready:
                ended: Ended = ray.get(work)
                return ended
            if look is not None and look in ready:
                mark = _heard(job, ray.get(look))
                look = None
            if look is None and time.monotonic() - asked >= pause:
                look, asked = worker.look.remote(mark), time.monotonic()

    def _stop(self, job: FitJob, worker: Any, mark: str) -> None:
        """Stop it, keep its last checkpoint, and raise ``FitStoppedError``."""
        worker.stop.remote()
        try:
            _heard(job, self._ray.get(worker.look.remote(mark), timeout=_STOP_S))
        except self._ray.exceptions.RayError as error:  # it had not begun, or is gone: what is known has to do
            _log.info("a worker was stopped without a word: %s", type(error).__name__)
        raise FitStoppedError("stopped")


def _packed_checkpoints(job: FitJob) -> bytes | None:
    return pack_folder(job.folder, (CHECKPOINTS,)) if (job.folder / CHECKPOINTS).is_dir() else None


def _heard(job: FitJob, said: Said) -> str:
    """Pass on how far it is, and keep the checkpoints that came; returns their mark."""
    job.progress(said.share, said.words)
    if said.checkpoints is not None:
        unpack_folder(said.checkpoints, job.folder, (CHECKPOINTS,))
    return said.mark
