"""What code that is not ours may raise without ending the program that it was loaded into.

``except FAULTS as error: let_end(error)``: a plugin that calls ``sys.exit``, as command lines do that somebody wraps,
has failed like any other. What a signal handler of the program raised while the plugin happened to run is no fault of
it, and passes; so does ``KeyboardInterrupt``.
"""

from __future__ import annotations

import signal
import threading
import traceback
from types import CodeType

FAULTS = (Exception, SystemExit)
"""What to catch around the code of a plugin, a strategy, a reward or a check."""


def let_end(error: BaseException) -> None:
    """Raise again what a signal handler of the program raised in the midst of other code."""
    if isinstance(error, SystemExit) and threading.current_thread() is threading.main_thread():
        handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
        if any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise error


def _code(handler: object) -> CodeType | None:
    """The code of a handler: a function, a method, a partial of one, or an object that can be called."""
    handler = getattr(handler, "func", handler)
    handler = getattr(handler, "__func__", handler)
    found = getattr(handler, "__code__", None)
    if found is None and callable(handler):
        found = getattr(type(handler).__call__, "__code__", None)
    return found if isinstance(found, CodeType) else None
