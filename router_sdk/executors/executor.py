"""Where a fit is done: what a plugin subclasses to do it elsewhere, and what it is handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

REQUEST = "request.json"
CHECKPOINTS = "checkpoints"
RESULTS = ("version", "report.json", "dataset.json")
"""What a fit leaves in its folder once it has ended well: the candidate, and what is known of it."""


class FitExecutorConfig(BaseModel):
    """Base of an executor's ``Config``: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class FitJob:
    """One fit to be done.

    Attributes:
        folder: A private one, with all of the fit but the log, which the request names: the request, the state of what
            serves, and the checkpoints of an attempt that was cut off. What comes of it goes there, see ``RESULTS``.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` …, or ``"auto"`` for the best there is.
        progress: Told the share done in [0, 1] and a few words.
        stopped: Whether it was asked to stop.
        copy_to: Writes a new folder that holds all that the fit reads, a copy of the log as well, so that it can be
            done where this machine's files are not. Texts leave the machine with it, where privacy kept any.
    """

    folder: Path
    device: str
    progress: Callable[[float, str], None]
    stopped: Callable[[], bool]
    copy_to: Callable[[Path], None]


class FitExecutor(ABC):
    """Somewhere fits are done. Subclass it, give it a ``name``, and implement ``run``.

    ``run`` does ``python -P -m router_sdk.training.worker FOLDER/request.json`` somewhere, or has ``fit_in_child`` do
    it where it is: strategy and reward are found there by their names. Several fits may run at once, each on a thread
    of its own.

    Attributes:
        copies: Whether ``run`` calls ``FitJob.copy_to``, which copies a log in a file alone: on another database such
            an executor is refused when the router is made.
    """

    name: ClassVar[str]
    copies: ClassVar[bool] = False
    Config: ClassVar[type[FitExecutorConfig]] = FitExecutorConfig

    def __init__(self, config: FitExecutorConfig) -> None:
        self.config = config

    @abstractmethod
    def run(self, job: FitJob) -> None:
        """Do a fit, and return once its results lie in the job's folder.

        Raises:
            FitStoppedError: within seconds, if it was told to stop; checkpoints are in the job's folder then.
            TooFewExamplesError: if nothing could judge a candidate.
            FitError: if it failed.
        """
