"""Where a fit is done: in a child process, which is never a fork of the user's program.

The parent runs ``python -P -m router_sdk.training.worker REQUEST``; results cross as files. Below: the parent's side,
and the child's.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, FitError, FitStoppedError, RouterError, TooFewExamplesError
from router_sdk.lifetime import no_fork
from router_sdk.plugins import PluginRegistry
from router_sdk.private_files import PRIVATE_FILE
from router_sdk.records.record import blame
from router_sdk.routing.context import Encoders
from router_sdk.strategy import StrategyServices
from router_sdk.training.fit import REPORT, REQUEST, FitRequest, reward_of, write_report
from router_sdk.training.perform import perform

if TYPE_CHECKING:
    from router_sdk.strategy import Strategy
    from router_sdk.training.fit import Fit

_log = logging.getLogger(__name__)

TOO_FEW = 3
"""Exit status of a worker that had nothing to judge a candidate by."""
_LOOK_S = 0.2
_ERRORS = "errors.txt"


def fit_in_child(folder: Path, device: str, fit: Fit) -> None:
    """Run ``python -P -m router_sdk.training.worker`` and return when it has ended well.

    With ``-P`` it imports nothing from the folder that the program happens to run in.

    Args:
        folder: Where the request lies, and where the child leaves its results and complaints.
        device: See ``FitContext``.
        fit: Told how far it is, and asked whether to stop.

    Raises:
        FitStoppedError: if it was told to stop.
        FitError: if the child failed or was killed.
    """
    errors = open(folder / _ERRORS, "wb", opener=lambda path, flags: os.open(path, flags, PRIVATE_FILE))  # noqa: SIM115
    with errors, no_fork():  # a fork in between would inherit the pipes' other ends, and we would wait for its end, too
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "router_sdk.training.worker", str(folder / REQUEST)],
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


_NICE = 19


def main(path: Path) -> int:
    """Do what the request says; the exit status is 0 if the result was written."""
    os.umask(0o077)  # whatever a strategy writes on its way is its owner's alone
    if hasattr(os, "nice"):
        os.nice(_NICE)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        work(FitRequest.read(path))
    except TooFewExamplesError as error:
        _tell(error=str(error))
        return TOO_FEW
    except RouterError as error:
        _tell(error=str(error), logged=error.logged if isinstance(error, FitError) else str(error))
        return 1
    except FAULTS as error:
        logging.getLogger(__name__).exception("the fit failed")
        _tell(error=f"{type(error).__name__}: {error}", logged=blame(error))
        return 1
    return 0


def work(request: FitRequest) -> None:
    """Fit, compare, save.

    Raises:
        RouterError: if anything is wrong with the request or the fit.
    """
    plugins = PluginRegistry.load(())
    encoders = Encoders(plugins.encoders, request.encoders)
    chosen = plugins.strategy(request.strategy)
    services = StrategyServices(folder=Path(request.caches), encoders=encoders, seed=request.seed)
    strategy = chosen(chosen.Config(**request.settings), services)
    report = perform(
        request,
        strategy,
        reward_of(request.reward, plugins),
        encoders,
        lambda share, words: _tell(progress=[share, words]),
        list(_behind(request, plugins, encoders)),
    )
    write_report(report, Path(request.folder) / REPORT)


def _behind(request: FitRequest, plugins: PluginRegistry, encoders: Encoders) -> Iterator[Strategy]:
    """Those behind the strategy that can be made here, too."""
    for name, settings, caches in request.behind:
        try:
            chosen = plugins.strategy(name)
            services = StrategyServices(folder=Path(caches), encoders=encoders, seed=request.seed)
            yield chosen(chosen.Config(**settings), services)
        except (RouterError, ValueError) as error:
            _log.warning("%s is not compared with: %s", name, blame(error))


def _tell(**message: object) -> None:
    """One line of JSON for the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _end_with_parent(parent: int) -> None:
    """A fit whose router is gone is of no use to anybody; its checkpoints are."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
