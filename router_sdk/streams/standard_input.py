"""Lines of standard input as a source, and of standard output as a sink: for pipes, and to try things out."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from router_sdk.errors import InvalidInputError
from router_sdk.streams.address import Address
from router_sdk.streams.source import Message, Outgoing, Reached, Sink, Source, SourceCheck

_AHEAD = 1_000
"""Lines that may be read before they are asked for."""


class StandardInput(Source):
    """One message a line. It ends where the input ends; nothing of it can be read again."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._run = os.urandom(8).hex()  # line 1 of another input is another message
        self._lines: queue.Queue[tuple[int, bytes] | None] = queue.Queue(_AHEAD)

    def open(self, reached: Reached) -> None:
        """Begin to read, on a thread: a pipe that nobody writes to must not hold the end up."""
        threading.Thread(target=self._read, name="router-stdin", daemon=True).start()

    def _read(self) -> None:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if line.strip():
                self._lines.put((number, line))
        self._lines.put(None)

    def poll(self, most: int, within_s: float) -> Sequence[Message]:
        """Lines that hold something."""
        found: list[Message] = []
        deadline = time.monotonic() + within_s
        while len(found) < most and not self.ended:
            try:
                came = self._lines.get(not found, max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if came is None:
                self.ended = True
            else:
                found.append(Message(f"{self._run} line {came[0]}", came[1]))
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Nobody has to be told."""

    def lag(self) -> Mapping[str, int]:
        """Nobody knows how much is still to come."""
        return {}

    def check(self) -> SourceCheck:
        """It is always there."""
        return SourceCheck(exists=True, words="standard input, one event a line", partitions=1)

    def close(self) -> None:
        """It is the caller's."""


class StandardOutput(Sink):
    """One line a message."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Write them, each on a line of its own."""
        try:
            for one in messages:
                sys.stdout.buffer.write(one.body + b"\n")
            sys.stdout.buffer.flush()
        except OSError as error:
            raise InvalidInputError(f"standard output: {error.strerror}") from error

    def close(self) -> None:
        """It is the caller's."""
