"""A fit in a child process: never a fork of the user's program, and the results cross as files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FitError, FitStoppedError, TooFewExamplesError
from router_sdk.store.connection import PRIVATE_FILE
from router_sdk.training.request import REQUEST

if TYPE_CHECKING:
    from router_sdk.training.fit import Fit

TOO_FEW = 3
"""Exit status of a worker that had nothing to judge a candidate by."""
_LOOK_S = 0.2
_ERRORS = "errors.txt"


def fit_in_child(folder: Path, device: str, fit: Fit) -> None:
    """Run ``python -P -m router_sdk.fit_worker`` and return when it has ended well.

    With ``-P`` it imports nothing from the folder that the program happens to run in.

    Args:
        folder: Where the request lies, and where the child leaves its results and complaints.
        device: See ``FitContext``.
        fit: Told how far it is, and asked whether to stop.

    Raises:
        FitStoppedError: if it was told to stop.
        FitError: if the child failed or was killed.
    """
    with open(folder / _ERRORS, "wb", opener=lambda path, flags: os.open(path, flags, PRIVATE_FILE)) as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "router_sdk.fit_worker", str(folder / REQUEST)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(device),
        )
    watch = threading.Thread(target=_kill_when_stopped, args=(child, fit), name="router-fit-watch", daemon=True)
    watch.start()
    assert child.stdout is not None
    told: dict[str, Any] = {}
    with child.stdout as lines:
        for line in lines:
            told |= _told(line, fit)
    code = child.wait()
    watch.join()
    if fit.stopped():
        raise FitStoppedError("stopped")
    if code == TOO_FEW:
        raise TooFewExamplesError(told.get("error", "insufficient"))
    if code != 0:
        ended = f"the worker ended with {code}"
        raise FitError(told.get("error") or f"{ended}: {_last_line(folder / _ERRORS)}", told.get("logged") or ended)


def _told(line: bytes, fit: Fit) -> dict[str, str]:
    """Pass on what the child said; reasons for failing are returned. Libraries may print there, too."""
    try:
        message: dict[str, Any] = json.loads(line)
        if "progress" in message:
            fit.progress(*message["progress"])
        return {name: str(message[name]) for name in ("error", "logged") if name in message}
    except (ValueError, TypeError):
        return {}


def _kill_when_stopped(child: subprocess.Popen[bytes], fit: Fit) -> None:
    while child.poll() is None:
        if fit.stopped():
            child.kill()  # nothing to tidy up: what counts is written whole and renamed
            return
        try:
            child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            continue


def _environment(device: str) -> dict[str, str]:
    """One thread for the linear algebra on a CPU, so that serving keeps its share."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **({} if device.startswith("cuda") else one),
        **os.environ,
        "TOKENIZERS_PARALLELISM": "false",
        # An empty entry, which a script leaves that adds to a variable that was not set, is the current folder.
        "PYTHONPATH": os.pathsep.join(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))),
    }


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
