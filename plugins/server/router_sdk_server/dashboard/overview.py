"""The figures of the page: worked out once in a while for all its viewers, and not at all while there are none."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from router_sdk import RouterError
from router_sdk_server.dashboard.answers import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router_sdk import Router

SHARE = 0.006
"""Of a processor that a part may take: one that is dear on a large log is worked out less often."""
_AGAIN_S = 20.0
"""A part that failed is tried again after at most so long, however dear it is."""
_NEWEST = 20

_log = logging.getLogger(__name__)


class Overview:
    """What all viewers of a worker see, in parts that change at different speeds.

    Args:
        router: Whose figures.
        now: Seconds of a clock that does not jump.
    """

    def __init__(self, router: Router, now: Callable[[], float] = time.monotonic) -> None:
        self._router, self._now = router, now
        self._lock = asyncio.Lock()
        self._makers: dict[str, tuple[Callable[[], dict[str, Any]], float]] = {
            "activity": (self._activity, 2.0),
            "state": (self._state, 4.0),
            "evidence": (self._evidence, 10.0),
        }
        self._due = dict.fromkeys(self._makers, 0.0)
        self._told: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, bytes] = {}

    async def fresh(self) -> Mapping[str, bytes]:
        """Each part as JSON, worked out again where it is time; who asks meanwhile waits for the same."""
        if self._is_time():
            async with self._lock:
                if self._is_time():
                    await asyncio.to_thread(self._look)
        return self.parts

    def _is_time(self) -> bool:
        return min(self._due.values()) <= self._now()

    def soon(self) -> None:
        """Somebody changed something: let everybody see it now."""
        self._due["state"] = 0.0

    def _look(self) -> None:
        changed = False
        for name, (make, every_s) in self._makers.items():
            if self._due[name] > self._now():
                continue
            begun = time.thread_time()
            self._tell(name, make)
            wait_s = max(every_s, (time.thread_time() - begun) / SHARE)
            self._due[name] = self._now() + (min(wait_s, _AGAIN_S) if "fault" in self._told[name] else wait_s)
            changed = True
        if changed:
            self._tell("answers", lambda: answers(**{name: self._told[name] for name in self._makers}))

    def _tell(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Work a part out; one that fails says so beside what it last was, and spoils no other."""
        try:
            told = make()
            written = to_json(told, inf_nan_mode="null")
        except Exception as error:
            if isinstance(error, RouterError):
                fault = str(error)
                _log.warning("the page's %s could not be read: %s", name, fault)
            else:
                fault = f"{name} cannot be read; the service's log has more"
                _log.exception("the page's %s could not be read", name)
            told = {**self._told.get(name, {}), "fault": fault}
            written = to_json(told, inf_nan_mode="null")
        self._told[name], self.parts = told, {**self.parts, name: written}

    # -- parts

    def _activity(self) -> dict[str, Any]:
        return {**self._router.examples.timeline(), "backlog": self._router.backlog()}

    def _state(self) -> dict[str, Any]:
        router = self._router
        status = router.status(last=_NEWEST)
        fitted = [one["strategy"] for one in status["models"]]
        letters = [{name: one[name] for name in ("at", "kind", "reason")} for one in status.pop("dead_letters")]
        wanted = ("agents", "answered", "passed", "epsilon", "learner", "fit", "watch", "models", "alerts", "canary")
        also = ("drift", "quarantines", "quality", "challengers", "statistics", "learning_events", "store", "streams")
        return {
            **{name: status[name] for name in (*wanted, *also)},
            "dead_letters": letters,
            "strategies": [
                {name: one[name] for name in ("name", "model_version", "pinned", "behind", "answers", "failures")}
                for one in status["strategies"]
            ],
            "versions": [
                {name: value for name, value in version.to_dict().items() if name not in _INSIDE}
                for version in router.models.versions()
            ],
            "history": {
                one["name"]: [entry._asdict() for entry in router.models.history(one["name"])[:_NEWEST]]
                for one in status["strategies"]
            },
            "fits": {name: router.models.fits(name, limit=_NEWEST) for name in fitted},
        }

    def _evidence(self) -> dict[str, Any]:
        router = self._router
        records = router.experiments.list()
        shown = [one.name for one in records if one.open][-4:] or [one.name for one in records[-1:]]
        return {
            "alone": router.examples.alone(),
            "experiments": [one.to_dict() for one in reversed(records)],
            "shown": [
                {**router.experiments.show(name), "sequences": router.experiments.sequences(name)} for name in shown
            ],
        }


_INSIDE = ("folder", "settings", "metrics", "dataset")
"""What of a version is no figure of the page."""
