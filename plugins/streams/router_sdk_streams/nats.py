"""NATS JetStream by nats-py: a durable pull consumer, and a publisher that waits for each message's acknowledgement.

``nats://host:4222/subject?group=DURABLE``; ``stream`` names the stream, where several could hold the subject, and
``ack_wait`` says after how many seconds without an acknowledgement a message is delivered again
(https://docs.nats.io/nats-concepts/jetstream/consumers).
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from router_sdk.plugin import (
    Address,
    InvalidInputError,
    Message,
    Outgoing,
    Reached,
    Sink,
    Source,
    SourceCheck,
    StreamUnavailableError,
)
from router_sdk_streams.client import client, not_let_in, only, unreachable

T = TypeVar("T")

ACK_WAIT_S = 60.0
_TIMEOUT_S = 5.0
_PARTING_S = 2.0
_AT_ONCE = 256
"""Messages that are on their way at once."""

_log = logging.getLogger(__name__)


class _Connection:
    """A client on an event loop of its own, which runs on a thread of its own."""

    def __init__(self, address: Address) -> None:
        self.nats = client("nats", "nats")
        self._address = address
        self.where = f"nats://{address.hosts or 'localhost:4222'}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._fault = ""
        self.jetstream: Any = None

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Do it there, meanwhile."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="router-nats", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 2 * _TIMEOUT_S) -> T:
        """Do it there, and wait; raises as ``end`` does."""
        return self.end(self.begin(work), within_s)

    def end(self, future: Future[T], within_s: float = 2 * _TIMEOUT_S) -> T:
        """What came of it.

        Raises:
            StreamUnavailableError: if it did not come to an end in time, or the broker refused.
        """
        try:
            return future.result(within_s)
        except (self.nats.errors.Error, OSError, TimeoutError, CancelledError) as error:
            future.cancel()
            raise self._told(error, within_s) from error

    def _told(self, error: BaseException, within_s: float) -> StreamUnavailableError:
        """Which server, why, and what to do."""
        errors = self.nats.errors
        why = (str(error) or f"no answer within {within_s:g} s").removeprefix("nats: ")
        if isinstance(error, errors.AuthorizationError):
            return not_let_in(self.where, why)
        if isinstance(error, (errors.NoRespondersError, self.nats.js.errors.ServiceUnavailableError)):
            return StreamUnavailableError(f"{self.where} has no JetStream; start nats-server with -js")
        away = (OSError, TimeoutError, CancelledError, errors.ConnectionClosedError, errors.StaleConnectionError)
        if isinstance(error, away):
            return unreachable(self.where, why)
        return StreamUnavailableError(f"{self.where}: {why}")

    async def connected(self) -> Any:
        """JetStream, once there is a connection; the client goes on by itself after it was cut."""
        if self._client is None:
            address = self._address
            servers = [f"nats://{host}" for host in (address.hosts or "localhost:4222").split(",")]
            connecting = self.nats.connect(
                servers,
                user=address.user,
                password=address.password,
                connect_timeout=_TIMEOUT_S,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                error_cb=self._heard,
            )
            try:
                self._client = await asyncio.wait_for(connecting, _TIMEOUT_S)
            except TimeoutError:
                why = self._fault.removeprefix("nats: ") or f"no answer within {_TIMEOUT_S:g} s"
                locked = "authorization" in why.lower()
                raise (not_let_in if locked else unreachable)(self.where, why) from None
            self.jetstream = self._client.jetstream(timeout=_TIMEOUT_S)
        if not self._client.is_connected:
            raise self.nats.errors.ConnectionClosedError
        return self.jetstream

    async def flush(self) -> None:
        """Return once the broker has read all that was written."""
        await self._client.flush(timeout=_TIMEOUT_S)

    async def _heard(self, error: Exception) -> None:
        self._fault = str(error) or type(error).__name__
        _log.debug("nats: %s", error)

    async def _disconnect(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._client.close(), _PARTING_S)

    def close(self) -> None:
        """Disconnect, and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result(2 * _PARTING_S)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        self._client = None


def _headers(one: Outgoing) -> dict[str, str]:
    """Those of a message, and what the broker tells messages apart by that are sent twice within minutes."""
    named = {"Nats-Msg-Id": one.headers["router-id"]} if "router-id" in one.headers else {}
    return {"key": one.key, **named, **{name: " ".join(value.split()) for name, value in one.headers.items()}}


class NatsSource(Source):
    """A subject of a stream, read by a durable pull consumer; several processes may share it."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        only(address, "group", "stream", "ack_wait")
        self._ack_wait_s = address.option("ack_wait", ACK_WAIT_S)
        self._connection = _Connection(address)
        self._stream = address.options.get("stream", "")
        self._subscription: Any = None
        self._ahead: Future[list[Message]] | None = None
        self._sent: Future[None] | None = None

    def open(self, reached: Reached) -> None:
        """Make the durable consumer, where it is not there; one that is there keeps its settings."""
        self._connection.run(self._open())

    async def _open(self) -> None:
        jetstream = await self._connection.connected()
        stream = await self._find()
        if not stream:
            raise StreamUnavailableError(self._missing)
        nats, durable = self._connection.nats, self.address.group
        api = nats.js.api
        try:
            known = (await jetstream.consumer_info(stream, durable)).config
        except nats.js.errors.NotFoundError:
            known = api.ConsumerConfig(
                durable_name=durable,
                filter_subject=self.address.topic,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=self._ack_wait_s,
            )
            await jetstream.add_consumer(stream, known)
        if known.ack_policy != api.AckPolicy.EXPLICIT or known.deliver_subject:
            raise InvalidInputError(
                f"nats: the durable consumer {durable!r} is there, and is no pull consumer with explicit "
                "acknowledgements; name another one with group="
            )
        if known.ack_wait is not None and known.ack_wait != self._ack_wait_s:
            _log.info("nats: the durable consumer %r keeps its ack_wait of %g s", durable, known.ack_wait)
        self._subscription = await jetstream.pull_subscribe_bind(durable=durable, stream=stream)

    def poll(self, most: int, within_s: float) -> Sequence[Message]:
        """What was fetched meanwhile, or else comes; the next is fetched while these are logged."""
        connection = self._connection
        ahead, self._ahead = self._ahead or connection.begin(self._fetch(most, within_s)), None
        found = connection.end(ahead, within_s + 2 * _TIMEOUT_S)
        if found:
            self._ahead = connection.begin(self._fetch(most, within_s))
        return found

    async def _fetch(self, most: int, within_s: float) -> list[Message]:
        await self._connection.connected()
        try:
            came = await self._subscription.fetch(most, timeout=within_s)
        except TimeoutError:
            return []
        return [self._message(one) for one in came]

    def _message(self, one: Any) -> Message:
        told = one.metadata
        # A stream that was made anew counts from 1 again; the time tells its messages from those of the old one.
        name = f"{told.stream}/{told.sequence.stream}@{told.timestamp.timestamp():.6f}"
        return Message(name, one.data, one, headers=one.headers or {}, again=told.num_delivered > 1)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge each, without waiting: what the broker does not hear of comes again, and is counted once."""
        sent, self._sent = self._sent, self._connection.begin(self._acknowledge(messages))
        if sent is not None:
            self._connection.end(sent)

    async def _acknowledge(self, messages: Sequence[Message]) -> None:
        await self._connection.connected()
        for one in messages:
            with suppress(self._connection.nats.errors.MsgAlreadyAckdError):
                await one.place.ack()

    async def _give_back(self) -> None:
        """What was fetched and not asked for any more may come to another consumer at once."""
        if self._ahead is not None:
            for one in await asyncio.wrap_future(self._ahead):
                with suppress(self._connection.nats.errors.MsgAlreadyAckdError):
                    await one.place.nak()
        await self._connection.flush()

    def lag(self) -> Mapping[str, int]:
        """Messages that the durable consumer has not delivered, and those that nobody has acknowledged."""
        return self._connection.run(self._lag())

    async def _lag(self) -> dict[str, int]:
        jetstream = await self._connection.connected()
        stream = await self._find()
        if not stream:
            raise StreamUnavailableError(self._missing)
        try:
            told = await jetstream.consumer_info(stream, self.address.group)
        except self._connection.nats.js.errors.NotFoundError:
            return {stream: (await jetstream.stream_info(stream)).state.messages}
        return {stream: told.num_pending + told.num_ack_pending}

    def check(self) -> SourceCheck:
        """Whether a stream holds the subject."""
        return self._connection.run(self._check())

    async def _check(self) -> SourceCheck:
        jetstream = await self._connection.connected()
        stream = await self._find()
        if not stream:
            return SourceCheck(False, self._missing)
        state = (await jetstream.stream_info(stream)).state
        return SourceCheck(True, f"stream {stream!r} {self._on} holds {self.address.topic!r}", 1, state.messages)

    @property
    def _missing(self) -> str:
        return (
            f"nats: no stream {self._on} holds the subject {self.address.topic!r}; make one: nats stream add NAME "
            f"--subjects {self.address.topic}"
        )

    @property
    def _on(self) -> str:
        return f"on {self._connection.where.partition('//')[2]}"

    async def _find(self) -> str:
        """The stream's name; empty where there is none."""
        jetstream, missing = self._connection.jetstream, self._connection.nats.js.errors.NotFoundError
        try:
            if not self._stream:
                self._stream = str(await jetstream.find_stream_name_by_subject(self.address.topic))
            else:
                await jetstream.stream_info(self._stream)
        except missing:
            return ""
        return self._stream

    def close(self) -> None:
        """Disconnect, once the broker has heard all; the durable consumer stays."""
        if self._subscription is not None:
            with suppress(StreamUnavailableError):
                self._connection.run(self._give_back(), _PARTING_S)
        self._subscription = None
        self._connection.close()


class NatsSink(Sink):
    """A subject; where no stream holds it, one is made that does."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        only(address, "group", "stream", "ack_wait")
        self._connection = _Connection(address)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Publish them, and wait for the acknowledgement of each."""
        for start in range(0, len(messages), _AT_ONCE):
            self._connection.run(self._send(messages[start : start + _AT_ONCE]), 4 * _TIMEOUT_S)

    async def _send(self, messages: Sequence[Outgoing]) -> None:
        jetstream, errors = await self._connection.connected(), self._connection.nats.js.errors
        subject = self.address.topic
        try:
            await jetstream.find_stream_name_by_subject(subject)
        except errors.NotFoundError:
            await jetstream.add_stream(name=re.sub(r"[^\w-]", "_", subject), subjects=[subject])
        await asyncio.gather(*(jetstream.publish(subject, one.body, headers=_headers(one)) for one in messages))

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
