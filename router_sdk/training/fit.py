"""One fit as its caller sees it: how far it is, how it ended, and a way to stop it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from router_sdk.errors import FitError
from router_sdk.waiting import Promise, take

if TYPE_CHECKING:
    from router_sdk.records import ModelVersion

FitState = Literal["running", "promoted", "held", "refused", "failed", "stopped"]


class Fit:
    """A fit in the background.

    Attributes:
        strategy: Whose.
        reason: Why it was started.
        state: ``"running"``, then ``"promoted"``, ``"held"`` (it passed the gate, and what serves is pinned, or was
            changed meanwhile), ``"refused"`` by the gate, ``"failed"`` or ``"stopped"``.
        share: Share done, in [0, 1].
        words: What is going on, or why it ended as it did.
        version: What came of it, where it got that far.
    """

    def __init__(self, strategy: str, reason: str) -> None:
        self.strategy = strategy
        self.reason = reason
        self.state: FitState = "running"
        self.share = 0.0
        self.words = "starting"
        self.version: ModelVersion | None = None
        self.started = time.time()
        self._stop = False
        self._done: Promise[None] = Promise()
        self._at_end: deque[Callable[[], object]] = deque()

    def wait(self, timeout: float | None = None) -> Fit:
        """Return once it has ended.

        Raises:
            FitError: if it failed.
            TimeoutError: if it goes on after ``timeout`` seconds.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"the fit of {self.strategy} goes on after {timeout} s: {self.words}")
        if self.state == "failed":
            raise FitError(self.words)
        return self

    def stop(self) -> None:
        """Ask it to stop; what it checkpointed is used by the next fit of the same data."""
        self._stop = True

    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self._done.done

    def progress(self, share: float, words: str) -> None:
        """Note how far it is."""
        self.share, self.words = share, words

    def end(self, state: FitState, words: str, version: ModelVersion | None = None) -> None:
        """Note how it ended."""
        self.state, self.words, self.version = state, words, version
        self.share = 1.0 if version is not None else self.share
        self._done.keep(None)
        self._tell()

    def at_end(self, work: Callable[[], object]) -> None:
        """Call ``work`` when the fit has ended, at once if it has."""
        self._at_end.append(work)
        if not self.running:
            self._tell()

    def _tell(self) -> None:
        for work in take(self._at_end, len(self._at_end)):
            work()

    def to_dict(self) -> dict[str, object]:
        """How it stands, as JSON values."""
        return {
            "strategy": self.strategy,
            "reason": self.reason,
            "state": self.state,
            "share": self.share,
            "words": self.words,
            "started": self.started,
            "version": None if self.version is None else self.version.version,
        }
