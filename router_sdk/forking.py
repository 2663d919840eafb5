"""Holds forks back while something is open that a child must not inherit.

SQLite's locks are a process's and do not survive a fork, but what SQLite remembers of them does: a child that inherits
an open connection believes itself to hold locks that it has not got. A session of a native library that is being made
holds mutexes that nobody in the child would ever let go of. What a router keeps open it closes before a fork itself
(``lifetime``); this is for what is open for a while, on some thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


def _before() -> None:
    _gate.acquire()
    me = threading.get_ident()
    while any(other != me for other in _inside):
        _gate.wait()


def _in_child() -> None:
    global _gate
    _gate = threading.Condition(threading.RLock())
    _inside.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=lambda: _gate.release(), after_in_child=_in_child)
