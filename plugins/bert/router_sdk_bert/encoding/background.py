"""Opens an encoder without keeping anybody waiting who need not."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from weakref import WeakSet

from router_sdk.plugin import CorruptArtifactError, Encoder, EncoderUnavailableError

_POLL_S = 0.05
_GRACE_S = 2.0
"""How long ``close`` waits for what cannot be interrupted: a library that reads a model."""
_LAST_GRACE_S = 30.0
"""The same at the end of the interpreter, which must not end under a thread in native code."""


class EncoderSlot:
    """Room for one encoder, filled in the background.

    A signal handler may close it while the thread that it interrupts is inside any other call: the lock is one that its
    holder may take again, and whoever waits looks up at short intervals.

    Args:
        open_encoder: Opens it; may take long, but asks ``stopped`` often, and then raises.
        opened: Called with it, in the thread that opened it; the same holds.
        logger: Where to say, once, that there is none.

    Attributes:
        error: Why there is none, or None.
    """

    def __init__(
        self, open_encoder: Callable[[], Encoder], opened: Callable[[Encoder], None], logger: logging.Logger
    ) -> None:
        self._open, self._opened, self._logger = open_encoder, opened, logger
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._opening = self._closed = self._told = False
        self.error: Exception | None = None
        self.encoder: Encoder | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no encoder, in words; None if there is one."""
        if self.encoder is not None:
            return None
        return "not open yet" if self.error is None else str(self.error) or type(self.error).__name__

    def stopped(self) -> bool:
        """Whether nobody needs the encoder any more."""
        return self._closed

    def start(self) -> None:
        """Begin to open it, unless it is open, somebody does so already, or the slot is closed."""
        with self._lock:
            if self.encoder is not None or self._opening or self._closed:
                return
            thread = threading.Thread(target=self._run, name="router-bert-encoder", daemon=True)
            _begun.add(self)
            self._opening = True
            try:
                thread.start()
            except RuntimeError:
                self._opening = False
                raise
            self._thread = thread

    def wait(self) -> Encoder | None:
        """The encoder, once it is known whether there is one; None if there is none."""
        if self.encoder is None and self._thread is None:
            self.start()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            while self.encoder is None and not self._closed and thread.is_alive():
                thread.join(_POLL_S)
        return self.encoder

    def put(self, encoder: Encoder) -> None:
        """Fill the room with an encoder that is open; one that is being opened comes too late."""
        with self._lock:
            self.encoder, self.error = encoder, None

    def close(self, grace_s: float = _GRACE_S) -> None:
        """Open nothing any more, and wait a little until what is under way has been given up.

        Args:
            grace_s: How long, at most.
        """
        self._closed = True
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(grace_s)
        if self.encoder is None and self.error is None:
            self.error = EncoderUnavailableError("the strategy was closed before its encoder was open")

    def after_fork(self) -> None:
        """In a forked child, where the thread is gone: begin again what it had begun."""
        self._lock = threading.RLock()
        self._thread = None
        if self._opening:
            self._opening = False
            self.start()

    def _run(self) -> None:
        try:
            encoder = self._open()
            if self._closed:
                raise EncoderUnavailableError("the strategy was closed while its encoder was opened")
            self._opened(encoder)
        except (EncoderUnavailableError, CorruptArtifactError, OSError) as error:
            self._fail(error)
        except Exception as error:
            if not self._closed:
                self._logger.exception("the encoder could not be opened")
                self._told = True
            self._fail(error)
        else:
            with self._lock:
                if self.encoder is None:
                    self.put(encoder)
        finally:
            self._opening = False

    def _fail(self, error: Exception) -> None:
        self.error = error
        if not self._told and not self._closed:
            self._told = True
            self._logger.error("no encoder, so the bert strategy abstains: %s", error)


_begun: WeakSet[EncoderSlot] = WeakSet()


@atexit.register
def _end_all() -> None:
    """Close the slots that nobody closed."""
    for slot in list(_begun):
        slot.close(_LAST_GRACE_S)
