"""What a broker's client has to do: a source of messages, and a sink for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from router_sdk.streams.address import Address

Reached = Callable[[], Mapping[str, int]]
"""How far the log has come, by partition: the position of the next message that it does not hold."""


class Message(NamedTuple):
    """One message.

    Attributes:
        id: Names it among all messages that may come into one log, whichever stream and broker they come from; the same
            at each delivery, and after a restart of either side. One of more than 200 characters is kept as a digest.
        body: What it says.
        place: What the source acknowledges it by.
        partition: Which sequence it stands in, where the source has such; else None.
        position: Where it stands there, from 0.
        headers: What is said of it beside the body.
        again: Whether it was delivered before.
    """

    id: str
    body: bytes
    place: Any = None
    partition: str | None = None
    position: int = 0
    headers: Mapping[str, str] = {}
    again: bool = False


class SourceCheck(NamedTuple):
    """What there is where a source reads.

    Attributes:
        exists: Whether the topic is there.
        words: What was found, and what to do where it is not there.
        partitions: How many sequences it has.
        messages: How many messages it holds; None where nobody knows.
    """

    exists: bool
    words: str
    partitions: int = 0
    messages: int | None = None


class Source(ABC):
    """Messages of a broker, read in micro-batches. One thread uses it at a time.

    A message is delivered until it was acknowledged, at least once: who reads it counts it once.

    Args:
        address: Where.

    Raises:
        InvalidInputError: if the address has an option that nobody knows, or the client is not installed; says what to
            install.

    Attributes:
        ended: Whether nothing more will come; most never end.
    """

    ended = False

    def __init__(self, address: Address) -> None:
        self.address = address

    @abstractmethod
    def open(self, reached: Reached) -> None:
        """Connect, and take part in the group.

        Args:
            reached: Where to go on in each partition, where the broker remembers less than the log.

        Raises:
            StreamUnavailableError: if the broker cannot be reached, or has no such topic.
        """

    @abstractmethod
    def poll(self, most: int, within_s: float) -> Sequence[Message]:
        """Up to ``most`` messages, as soon as there is one; none where none came within so many seconds.

        Raises:
            StreamUnavailableError: if the broker cannot be reached; ``poll`` may be called again.
        """

    @abstractmethod
    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Say that these were dealt with, all of what a ``poll`` gave. A late or lost acknowledgement is harmless.

        Raises:
            StreamUnavailableError: if the broker cannot be told now.
        """

    @abstractmethod
    def lag(self) -> Mapping[str, int]:
        """How many messages the group has still to deal with, by partition. ``open`` is not needed for it.

        Raises:
            StreamUnavailableError: if the broker cannot be reached, or has no such topic.
        """

    @abstractmethod
    def check(self) -> SourceCheck:
        """Whether the topic exists, and what it holds; nothing is made. ``open`` is not needed for it.

        Raises:
            StreamUnavailableError: if the broker cannot be reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the group, and disconnect. Closing twice is harmless."""


class Outgoing(NamedTuple):
    """One message on its way out.

    Attributes:
        key: What belongs together stays in order: a decision's id.
        body: What it says.
        headers: What is said of it beside that.
    """

    key: str
    body: bytes
    headers: Mapping[str, str] = {}


class Sink(ABC):
    """Takes messages. One thread uses it at a time.

    Args:
        address: Where to.

    Raises:
        InvalidInputError: as ``Source``.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    @abstractmethod
    def send(self, messages: Sequence[Outgoing]) -> None:
        """Return once the broker has taken all of them, in their order.

        Raises:
            StreamUnavailableError: if it did not; some of them may have been taken, and are sent again.
        """

    @abstractmethod
    def close(self) -> None:
        """Disconnect. Closing twice is harmless."""
