"""Signals that come at any moment lose nothing and hang nothing, whoever handles them."""

import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import programs_that_end
import pytest
from programs_that_end import (
    LIMIT_S,
    Told,
    check,
    check_all,
    hold_router,
    open_router,
    record,
    route,
    run,
    running,
    say,
    signalled_after,
    sleep_until,
    work,
    work_for_ever,
)

import router_sdk
from router_sdk import Outcome, Router, Task
from router_sdk.errors import RouterClosedError, RouterError

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes in other ways")


def terminated(path: str, where: str) -> None:
    """Works until SIGTERM comes, with the main thread in the midst of it, waiting for others, or asleep."""
    router = hold_router(path)
    if where == "main":
        work_for_ever(router)
    threads = [threading.Thread(target=work_for_ever, args=(router,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    if where == "join":
        threads[0].join()
    sleep_until(lambda: False)


def terminated_twice(path: str) -> None:
    """A second SIGTERM comes while the first is being obeyed: once a supervisor's, once a group's."""
    slow = open_router(path, [slow_to_close()])
    route(slow, 5)
    os.kill(os.getpid(), signal.SIGTERM)


def slow_to_close() -> Any:
    from router_sdk.plugin import Strategy, StrategyConfig

    class Slow(Strategy):
        name = "slow"

        def propose(self, task, agents, context):
            return None

        def save(self, folder):
            os.kill(os.getpid(), signal.SIGTERM)

        def close(self):
            say("closed")

    return Slow(StrategyConfig(), None)


def watched(routers: int, seed: str) -> Iterator[random.Random]:
    """So many turns, each of which must end in time: whatever hangs is shown with all its threads, and ends."""
    chance = random.Random(seed)
    for _ in range(routers):
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        yield chance
    faulthandler.cancel_dump_traceback_later()


def doing(router: Router) -> dict[str, Callable[[], object]]:
    """What a main thread may be in the middle of."""
    decision = router.route(Task("before", session_id="one"))
    number = iter(range(10**9))
    return {
        "record": lambda: record(router, route(router)),
        "flush": lambda: (route(router), router.flush()),
        "add_agent": lambda: router.add_agent(f"agent-{next(number)}"),
        "status": router.status,
        "once": lambda: say("routed", router.route("x", idempotency_key=str(next(number))).decision_id),
        "snapshot": lambda: (router.record(decision, Outcome(quality=next(number) % 2)), router.snapshot()),
        "retrain": lambda: router.models.retrain("words").stop(),
        "forget": lambda: router.forget("one"),
        "close": router.close,
    }


def signalled(path: str, operations: str, moments: str, seed: str) -> None:
    """A handler of the program's own records and closes while the main thread is in the middle of something."""
    for operation in operations.split(","):
        for turn, chance in enumerate(watched(int(moments), seed + operation)):
            signalled_once(f"{path}-{operation}-{turn}", operation, chance)


def signalled_once(path: str, operation: str, chance: random.Random) -> None:
    from fitted_strategy import Words

    router = open_router(path, [Words, "thompson"], retrain=False, fit_executor="thread")
    closed: list[bool] = []

    def handler(number: int, frame: object) -> None:
        with contextlib.suppress(RouterClosedError):  # where the main thread is closing it already
            for _ in range(2):
                record(router, route(router))
        router.close()
        closed.append(True)

    signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGTERM, handler)
    do = doing(router)[operation]
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 0.03))
    with contextlib.suppress(RouterError):
        while not closed:
            do()
    assert signal.getsignal(signal.SIGTERM) is handler, "the program's own"
    sleep_until(lambda: closed)
    router.close()


def before_line(number: int, call: Callable[[], object], do: Callable[[], object]) -> bool:
    """Do something, and call ``call`` before a line of the product's in this thread; whether it came to that line."""
    seen, ours = iter(range(1, number)), str(Path(router_sdk.__file__).parent)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(ours):
            return None
        if event == "line" and next(seen, None) is None:
            sys.settrace(None)
            call()
        return trace

    sys.settrace(trace)
    try:
        do()
    finally:
        came = sys.gettrace() is None
        sys.settrace(None)
    return came


def terminated_at_any_line(path: str, operation: str, step: str) -> None:
    """SIGTERM comes before every so many lines of an operation, in a child of its own for each."""
    from fitted_strategy import Words

    number = 1
    while True:
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(LIMIT_S, exit=True)
            router = open_router(f"{path}-{number}", [Words, "thompson"], retrain=False, fit_executor="thread")
            route(router, 5)
            do = doing(router)[operation]
            came = before_line(number, lambda: os.kill(os.getpid(), signal.SIGTERM), do)
            os._exit(1 if came else 0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == 0:
            break
        assert ended == -signal.SIGTERM, f"{operation}, before line {number}: {ended}"
        number += int(step)
    say("lines", str(number))


def interrupted(path: str, turns: str, seed: str) -> None:
    """KeyboardInterrupt, again and again, wherever the main thread is; the router goes on, and at once."""
    router = open_router(path)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    took = []
    for chance in watched(int(turns), seed):
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 0.02))
            while True:
                record(router, route(router, 2))
                if chance.random() < 0.1:
                    router.flush()
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        started = time.monotonic()
        record(router, route(router))
        took.append(time.monotonic() - started)
    assert sum(one > 0.9 for one in took) < len(took) / 10, "nobody wakes who records next"
    router.flush()
    router.close()


def interrupted_while_closing(path: str, turns: str, seed: str) -> None:
    """KeyboardInterrupt in the middle of ``close``; whoever closes again closes the rest."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for chance in watched(int(turns), seed):
        router = open_router(path)
        work(router)
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 0.02))
            router.close()
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        router.close()
        left = [one.name for one in threading.enumerate() if one.name.startswith("router-")]
        assert left == [], left


def forking(path: str, turns: str, seed: str) -> None:
    """A handler of the program's own records while the main thread is in the midst of a fork, or closes at last."""
    router = open_router(path)
    signal.signal(signal.SIGALRM, lambda *told: record(router, route(router)))
    for chance in watched(int(turns), seed):
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 0.002))
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    router.close()


def cancelled(path: str) -> None:
    """An asyncio program that SIGINT cancels while many of its coroutines record."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started with it ignored
    router = open_router(path)

    async def call() -> None:
        while True:
            decision = await router.aroute("who takes this?")
            say("routed", decision.decision_id)
            await router.arecord(decision, Outcome(success=True))
            say("recorded", decision.decision_id)

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(call())

    asyncio.run(everything())


# -- what they must show


OPERATIONS = ("record,flush,add_agent", "status,once,snapshot", "retrain,forget,close")
"""Those of a program: it takes longer to start one than to interrupt it."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "router.db"


@pytest.mark.parametrize("where", ["main", "join", "asleep"])
def test_sigterm(path: Path, where: str, request: pytest.FixtureRequest) -> None:
    chance = random.Random(f"{where} 1")
    routed, recorded = set(), set()
    for _ in range(20 if request.config.getoption("--reliability", default=False) else 1):
        with running(terminated, path, where) as process:
            code, told, complaints = signalled_after(process, 20 + chance.randrange(200), signal.SIGTERM)
        assert code == -signal.SIGTERM, complaints
        assert complaints == ""
        routed |= told.routed
        recorded |= told.recorded
    check(path, Told(routed, recorded, []))


def test_a_second_sigterm_does_not_cut_the_first_one_short(path: Path) -> None:
    told = run(terminated_twice, path, code=-signal.SIGTERM)
    assert told.else_said == ["closed"]
    check(path, told)


@pytest.mark.parametrize("operations", OPERATIONS)
def test_a_signal_handler_may_record_and_close_at_any_moment(
    path: Path, operations: str, request: pytest.FixtureRequest
) -> None:
    thorough = request.config.getoption("--reliability", default=False)
    moments = 100 if thorough else 5
    for some in operations.split(",") if thorough else [operations]:
        told = run(signalled, path, some, moments, "a")
        check_all(path, told)
        assert len(told.recorded) >= 2 * moments * len({*some.split(",")} - {"close"})


@pytest.mark.parametrize(("operation", "step"), [("record", 151), ("flush", 131), ("add_agent", 139), ("close", 131)])
def test_sigterm_at_any_line_flushes_and_ends(
    path: Path, operation: str, step: int, request: pytest.FixtureRequest
) -> None:
    step = 1 if request.config.getoption("--reliability", default=False) else step
    told = run(terminated_at_any_line, path, operation, step)
    check_all(path, told)
    assert int(told.else_said[0].split()[1]) > 80


def test_keyboard_interrupts_leave_a_router_that_works(path: Path, request: pytest.FixtureRequest) -> None:
    turns = 2_000 if request.config.getoption("--reliability", default=False) else 60
    told = run(interrupted, path, turns, "b")
    check(path, told)
    assert len(told.recorded) > turns


def test_a_keyboard_interrupt_may_cut_close_short(path: Path, request: pytest.FixtureRequest) -> None:
    turns = 300 if request.config.getoption("--reliability", default=False) else 15
    check(path, run(interrupted_while_closing, path, turns, "c"))


def test_a_signal_handler_may_record_in_the_midst_of_a_fork(path: Path, request: pytest.FixtureRequest) -> None:
    turns = 5_000 if request.config.getoption("--reliability", default=False) else 50
    check(path, run(forking, path, turns, "d"))


def test_a_coroutine_that_is_cancelled_by_sigint(path: Path) -> None:
    with running(cancelled, path) as process:
        code, told, complaints = signalled_after(process, 100, signal.SIGINT)
    assert code == -signal.SIGINT, complaints
    assert "\nKeyboardInterrupt\n" in complaints
    assert "Exception ignored" not in complaints
    check(path, told)


if __name__ == "__main__":
    programs_that_end.main(globals())
