"""What a store promises to several processes: one order, nothing lost when one is killed, leases that end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from router_sdk.rewards import OutcomeReward
from router_sdk.store.transaction import HEAD
from router_sdk.testing.checks.store_program import SILENCE_S
from router_sdk.testing.store_trial import StoreTrial, require

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITERS, EACH = 2, 60
_PATIENCE_S = 60.0
_NEWS_S = 10.0
_PAUSE_S = 0.002


@contextmanager
def _program(trial: StoreTrial, order: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Another process at work on the store, see ``store_program``; it is killed at the end."""
    command = [sys.executable, "-m", "router_sdk.testing.checks.store_program", order, trial.location, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            require(_line(process) == "ready", "another process cannot open the store")
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _rest(process: subprocess.Popen[str]) -> list[str]:
    """What it says until it ends, line by line; half a line is none."""
    assert process.stdout is not None
    return process.stdout.read().split("\n")[:-1]


def _say(process: subprocess.Popen[str], word: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def no_reader_misses_what_others_commit(trial: StoreTrial) -> None:
    """A position that is read is followed by larger ones alone, however many processes write."""
    decision = trial.decide()
    cursor, seen, ended = 1, [], threading.Event()
    programs = [_program(trial, "write", decision.decision_id, str(EACH), str(number)) for number in range(WRITERS)]
    opened = [program.__enter__() for program in programs]
    try:
        waiters = [threading.Thread(target=_rest, args=(process,)) for process in opened]
        for process, waiter in zip(opened, waiters, strict=True):
            _say(process)
            waiter.start()
        deadline = time.monotonic() + _PATIENCE_S
        while not ended.is_set() and time.monotonic() < deadline:
            if not any(waiter.is_alive() for waiter in waiters):
                ended.set()  # and look once more
            query = "SELECT seq FROM outcomes WHERE seq > ? ORDER BY seq"
            seen += [seq for (seq,) in trial.rows(query, cursor)]
            cursor = max([cursor, *seen[-1:]])
            ended.wait(_PAUSE_S)
    finally:
        for program in programs:
            program.__exit__(None, None, None)
    require(ended.is_set(), f"the others had not ended after {_PATIENCE_S:g} s")
    require(seen == list(range(2, 2 + WRITERS * EACH)), f"a cursor saw {len(seen)} of {WRITERS * EACH} outcomes")


def what_a_killed_process_was_told_is_there_is_there(trial: StoreTrial) -> None:
    """Once; and the others go on at once."""
    decision = trial.decide()
    with _program(trial, "write", decision.decision_id, "100000", "k") as process:
        _say(process)
        told = [_line(process) for _ in range(20)]
        process.kill()
        told += _rest(process)
    started = time.monotonic()
    trial.tell(decision, "after", quality=0.5)
    waited = time.monotonic() - started
    found = [said for (said,) in trial.rows("SELECT outcome_id FROM outcomes ORDER BY seq")]
    require(len(found) == len(set(found)), "something is there twice")
    require(set(told) <= set(found), f"lost: {sorted(set(told) - set(found))[:5]}")
    (head,) = trial.ask(lambda connection: connection.execute(HEAD).fetchone())
    require(head == 1 + len(found), "positions have gaps")
    require(waited < 15.0, f"the next writer waited {waited:.1f} s")


def a_lease_is_one_processs_and_ends_with_it(trial: StoreTrial) -> None:
    """However it ends."""
    with trial.store.engine.lease("check"), trial.store.engine.lease("another"):
        try:
            with trial.open().engine.lease("check"):
                raise AssertionError("two hold one lease")
        except TimeoutError:
            pass
    with trial.store.engine.lease("check"):
        pass
    with _program(trial, "hold", "check") as process:
        try:
            with trial.store.engine.lease("check"):
                raise AssertionError("two processes hold one lease")
        except TimeoutError:
            pass
        process.kill()
        process.wait()
        with trial.store.engine.lease("check", 10.0):
            pass


def who_falls_silent_loses_a_renewed_lease(trial: StoreTrial) -> None:
    """Where the engine has such leases: who was stopped, and who was killed."""
    mine = trial.store.engine.renewed_lease("check", SILENCE_S)
    if mine is None:
        return
    try:
        numbers = []
        for signal_name in ("SIGSTOP", "SIGKILL"):
            with _program(trial, "seek", "check") as process:
                numbers.append(int(_line(process)))
                mine.seek()
                time.sleep(1.5 * SILENCE_S)
                require(mine.held == 0, "two hold one lease, or who says that it is there loses it")
                os.kill(process.pid, getattr(signal, signal_name, signal.SIGTERM))
                deadline = time.monotonic() + _PATIENCE_S
                while not mine.held:
                    require(time.monotonic() < deadline, "who is silent keeps it")
                    time.sleep(_PAUSE_S)
            numbers.append(mine.held)
            mine.release()
            require(mine.held == 0, "who let go of it believes to have it")
        require(numbers == sorted(set(numbers)), "a later holder has no larger number")
    finally:
        mine.release()


def news_of_other_processes_come_or_are_looked_for(trial: StoreTrial) -> None:
    """Where the engine says that it tells, it tells; and not of what one has done oneself."""
    told = threading.Event()
    end = trial.store.engine.on_news(told.set)
    if end is None:
        return
    try:
        require(told.wait(_NEWS_S), "nothing is told at the beginning of what was before")
        time.sleep(0.2)
        told.clear()
        other = trial.open()
        trial.decide(store=other)
        require(told.wait(_NEWS_S), "another's commit was not told")
    finally:
        end()


def what_one_decides_another_reads(trial: StoreTrial) -> None:
    """At once, by readers that were open before."""
    other = trial.open()
    with closing(other.tail(OutcomeReward())) as tail:
        require(tail.head() == 0, "it is not empty")
        decision = trial.decide()
        trial.tell(decision, quality=0.75)
        require(tail.head() == 2, "what was committed is not seen")
        (example,) = tail.read(0, 2, 10).examples
        require(example.reward == 0.75, f"its reward is {example.reward}")
    require(other.reader.counts()["outcomes"] == 1, "it is not counted")


PROCESS_CHECKS = (
    what_one_decides_another_reads,
    no_reader_misses_what_others_commit,
    what_a_killed_process_was_told_is_there_is_there,
    a_lease_is_one_processs_and_ends_with_it,
    who_falls_silent_loses_a_renewed_lease,
    news_of_other_processes_come_or_are_looked_for,
)
