"""Holds forks back while something is made that a child must not inherit half made.

A session under way holds locks of native libraries, and an import that of its module. In a child nobody would ever let
go of them: the thread that held them exists in the parent alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_S = 1.0
"""A fork takes milliseconds. One that takes longer waits for somebody itself."""

_lock = threading.RLock()
_forking = _stuck = False


@contextmanager
def no_fork() -> Iterator[None]:
    """Let forks of this process wait until the block is done.

    A fork that is about to happen is waited for, but not for long: a router waits with it for a learner, which may
    itself be waiting for the very thing that is made here.
    """
    global _stuck
    held = False
    while not held and not _stuck:
        held = _lock.acquire(timeout=_PATIENCE_S)
        _stuck = _forking and not held
    try:
        yield
    finally:
        if held:
            _lock.release()


def _before() -> None:
    global _forking, _stuck
    _lock.acquire()
    _forking, _stuck = True, False


def _after() -> None:
    global _forking, _stuck
    if _forking:
        _forking = _stuck = False
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
