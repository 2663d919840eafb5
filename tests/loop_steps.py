"""How long a coroutine holds the event loop, in each of the steps between two of its waits."""

import functools
import inspect
import time

SLOW_S = 0.06
"""How long each commit of a slow writer takes."""

LONG_S = 0.025
"""Who held the loop so long by the clock, in the median of his calls, has waited for one."""

MOST_S = 0.005
"""The longest that an adapter may hold the loop, in processor time: the machine may be busy."""


def slow_writer(monkeypatch, router):
    """From here on each transaction of a router takes so long, as on a disk that others keep busy."""
    committer = router._parts.store.writer._committer

    def slowed(method):
        def slowly(*given, **named):
            time.sleep(SLOW_S)
            return method(*given, **named)

        return slowly

    for name in ("insert", "transact"):
        monkeypatch.setattr(committer, name, slowed(getattr(committer, name)))


class Held:
    """A span in which the loop is held: how long by the clock, and how long this thread computed, in seconds."""

    def __enter__(self):
        self._begun, self._computed = time.perf_counter(), time.thread_time()
        return self

    def __exit__(self, *error):
        self.took = time.perf_counter() - self._begun, time.thread_time() - self._computed


class Watched:
    """A coroutine that notes how long its longest steps took: see ``Held``."""

    def __init__(self, coroutine, longest):
        self._coroutine, self._longest = coroutine, longest

    def __await__(self):
        steps, longest, held = self._coroutine.__await__(), (0.0, 0.0), Held()
        move, value = steps.send, None
        try:
            while True:
                try:
                    with held:
                        waits = move(value)
                finally:
                    longest = tuple(map(max, longest, held.took))
                try:
                    move, value = steps.send, (yield waits)
                except BaseException as error:
                    move, value = steps.throw, error
        except StopIteration as ended:
            return ended.value
        finally:
            self._longest.append(longest)


def watched(callback, longest):
    """The callback; each call adds to ``longest`` for how long it held the loop at most."""
    if inspect.iscoroutinefunction(callback):

        @functools.wraps(callback)
        async def acalled(*given, **named):
            return await Watched(callback(*given, **named), longest)

        return acalled

    @functools.wraps(callback)
    def called(*given, **named):
        held = Held()
        try:
            with held:
                return callback(*given, **named)
        finally:
            longest.append(held.took)

    return called


def assert_free(longest):
    """Between two waits each callback computes for less than 5 ms, and no commit is waited for.

    In the median of its calls: what the machine held up is not the adapter's doing.
    """
    for name, found in longest.items():
        assert len(found) >= 5, f"{name} was called {len(found)} times only"
        waited, computed = (sorted(each)[len(each) // 2] for each in zip(*found, strict=True))
        assert computed < MOST_S, name
        assert waited < LONG_S, name
