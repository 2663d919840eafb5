"""What the workers of one service tell each other through a folder: how fits stand, and who is well.

Neither outlives the service: ended fits stand in the store's own history, and an agent is unwell for a while only.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from router_sdk import Router, RouterError
from router_sdk_server.problems import Refused

if TYPE_CHECKING:
    from router_sdk.training.fit import Fit

_WRITE_EVERY_S = 0.2
_FORM = re.compile(r"[0-9a-f]{16}")


def _write(path: Path, told: Any) -> None:
    """Replace a file as a whole, so that nobody reads half of it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    beside.write_text(json.dumps(told), encoding="utf-8")
    beside.replace(path)


def _read(path: Path) -> Any:
    """What was written, or None."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Fits:
    """Fits that were begun over HTTP, in any worker.

    Args:
        folder: Where the workers tell each other.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "fits"
        self._folder.mkdir(exist_ok=True)

    def follow(self, fit: Fit) -> str:
        """Tell of a fit of this worker until it has ended, and return the id that it is known by."""
        fit_id = secrets.token_hex(8)
        path, stop = self._folder / fit_id, self._folder / f"{fit_id}.stop"
        ended = threading.Event()
        fit.at_end(ended.set)

        def tell() -> None:
            while True:
                last = ended.is_set()
                with suppress(OSError):  # the service is at its end
                    _write(path, fit.to_dict())
                if last:
                    return
                if stop.exists():
                    fit.stop()
                ended.wait(_WRITE_EVERY_S)

        _write(path, fit.to_dict())
        threading.Thread(target=tell, name=f"router-fit-{fit_id}", daemon=True).start()
        return fit_id

    def told(self, fit_id: str) -> dict[str, Any]:
        """How a fit stands.

        Raises:
            Refused: if there is none of that id.
        """
        found = _read(self._folder / fit_id) if _FORM.fullmatch(fit_id) else None
        if found is None:
            raise Refused(404, f"no fit {fit_id!r:.60} was begun here; GET /v1/models/STRATEGY/fits lists ended ones")
        return {"fit_id": fit_id, **found}

    def stop(self, fit_id: str) -> None:
        """Ask a fit of any worker to stop.

        Raises:
            Refused: if there is none of that id.
        """
        self.told(fit_id)
        (self._folder / f"{fit_id}.stop").touch()


class AgentHealth:
    """Until when which agents are unwell, in all workers.

    Args:
        folder: Where the workers tell each other.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "health.json"
        self._lock = FileLock(folder / "health.lock")
        self._known: dict[str, float] = {}

    def put(self, name: str, *, healthy: bool, for_s: float) -> None:
        """Note that an agent is well, or is not for so many seconds."""
        with self._lock:
            now = time.monotonic()  # one clock for the processes of a machine, which is never set back
            noted = {
                other: until for other, until in (_read(self._path) or {}).items() if until > now and other != name
            }
            _write(self._path, {**noted, name: 0.0 if healthy else now + for_s})

    def follow(self, router: Router) -> None:
        """Let a worker's router heed what was noted since the last time."""
        noted, now = _read(self._path) or {}, time.monotonic()
        for name, until in noted.items():
            if self._known.get(name) != until:
                with suppress(RouterError):  # it has been removed meanwhile
                    router.set_health(name, healthy=until <= now, for_s=max(until - now, 0.0))
        self._known = noted
