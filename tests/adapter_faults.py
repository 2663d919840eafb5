"""Faults within an adapter's callbacks: there, and only there, what is asked of the router raises.

An adapter's callbacks are found by looking for them, so that a new one is covered by itself.
"""

import functools
import inspect
from collections import Counter
from contextvars import ContextVar

from pydantic import BaseModel

from router_sdk.errors import StoreUnavailableError

ENTERED = {"__enter__", "__exit__", "__aenter__", "__aexit__"}
ROUTING = ("route", "aroute", "rank")
RECORDING = ("record", "arecord", "observe")


def callbacks(own, *frameworks):
    """Which methods of an adapter's class a framework calls: those that override its own, and those of contexts."""
    known = {name for one in frameworks for name in dir(one)} - set(dir(BaseModel)) | ENTERED
    found = sorted(name for name, value in vars(own).items() if name in known and inspect.isfunction(value))
    assert found, f"{own.__name__} overrides nothing"
    return found


class Log:
    """What a router's log tells, each scenario for itself: to make a router takes longer than a scenario."""

    def __init__(self, router):
        self.router, self._before = router, 0

    def begin(self):
        """The router, for another scenario."""
        self.router.flush()
        self._before = len(self.router.examples)
        return self.router

    def told(self):
        """Who was credited, with which reward, and whether the router had chosen it; each decision once."""
        self.router.flush()
        found = self.router.examples[self._before :]
        parts = [len(self.router.examples.parts(example.decision_id)) for example in found]
        assert parts == [1] * len(parts)
        return [(example.agent, example.reward, example.source) for example in found]


class Fault:
    """Within a callback the router raises once, the first time or a later one; elsewhere it does as always.

    Attributes:
        entered: How often the callback was called.
        raised: How often the router raised there: 0 or 1.
    """

    def __init__(self, monkeypatch, router, asked, after=0):
        self._after, self._inside = after, ContextVar("inside", default=False)
        self.entered = self.raised = 0
        for name in asked:
            monkeypatch.setattr(router, name, self._refusing(getattr(router, name)))

    def within(self, callback):
        """The callback, in which the router raises."""
        if inspect.iscoroutinefunction(callback):

            @functools.wraps(callback)
            async def acalled(*given, **named):
                with self:
                    return await callback(*given, **named)

            return acalled

        @functools.wraps(callback)
        def called(*given, **named):
            with self:
                return callback(*given, **named)

        return called

    def __enter__(self):
        self.entered += 1
        self._inside.set(True)

    def __exit__(self, *error):
        self._inside.set(False)

    def _refusing(self, asked):
        def refuse():
            if self._inside.get():
                self._after -= 1
                if self._after == -1:
                    self.raised += 1
                    raise StoreUnavailableError("the disk is full")

        if inspect.iscoroutinefunction(asked):

            @functools.wraps(asked)
            async def aanswer(*given, **named):
                refuse()
                return await asked(*given, **named)

            return aanswer

        @functools.wraps(asked)
        def answer(*given, **named):
            refuse()
            return asked(*given, **named)

        return answer


def broken(callback):
    """The callback itself raises before it does anything."""

    @functools.wraps(callback)
    def called(*given, **named):
        raise RuntimeError("broken")

    @functools.wraps(callback)
    async def acalled(*given, **named):
        raise RuntimeError("broken")

    return acalled if inspect.iscoroutinefunction(callback) else called


def lost(expected, told):
    """How many outcomes are missing; fails where one is doubled, or credits somebody who did not do it."""
    there, wanted = Counter(told), Counter(expected)
    assert there <= wanted, f"{sorted((there - wanted).elements())} came of nothing"
    return (wanted - there).total()
