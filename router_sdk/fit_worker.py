"""``python -m router_sdk.fit_worker REQUEST``: one fit, in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

from router_sdk.errors import FitError, RouterError, TooFewExamplesError
from router_sdk.isolation import FAULTS
from router_sdk.plugins import PluginRegistry
from router_sdk.records.record import blame
from router_sdk.routing.context import Encoders
from router_sdk.strategy import StrategyServices
from router_sdk.training.child import TOO_FEW
from router_sdk.training.reports import write_report
from router_sdk.training.request import REPORT, FitRequest, reward_of
from router_sdk.training.work import perform

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
    )
    write_report(report, Path(request.folder) / REPORT)


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
