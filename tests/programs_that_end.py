"""Programs with a router that end in every way, and what they must leave behind.

A scenario is a function of a test file that runs that very file as a program of its own: pytest's process is no place
to end. A program says at once what it has routed and what was acknowledged; the log must know as much.
"""

import contextlib
import faulthandler
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import forked_programs
import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import RouterClosedError

AGENTS = ("billing", "fraud", "sales")
LIMIT_S = 30
"""What takes longer hangs."""


# -- in the program


held: list[Router] = []
"""Routers that a program holds until it ends."""


def open_router(path: object, strategies: Any = ("thompson",), **settings: Any) -> Router:
    return Router(AGENTS, list(strategies), str(path), **{"batch_events": 5, "seed": 3, **settings})


def hold_router(path: object, strategies: Any = ("thompson",)) -> Router:
    held.append(open_router(path, strategies))
    return held[-1]


def say(*words: str) -> None:
    """One line, at once: another process, or the next signal, may come in between two."""
    os.write(1, (" ".join(words) + "\n").encode())


def route(router: Router, count: int = 1, session: str | None = None) -> Any:
    for _ in range(count):
        decision = router.route(Task("who takes this?", session_id=session))
        if decision.logged:  # not where the router was closed meanwhile
            say("routed", decision.decision_id)
    return decision


def record(router: Router, decision: Any) -> None:
    router.record(decision, Outcome(success=True))
    say("recorded", decision.decision_id)


def work(router: Router) -> None:
    """Ends with decisions that nobody has waited for."""
    for turn in range(3):
        record(router, route(router, session=f"session-{turn}"))
    route(router, 5)


def sleep_until(done: Callable[[], object]) -> None:
    """Wait for a signal's handler; a call that sleeps for ever may miss a signal that comes right before it."""
    while not done():
        time.sleep(0.01)


def work_for_ever(router: Router) -> None:
    with contextlib.suppress(RouterClosedError):
        while True:
            record(router, route(router, 3))


def main(scenarios: dict[str, Any]) -> None:
    """Be the program that the arguments say."""
    faulthandler.register(signal.SIGUSR1)  # where it hangs, it is asked where
    scenarios[sys.argv[1]](*sys.argv[2:])


# -- what they must show


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


class Told(NamedTuple):
    """What a program said."""

    routed: set[str]
    recorded: set[str]
    else_said: list[str]

    @classmethod
    def of(cls, lines: list[str]) -> "Told":
        words = [line.split() for line in lines if line.endswith("\n")]
        routed, recorded = ({word[1] for word in words if word[0] == kind} for kind in ("routed", "recorded"))
        return cls(routed, recorded, [" ".join(word) for word in words if word[0] not in ("routed", "recorded")])


def command(scenario: Callable[..., None], *arguments: object) -> list[str]:
    # From 3.12 on, a fork of a process that has threads is a warning; these are here to be forked.
    mild = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    return [sys.executable, *mild, scenario.__code__.co_filename, scenario.__name__, *map(str, arguments)]


def run(scenario: Callable[..., None], *arguments: object, code: int = 0, words: str = "", **more: str) -> Told:
    """Let a program come to its end; all that it said."""
    done = forked_programs.run(
        command(scenario, *arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env={**ENVIRONMENT, **more},
    )
    assert done.returncode == code, f"ended with {done.returncode}: {done.stderr}"
    assert "Exception ignored" not in done.stderr, done.stderr
    assert words in done.stderr
    return Told.of(done.stdout.splitlines(keepends=True))


@contextmanager
def running(scenario: Callable[..., None], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with forked_programs.Popen(
        command(scenario, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def signalled_after(process: subprocess.Popen[str], lines: int, number: int) -> tuple[int, Told, str]:
    """Send a signal once a program has said so much; its exit status, all that it said, and its complaints."""
    said = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(number)
    try:
        rest, complaints = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        process.kill()
        pytest.fail(f"it hangs:\n{process.stderr.read()}")
    return process.returncode, Told.of(said + rest.splitlines(keepends=True)), complaints


def check(path: Path, told: Told, *, recorded: int | None = None) -> None:
    """Nothing is lost, nothing is there twice, and the next start learns it once."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        decisions = {row[0] for row in connection.execute("SELECT decision_id FROM decisions")}
        outcomes = [row[0] for row in connection.execute("SELECT decision_id FROM outcomes")]
    assert told.routed
    assert told.routed - decisions == set()
    assert told.recorded - set(outcomes) == set()
    assert len(outcomes) == len(set(outcomes))
    assert recorded is None or len(told.recorded) == recorded
    for _ in range(2):
        with open_router(path) as router:
            router.flush()
            assert router.statistics()["total_examples"] == len(outcomes)
            assert router.status()["strategies"][0]["events"] == len(outcomes)


def check_all(path: Path, told: Told) -> None:
    """Nothing is lost in any of the stores whose names begin so."""
    routed, recorded = set(), set()
    for store in path.parent.glob(f"{path.name}-*"):
        if store.suffix == path.suffix or store.name.rpartition("-")[2].isdigit():
            with closing(sqlite3.connect(store)) as connection:
                routed |= {row[0] for row in connection.execute("SELECT decision_id FROM decisions")}
                recorded |= {row[0] for row in connection.execute("SELECT decision_id FROM outcomes")}
    assert told.routed - routed == set()
    assert told.recorded - recorded == set()


def decisions_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT decision_id FROM decisions")}
