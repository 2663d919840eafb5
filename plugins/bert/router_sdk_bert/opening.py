"""Opens an encoder without keeping anybody waiting who need not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from router_sdk.plugin import CorruptArtifactError, Encoder, EncoderUnavailableError


class EncoderSlot:
    """Room for one encoder, filled in the background.

    Args:
        open_encoder: Opens it; may take seconds.
        opened: Called with it, in the thread that opened it.
        logger: Where to say, once, that there is none.

    Attributes:
        error: Why there is none, or None.
    """

    def __init__(
        self, open_encoder: Callable[[], Encoder], opened: Callable[[Encoder], None], logger: logging.Logger
    ) -> None:
        self._open, self._opened, self._logger = open_encoder, opened, logger
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._told = False
        self.error: Exception | None = None
        self.encoder: Encoder | None = None

    def start(self) -> None:
        """Begin to open it, unless it is open or somebody does so already."""
        with self._lock:
            if self.encoder is None and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="router-bert-encoder", daemon=True)
                self._thread.start()

    def wait(self) -> Encoder | None:
        """The encoder, once it is known whether there is one; None if there is none."""
        if self.encoder is None and self._thread is None:
            self.start()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        return self.encoder

    def put(self, encoder: Encoder) -> None:
        """Fill the room with an encoder that is open."""
        self.encoder, self.error = encoder, None

    def _run(self) -> None:
        try:
            encoder = self._open()
            self._opened(encoder)
        except (EncoderUnavailableError, CorruptArtifactError, OSError) as error:
            self._fail(error)
        except Exception as error:
            self._logger.exception("the encoder could not be opened")
            self._told = True
            self._fail(error)
        else:
            self.put(encoder)

    def _fail(self, error: Exception) -> None:
        self.error = error
        if not self._told:
            self._told = True
            self._logger.error("no encoder, so the bert strategy abstains: %s", error)
