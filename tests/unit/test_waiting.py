"""Waiting that a signal may cut short, and that is then taken up again."""

import contextlib
import signal
import threading

import pytest
from programs import main, run

from router_sdk.waiting import until_ended


def cut_short():
    """A first wait for a thread is interrupted; whether it has ended after the second."""
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    with contextlib.suppress(KeyboardInterrupt):
        until_ended(thread)
    running = thread in threading.enumerate()
    threading.Timer(0.05, go_on.set).start()
    until_ended(thread)
    return [running, go_on.is_set(), thread in threading.enumerate()]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no timers that signal")
def test_who_was_cut_short_waits_again():
    assert run(cut_short) == [True, True, False]


def test_patience_ends():
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    until_ended(thread, 0.01)
    assert thread.is_alive()
    go_on.set()
    until_ended(thread)
    assert not thread.is_alive()


if __name__ == "__main__":
    main(globals())


def test_a_join_that_would_never_return_is_not_waited_for():
    """In a signal's handler, of a thread that has ended: the ``join`` that it interrupted holds the lock."""

    class Held(threading.Thread):
        def join(self, timeout=None):
            assert timeout is not None

    thread = Held(target=lambda: None)
    thread.start()
    threading.Thread.join(thread)
    until_ended(thread)
