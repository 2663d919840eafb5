"""What a child process does, or a worker elsewhere: ``python -P -m router_sdk.training.worker REQUEST``.

It says on its standard output how far it is, in lines of JSON; results cross as files. Its callers are ``executors``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, FitError, RouterError, TooFewExamplesError
from router_sdk.executors.child import TOO_FEW
from router_sdk.executors.command import STOP, TOLD
from router_sdk.plugins import PluginRegistry
from router_sdk.private_files import write_private
from router_sdk.records.record import blame
from router_sdk.routing.context import Encoders
from router_sdk.strategy import StrategyServices
from router_sdk.training.fit import REPORT, FitRequest, reward_of, write_report
from router_sdk.training.perform import perform

if TYPE_CHECKING:
    from router_sdk.strategy import Strategy

_log = logging.getLogger(__name__)

_NICE = 19
_LOOK_S = 1.0

Tell = Callable[..., None]


def main(path: Path) -> int:
    """Do what the request says; the exit status is 0 if the result was written."""
    os.umask(0o077)  # whatever a strategy writes on its way is its owner's alone
    if hasattr(os, "nice"):
        os.nice(_NICE)
    stop, told = path.with_name(STOP), None
    threading.Thread(target=_end_when_told, args=(os.getppid(), stop), daemon=True).start()
    tell: Tell = _tell
    try:
        request = FitRequest.read(path)
        told = Path(request.folder) / TOLD if request.copied else None
        tell = _Both(told) if told is not None else _tell
        work(request, tell)
    except TooFewExamplesError as error:
        tell(error=str(error), too_few=True)
        return TOO_FEW
    except RouterError as error:
        tell(error=str(error), logged=error.logged if isinstance(error, FitError) else str(error))
        return 1
    except FAULTS as error:
        logging.getLogger(__name__).exception("the fit failed")
        tell(error=f"{type(error).__name__}: {error}", logged=blame(error))
        return 1
    return 0


def work(request: FitRequest, tell: Tell) -> None:
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
        lambda share, words: tell(progress=[share, words]),
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


class _Both:
    """Tells the parent, and writes down what was said of each kind last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: dict[str, Any] = {}

    def __call__(self, **message: object) -> None:
        self._said |= message
        write_private(self._path, json.dumps(self._said))
        _tell(**message)


def _end_when_told(parent: int, stop: Path) -> None:
    """A fit whose router is gone is of no use to anybody; its checkpoints are."""
    while os.getppid() == parent and not stop.exists():
        time.sleep(_LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
