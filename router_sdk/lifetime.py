"""Forks, and the orderly ends of a process: every open router is told of each.

A program that ends by returning, by ``sys.exit``, by an exception, by SIGTERM, or as a child that ``multiprocessing``
forked or spawned, has its routers closed first. What ends without a word (``os._exit``, SIGKILL, a power cut) loses no
acknowledged outcome all the same, and of decisions those of the last fiftieth of a second.

``no_fork`` holds forks back while something is open that a child must not inherit. SQLite's locks are a process's and
do not survive a fork, but what SQLite remembers of them does: a child that inherits an open connection believes itself
to hold locks that it has not got. A session of a native library that is being made holds mutexes that nobody in the
child would ever let go of. What a router keeps open it closes before a fork itself; that is for what is open for a
while.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Protocol

from router_sdk.waiting import Section, committing, held_here, ours

_PATIENCE_S = 1.0
"""A fork takes milliseconds. One that takes longer waits for somebody itself, it may be for us."""

_gate = threading.Condition(threading.RLock())
"""Held by who forks."""
_inside: dict[int, int] = {}
"""How many blocks each thread is in."""


@contextmanager
def no_fork() -> Iterator[None]:
    """Let forks of this process by other threads wait until the block is done.

    A fork that is under way is waited for first, but not for long.
    """
    me = threading.get_ident()
    counted = _gate.acquire(timeout=_PATIENCE_S)
    if counted:
        _inside[me] = _inside.get(me, 0) + 1
        _gate.release()
    try:
        yield
    finally:
        if counted:
            with _gate:
                left = _inside.pop(me, 1) - 1
                if left:
                    _inside[me] = left
                _gate.notify_all()


def _wait_until_nobody_is_inside() -> None:
    _gate.acquire()
    me = threading.get_ident()
    while any(other != me for other in _inside):
        _gate.wait()


def _nobody_is_inside() -> None:
    global _gate
    _gate = threading.Condition(threading.RLock())
    _inside.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_until_nobody_is_inside, after_in_parent=lambda: _gate.release(), after_in_child=_nobody_is_inside
    )  # called after the routers' own, which stands below: whom we wait for may still begin something


_log = logging.getLogger(__name__)


class Living(Protocol):
    """Something with threads, locks and connections."""

    def before_fork(self) -> None:
        """In the parent, before."""

    def after_fork_in_parent(self) -> None:
        """In the parent, after."""

    def after_fork_in_child(self) -> None:
        """In the child."""

    def close(self, *, hurry: bool = False) -> None:
        """At the end; in a hurry, what can be done at the next start is left to that."""


_open: weakref.WeakSet[Living] = weakref.WeakSet()
_held: list[Living] = []
_ending = Section()
"""While all routers are closed."""
_forking = threading.Lock()
"""One fork at a time: a second would find routers that are held already."""


def watch(router: Living, *, sigterm: bool) -> None:
    """Tell a router of forks, and of the process's end, for as long as it lives.

    Args:
        router: Whom to tell.
        sigterm: Whether to take SIGTERM, where the program has no handler of its own: routers are closed, and then the
            signal does what it would have done.
    """
    _open.add(router)
    _watch_multiprocessing()
    if sigterm and threading.current_thread() is threading.main_thread():
        with contextlib.suppress(ValueError):  # not the main interpreter
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _terminate)


def unwatch(router: Living) -> None:
    """It was closed."""
    _open.discard(router)


def close_all(*, hurry: bool = False) -> None:
    """Close every router that is open in this process; one that fails keeps no other from it."""
    try:
        with _ending.lock:
            for router in sorted(_open, key=id):
                try:
                    router.close(hurry=hurry)
                except Exception:
                    _log.exception("a router could not be closed at the end of the process")
    finally:
        _ending.left()


atexit.register(close_all)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Close, then end as a process without a handler ends."""
    for section in (committing, _ending):
        if held_here(section.lock):
            section.postponed = partial(os.kill, os.getpid(), number)
            return
    close_all(hurry=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), number)


ours(_terminate)


# -- children of multiprocessing end without the interpreter's own exit handlers


class _Anchor:
    """What ``multiprocessing`` holds weakly."""


_anchor = _Anchor()


def _watch_multiprocessing(_: object = None) -> None:
    """Have the routers closed when ``multiprocessing`` ends this child, if it is one."""
    util, process = sys.modules.get("multiprocessing.util"), sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, close_all, exitpriority=100)


# -- forks


def _before() -> None:
    _forking.acquire()
    _held.extend(sorted(_open, key=id))
    for router in _held:
        router.before_fork()


def _in_parent() -> None:
    for router in reversed(_held):
        router.after_fork_in_parent()
    _held.clear()
    _forking.release()


def _in_child() -> None:
    for router in _held:
        router.after_fork_in_child()
    _held.clear()
    _forking.release()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # it forgets what is to be done at the end, and then calls this
        util.register_after_fork(_anchor, _watch_multiprocessing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
