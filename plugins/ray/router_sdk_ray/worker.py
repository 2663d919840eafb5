"""What does a fit on some machine of the cluster: an actor that writes the request down and has a child work on it."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

from router_sdk.plugin import (
    CHECKPOINTS,
    RESULTS,
    FitError,
    TooFewExamplesError,
    fit_in_child,
    pack_folder,
    unpack_folder,
)


class Said(NamedTuple):
    """How far a fit is.

    Attributes:
        share: Share done, in [0, 1].
        words: What is going on.
        mark: Tells these checkpoints from others.
        checkpoints: What a next attempt goes on from, packed; None where they are those that are known.
    """

    share: float
    words: str
    mark: str
    checkpoints: bytes | None


class Ended(NamedTuple):
    """How a fit ended. An error crosses as its words: Ray rebuilds exceptions from ``args`` alone.

    Attributes:
        results: What came of it, packed; None if it failed.
        words: Why it failed.
        logged: The same for the log.
        too_few: Whether nothing could judge a candidate.
    """

    results: bytes | None
    words: str = ""
    logged: str = ""
    too_few: bool = False


class Worker:
    """Does one fit; ``look`` and ``stop`` are called meanwhile, on other threads."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="router-fit-")
        self._folder = Path(self._place.name) / "fit"
        self._share, self._words = 0.0, "starting"
        self._stop = threading.Event()

    def work(self, fit: bytes, checkpoints: bytes | None, device: str) -> Ended:
        """Do it.

        Args:
            fit: The folder with the request, packed.
            checkpoints: Those of an attempt that was lost.
            device: See ``FitJob``.
        """
        unpack_folder(fit, self._folder)
        if checkpoints is not None:
            unpack_folder(checkpoints, self._folder)
        try:
            fit_in_child(self._folder, device, self._progress, self._stop.is_set)
        except TooFewExamplesError as error:
            return Ended(None, str(error), error.logged, too_few=True)
        except FitError as error:
            return Ended(None, str(error), error.logged)
        return Ended(pack_folder(self._folder, RESULTS))

    def look(self, mark: str = "") -> Said:
        """How far it is, with its checkpoints where they are not those of ``mark``."""
        now = self._mark()
        new = now != mark and bool(now)
        return Said(self._share, self._words, now, pack_folder(self._folder, (CHECKPOINTS,)) if new else None)

    def stop(self) -> None:
        """Ask it to stop."""
        self._stop.set()

    def _progress(self, share: float, words: str) -> None:
        self._share, self._words = share, words

    def _mark(self) -> str:
        """Changes when the checkpoints do; empty where there are none."""
        found = []
        for path in sorted((self._folder / CHECKPOINTS).rglob("*")):
            try:
                if path.is_file():
                    told = path.stat()
                    found.append(f"{path.relative_to(self._folder)} {told.st_size} {told.st_mtime_ns}")
            except FileNotFoundError:  # it was replaced just now
                continue
        return "\n".join(found)
