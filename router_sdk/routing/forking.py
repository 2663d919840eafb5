"""Forks: every open router is told before and after, in parent and child."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something with threads, locks and connections."""

    def before_fork(self) -> None:
        """In the parent, before."""

    def after_fork_in_parent(self) -> None:
        """In the parent, after."""

    def after_fork_in_child(self) -> None:
        """In the child."""


_open: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Forkable] = []
_forking = threading.Lock()
"""One fork at a time: a second would find routers that are held already."""


def survive_forks(router: Forkable) -> None:
    """Tell ``router`` of forks for as long as it lives."""
    _open.add(router)


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
