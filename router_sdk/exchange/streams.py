"""``router.streams``: outcomes in from brokers, the log out to them, and how each stream does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.events import EventReader
from router_sdk.exchange.ingest import Ingest, StreamReport, Tell
from router_sdk.exchange.outbox import Outbox
from router_sdk.records.arguments import place
from router_sdk.store.streams import stream_statuses
from router_sdk.streams.address import Address
from router_sdk.streams.source import Sink, Source, SourceCheck
from router_sdk.streams.standard_input import StandardInput, StandardOutput

if TYPE_CHECKING:
    from router_sdk.plugins import PluginRegistry
    from router_sdk.recording import Recorder
    from router_sdk.routing.agents import Members
    from router_sdk.store import Store

T = TypeVar("T")

_BROKERS = {"kafka": "kafka", "nats": "nats", "redis": "redis", "rediss": "redis"}
"""What ``router-sdk-streams`` brings, and by which of its extras."""
_WRITTEN_OTHERWISE = {
    "tls": "for NATS over TLS write nats://: a server that asks for TLS gets it, and its certificate is verified"
}
"""Addresses that somebody may be used to, and what they are here."""


class Streams:
    """The streams of one router.

    Args:
        store: The log.
        recorder: Checks outcomes.
        members: The agents that events may name.
        plugins: Who brings sources and sinks.
        most: Messages in one transaction.
    """

    def __init__(self, store: Store, recorder: Recorder, members: Members, plugins: PluginRegistry, most: int) -> None:
        self._store, self._recorder, self._members, self._plugins = store, recorder, members, plugins
        self._most = most

    def source(self, address: str | Source) -> Source:
        """The source at an address, such as ``kafka://localhost:9092/agent-outcomes?group=router-sdk``.

        Raises:
            InvalidInputError: if nothing that is installed reads such an address; says what to install.
        """
        return address if isinstance(address, Source) else source_at(address, self._plugins)

    def sink(self, address: str | Address | Sink) -> Sink:
        """The sink at an address.

        Raises:
            InvalidInputError: if nothing that is installed writes to such an address; says what to install.
        """
        return address if isinstance(address, Sink) else sink_at(address, self._plugins)

    def consume(
        self,
        source: str | Source,
        *,
        mapping: str | Path | None = None,
        dead_letters: str | Address | Sink | None = None,
        new_agents: bool = False,
        end: threading.Event | None = None,
        tell: Tell = lambda report: None,
    ) -> StreamReport:
        """Log the outcomes of a stream until ``end`` is set, or it has ended; each is counted once.

        Up to ``batch_events`` messages share a transaction with how far they came, and are acknowledged after it. A
        message that nobody understands is a dead letter. Where the broker or the store cannot be reached, it waits.

        Args:
            source: An address, or a source.
            mapping: A file that says what events of other forms mean, see ``EventMapping``.
            dead_letters: Where messages go that nobody understands, beside the store's own dead letters: an address,
                a sink, or the source's own address ``with_topic``.
            new_agents: Whether names that nobody knows become agents; else their events are dead letters.
            end: Set by another thread, or a signal handler.
            tell: Told how it does after each transaction.

        Raises:
            InvalidInputError: if an address or the mapping is malformed, or dead letters would go where they came from.
        """
        reader = EventReader() if mapping is None else EventReader.from_file(place(mapping, "mapping"))
        opened = self.source(source)
        refused = None if dead_letters is None else self.sink(dead_letters)
        if refused is not None and refused.address.is_place_of(opened.address):
            refused.close()
            opened.close()
            raise InvalidInputError(f"dead_letters: {refused.address} is what is read; give them a topic of their own")
        ingest = Ingest(
            self._store,
            self._recorder,
            self._members,
            opened,
            reader,
            dead_letters=refused,
            most=self._most,
            new_agents=new_agents,
        )
        try:
            return ingest.run(threading.Event() if end is None else end, tell)
        finally:
            if refused is not None:
                refused.close()

    def publish(
        self,
        sink: str | Sink,
        *,
        once: bool = False,
        end: threading.Event | None = None,
        tell: Callable[[Outbox], None] = lambda outbox: None,
    ) -> int:
        """Send decisions and outcomes to a broker as CloudEvents, in the order of the log, and return how many.

        How far the log was sent is kept in the store: it goes on from there, and what is sent again has the same id.
        One process does it for each address.

        Args:
            sink: An address, or a sink.
            once: Whether to end once all that there is was sent; else it goes on until ``end`` is set.
            end: Set by another thread, or a signal handler.
            tell: Told after each batch.

        Raises:
            InvalidInputError: if the address is malformed.
            StreamUnavailableError: with ``once``, if the broker cannot be reached.
        """
        outbox = Outbox(self._store, self.sink(sink))
        return outbox.run(threading.Event() if end is None else end, once=once, tell=tell)

    def check(self, source: str | Source) -> SourceCheck:
        """Whether the topic of a source exists, and what it holds.

        Raises:
            StreamUnavailableError: if the broker cannot be reached.
        """
        with closing(self.source(source)) as opened:
            return opened.check()

    def lag(self, source: str | Source) -> Mapping[str, int]:
        """How many messages a source's group has still to deal with, by partition.

        Raises:
            StreamUnavailableError: if the broker cannot be reached, or has no such topic.
        """
        with closing(self.source(source)) as opened:
            return opened.lag()

    def status(self) -> list[dict[str, Any]]:
        """How each process did on each stream that it followed in the last day, see ``StreamReport``."""
        return self._store.reader.query(stream_statuses)


def source_at(address: str, plugins: PluginRegistry) -> Source:
    """The source at an address, where there is no router.

    Raises:
        InvalidInputError: as ``Streams.source``.
    """
    known: dict[str, type[Source]] = {"stdin": StandardInput, **plugins.sources}
    return _made(address, known, "reads")


def sink_at(address: str | Address, plugins: PluginRegistry) -> Sink:
    """The sink at an address, where there is no router.

    Raises:
        InvalidInputError: as ``Streams.sink``.
    """
    known: dict[str, type[Sink]] = {"stdout": StandardOutput, **plugins.sinks}
    return _made(address, known, "writes to")


def _made(address: str | Address, known: Mapping[str, Callable[[Address], T]], does: str) -> T:
    where = address if isinstance(address, Address) else Address.parse(address)
    if where.scheme not in known:
        hint = f"; pip install 'router-sdk-streams[{_BROKERS[where.scheme]}]'" if where.scheme in _BROKERS else ""
        hint += f"; {told}" if (told := _WRITTEN_OTHERWISE.get(where.scheme)) else ""
        raise InvalidInputError(f"nothing that is installed {does} {where.scheme}://; there are {sorted(known)}{hint}")
    return known[where.scheme](where)
