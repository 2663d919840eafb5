"""A fit by any command: a scheduler's, a container's, another machine's that shares a folder with this one."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from router_sdk.errors import FAULTS, FitError
from router_sdk.executors.child import Told, environment, follow, heard, judge
from router_sdk.executors.executor import CHECKPOINTS, REQUEST, RESULTS, FitExecutor, FitExecutorConfig, FitJob
from router_sdk.private_files import private_folder

STOP = "stop"
"""Once a file of this name lies beside a request that was copied, its worker ends within seconds."""
TOLD = "told.json"
"""There the worker of such a request says how far it is, and why it failed: a scheduler may keep its output."""

_PLACES = ("request", "folder", "python", "device")
_ERRORS = "errors.txt"


def _words(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


class CommandConfig(FitExecutorConfig):
    """How a fit is done by a command.

    Attributes:
        command: The program and its arguments, as a list or as a shell would split a text; no shell is run. It returns
            once ``python -P -m router_sdk.training.worker {request}`` has ended somewhere, with its exit status.
            ``{request}`` is the request's file, ``{folder}`` the folder it lies in, ``{python}`` this interpreter,
            ``{device}`` the configured device; ``{{`` and ``}}`` are braces.
        folder: Where a folder for each fit is made, which the command must see under the same name; None takes one
            beside the store. It holds a copy of the log while the fit runs.
        look_seconds: How often is looked how far it is, in seconds.
        grace_seconds: How long a command that is told to stop has until it is killed, in seconds.
    """

    command: Annotated[tuple[str, ...], BeforeValidator(_words)]
    folder: Path | None = None
    look_seconds: float = Field(default=1.0, gt=0)
    grace_seconds: float = Field(default=10.0, ge=0)

    @field_validator("command")
    @classmethod
    def _check(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        try:
            named = {name for word in command for _, name, _, _ in string.Formatter().parse(word) if name is not None}
        except ValueError as error:
            raise ValueError(f"{error}; braces that are no place are doubled, {{{{ and }}}}") from None
        unknown = sorted(named.difference(_PLACES))
        if unknown:
            raise ValueError(f"there is no place {unknown}; there are {list(_PLACES)}")
        if not named.intersection(("request", "folder")):
            raise ValueError("it names no {request}, so that it could not know what to do")
        return command


class Command(FitExecutor):
    """Runs a command line for each fit, with all that the fit needs in one folder."""

    name = "command"
    copies = True
    Config = CommandConfig
    config: CommandConfig

    def run(self, job: FitJob) -> None:
        """Do a fit, and return once its results lie in the job's folder."""
        beside = job.folder if self.config.folder is None else private_folder(self.config.folder.absolute())
        folder = Path(tempfile.mkdtemp(prefix="fit-", dir=beside)) / "fit"
        try:
            job.copy_to(folder)
            self._follow(job, folder)
            self._take(folder, job.folder)
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)

    def _follow(self, job: FitJob, folder: Path) -> None:
        places = {"request": folder / REQUEST, "folder": folder, "python": sys.executable, "device": job.device}
        command = [word.format(**places) for word in self.config.command]
        errors = folder.parent / _ERRORS
        ended = threading.Event()
        look = threading.Thread(target=self._look, args=(folder, job.progress, ended), name="router-fit-look")
        look.daemon = True
        look.start()
        try:
            code, told = follow(
                command,
                errors,
                environment(job.device),
                job.progress,
                job.stopped,
                lambda child: self._end(child, folder),
            )
        except OSError as error:
            raise FitError(f"fit_executor='command': {command[0]!r:.100} cannot be run: {error.strerror}") from error
        finally:
            ended.set()
            look.join()
        if job.stopped() and (folder / CHECKPOINTS).is_dir():
            shutil.copytree(folder / CHECKPOINTS, job.folder / CHECKPOINTS, dirs_exist_ok=True)
        judge(code, told or _told(folder, lambda share, words: None), errors, job.stopped)

    def _look(self, folder: Path, progress: Callable[[float, str], None], ended: threading.Event) -> None:
        while not ended.wait(self.config.look_seconds):
            _told(folder, progress)

    def _end(self, child: subprocess.Popen[bytes], folder: Path) -> None:
        """Tell the worker, wherever it is; then the command; and then end it."""
        try:
            (folder / STOP).touch()
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(self.config.grace_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        except FAULTS:
            child.kill()

    @staticmethod
    def _take(folder: Path, target: Path) -> None:
        missing = [name for name in RESULTS if not (folder / name).exists()]
        if missing:
            raise FitError(
                f"fit_executor='command': the command ended well and left no {', '.join(missing)}: it must return once "
                "the worker has ended, with its exit status, and the worker must see the folder under the same name"
            )
        for name in RESULTS:
            shutil.move(folder / name, target / name)


def _told(folder: Path, progress: Callable[[float, str], None]) -> Told:
    """What the worker has written down so far."""
    try:
        written = (folder / TOLD).read_bytes()
        json.loads(written)
    except (OSError, ValueError):
        return {}
    return heard(written, progress)
