"""A fit in a process of its own, which is never a fork of the user's program; results cross as files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from router_sdk.errors import FitError, FitStoppedError, TooFewExamplesError
from router_sdk.executors.executor import REQUEST, FitExecutor, FitJob
from router_sdk.lifetime import no_fork
from router_sdk.private_files import PRIVATE_FILE

WORKER = "router_sdk.training.worker"
TOO_FEW = 3
"""Exit status of a worker that had nothing to judge a candidate by."""
_LOOK_S = 0.2
_ERRORS = "errors.txt"

Told = dict[str, Any]
"""What a worker says: ``progress`` as it goes, and if it fails ``error``, ``logged`` and ``too_few``."""


class ChildProcess(FitExecutor):
    """A child of this process, at the lowest priority."""

    name = "process"

    def run(self, job: FitJob) -> None:
        """Do a fit, and return once its results lie in the job's folder."""
        fit_in_child(job.folder, job.device, job.progress, job.stopped)


def fit_in_child(
    folder: Path, device: str, progress: Callable[[float, str], None], stopped: Callable[[], bool]
) -> None:
    """Run ``python -P -m router_sdk.training.worker`` and return when it has ended well.

    With ``-P`` it imports nothing from the folder that the program happens to run in.

    Args:
        folder: Where the request lies, and where the child leaves its results and complaints.
        device: See ``FitJob``.
        progress: Told how far it is.
        stopped: Asked whether to stop.

    Raises:
        FitStoppedError: if it was told to stop.
        TooFewExamplesError: if nothing could judge a candidate.
        FitError: if the child failed or was killed.
    """
    command = [sys.executable, "-P", "-m", WORKER, str(folder / REQUEST)]
    # There is nothing to tidy up: what counts is written whole and renamed.
    code, told = follow(command, folder / _ERRORS, environment(device), progress, stopped, subprocess.Popen.kill)
    judge(code, told, folder / _ERRORS, stopped)


def follow(
    command: Sequence[str],
    errors: Path,
    variables: Mapping[str, str],
    progress: Callable[[float, str], None],
    stopped: Callable[[], bool],
    stop: Callable[[subprocess.Popen[bytes]], object],
) -> tuple[int, Told]:
    """Run a command to its end.

    Args:
        command: The program and its arguments.
        errors: Where its complaints go.
        variables: Its whole environment.
        progress: Told what it says on its standard output.
        stopped: Asked whether to stop.
        stop: Ends it.

    Returns:
        Its exit status, and why it failed, as far as it said so.
    """
    with (
        open(errors, "wb", opener=lambda path, flags: os.open(path, flags, PRIVATE_FILE)) as complaints,
        no_fork(),  # a fork in between would inherit the pipes' other ends, and we would wait for its end, too
    ):
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=dict(variables),
            start_new_session=True,  # so that what the command starts ends with it, and Ctrl-C is the router's alone
        )
    watch = threading.Thread(target=_end_when_stopped, args=(child, stopped, stop), name="router-fit-watch")
    watch.daemon = True
    watch.start()
    assert child.stdout is not None
    told: Told = {}
    with child.stdout as lines:
        for line in lines:
            told |= heard(line, progress)
    code = child.wait()
    watch.join()
    return code, told


def judge(code: int, told: Told, errors: Path, stopped: Callable[[], bool]) -> None:
    """Return if it ended well.

    Raises:
        FitStoppedError: if it was told to stop.
        TooFewExamplesError: if nothing could judge a candidate.
        FitError: if it failed or was killed.
    """
    if stopped():
        raise FitStoppedError("stopped")
    if code == TOO_FEW or told.get("too_few"):
        raise TooFewExamplesError(str(told.get("error", "insufficient")))
    if code != 0:
        ended = f"the worker ended with {code}"
        words = str(told.get("error") or f"{ended}: {last_line(errors)}")
        raise FitError(words, str(told.get("logged") or ended))


def heard(line: bytes, progress: Callable[[float, str], None]) -> Told:
    """Pass on what a worker said; reasons for failing are returned. Libraries may print there, too."""
    try:
        message: Told = json.loads(line)
        if "progress" in message:
            share, words = message["progress"]
            progress(float(share), str(words))
        return {name: message[name] for name in ("error", "logged", "too_few") if name in message}
    except (ValueError, TypeError):
        return {}


def _end_when_stopped(
    child: subprocess.Popen[bytes], stopped: Callable[[], bool], stop: Callable[[subprocess.Popen[bytes]], object]
) -> None:
    while child.poll() is None:
        if stopped():
            stop(child)
            return
        try:
            child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            continue


def environment(device: str) -> dict[str, str]:
    """One thread for the linear algebra on a CPU, so that serving keeps its share."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **({} if device.startswith("cuda") else one),
        **os.environ,
        "TOKENIZERS_PARALLELISM": "false",
        # An empty entry, which a script leaves that adds to a variable that was not set, is the current folder.
        "PYTHONPATH": os.pathsep.join(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))),
    }


def last_line(path: Path) -> str:
    """The last thing that was said, at most 300 characters of it."""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
