"""Routers in processes of their own that do what they are told, line by line: each as good as another machine.

``python hosts.py STORE`` opens one; what it answers is JSON. A test may bring a program of its own that does other
things: it calls ``serve``.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import StoreError

AGENTS = [Agent(name) for name in ("billing", "fraud", "sales")]
PAUSE_S = 0.02


class Routing:
    """What such a process does. ``leads`` and ``routed`` wait for nothing, and so for no server."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._count, self._worst_s = 0, 0.0

    def leads(self) -> bool:
        return self.router._parts.learner._following.leads

    def flood(self) -> None:
        """Route in one thread, and route and record in others, which wait for the store."""
        self._stop.clear()
        self._threads = [threading.Thread(target=run) for run in (self._route, self._record, self._record)]
        for thread in self._threads:
            thread.start()

    def _route(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.router.route(Task(task_type="routed"))
            self._count, self._worst_s = self._count + 1, max(self._worst_s, time.monotonic() - began)
            time.sleep(PAUSE_S)

    def _record(self) -> None:
        while not self._stop.is_set():
            decision = self.router.route(Task(task_type="recorded"))
            with suppress(StoreError):  # it is not acknowledged
                self.router.record(decision, Outcome(success=decision.agent != "fraud", latency_ms=40.0))
            time.sleep(PAUSE_S)

    def routed(self) -> tuple[int, float]:
        """How many, and how long the slowest took since this was asked last, in seconds."""
        told, self._count, self._worst_s = (self._count, self._worst_s), 0, 0.0
        return told

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask(self) -> None:
        self.router._parts.store.leadership.ask()

    def term(self) -> int:
        return self.router._parts.store.leadership._lease.held

    def published(self) -> str | None:
        newest = self.router._parts.store.leadership.newest()
        return None if newest is None else newest.name

    def flush(self) -> None:
        self.router.flush()

    def came_to(self) -> list[Any]:
        """How far the log is behind what was learnt here, and that, to the last bit. Nothing is learnt for it."""
        _, lag = self.router._parts.learner.position()
        return [lag, sums(self.router)]


def sums(router: Router) -> dict[str, Any]:
    """What every fold has come to, to the last bit."""
    learner = router._parts.learner
    return learner.submit(lambda: {fold.name: _sum(fold) for fold in learner.folding.folds}).result()


def _sum(fold: Any) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        fold.state.save(Path(folder))
        files = sorted(Path(folder).iterdir())
        return [fold.cursor, [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]]


def opened(store: str) -> Router:
    return Router(AGENTS, ["thompson"], store, batch_events=5, batch_seconds=0.2, seed=0)


def serve(store: str, kind: Callable[[Router], Any] = Routing) -> None:
    """Be such a process: do what the methods of ``kind`` do."""
    with opened(store) as router:
        routing = kind(router)
        print("null", flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(routing, name)(*arguments)), flush=True)


class Host:
    """Such a process, told from here."""

    def __init__(self, process: Any) -> None:
        self.process = process
        assert json.loads(process.stdout.readline()) is None

    def __call__(self, name: str, *arguments: Any) -> Any:
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(KILL)
        self.process.wait()


@contextmanager
def hosts(
    stores: Sequence[str],
    within: Sequence[Sequence[str]] = (),
    program: str = __file__,
    start: Callable[..., Any] = subprocess.Popen,
) -> Iterator[list[Host]]:
    """One for each store; ``within`` are the words, such as ``ip netns exec NAME``, that begin each one's command."""
    with ExitStack() as stack:
        started = []
        for place, store in enumerate(stores):
            command = [*(within[place] if within else ()), sys.executable, program, store]
            process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        yield [Host(process) for process in started]


def leader_of(processes: Sequence[Host], patience_s: float = 60.0) -> Host:
    """The one that leads, once one does."""
    until = time.monotonic() + patience_s
    while not (leading := [process for process in processes if process("leads")]):
        assert time.monotonic() < until, f"nobody leads after {patience_s:g} s"
        time.sleep(PAUSE_S)
    (leader,) = leading
    return leader


def agree_on(processes: Sequence[Host], patience_s: float) -> Any:
    """What all have come to, once all of the log is learnt and it is the same in all of them."""
    until = time.monotonic() + patience_s
    while True:
        first, *others = [process("came_to") for process in processes]
        if first[0] == 0 and all(other == first for other in others):
            return first[1]
        assert time.monotonic() < until, f"they do not agree after {patience_s:g} s: {[first, *others]}"
        time.sleep(PAUSE_S)


STOP, GO_ON, KILL = (getattr(signal, name, None) for name in ("SIGSTOP", "SIGCONT", "SIGKILL"))

if __name__ == "__main__":
    serve(sys.argv[1])
