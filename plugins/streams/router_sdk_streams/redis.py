"""Redis Streams by redis-py: a consumer group; what nobody acknowledged in time is claimed.

``redis://host:6379/key?group=NAME``, or ``/DB/key``, and ``rediss://`` with TLS; ``claim_s`` says after how many
seconds without an acknowledgement another consumer may take an entry (https://redis.io/docs/latest/commands/xautoclaim).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"data"
"""The field that holds an event; without it, an entry's only field does, or all of its fields are the event."""
CLAIM_S = 60.0
_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class _Connection:
    """A client, and the key that an address names.

    Attributes:
        key: Where the stream is.
        name: The server, its database and the key: the same however the address leaves out what goes without saying.
    """

    def __init__(self, address: Address) -> None:
        only(address, "group", "claim_s")
        self._redis = client("redis", "redis")
        self.faults = client("redis.exceptions", "redis")
        number, slash, key = address.topic.partition("/")
        self.key, database = (key, int(number)) if slash and number.isdecimal() else (address.topic, 0)
        host, port = _server(address)
        self.name = f"{host}:{port}/{database}/{self.key}"
        self._where = f"{address.scheme}://{address.hosts or f'{host}:{port}'}"
        self.commands: Any = self._redis.Redis(
            host=host,
            port=port,
            ssl=address.scheme == "rediss",
            db=database,
            username=address.user,
            password=address.password,
            socket_timeout=_TIMEOUT_S,  # of a blocking read, too: each is shorter
            socket_connect_timeout=_TIMEOUT_S,
            # A connection that was cut is opened once more; whoever follows a stream tries again by itself.
            retry=client("redis.retry", "redis").Retry(client("redis.backoff", "redis").NoBackoff(), 1),
        )

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Faults of the connection, and of the server: which, why, and what to do."""
        faults = self.faults
        try:
            yield
        except (faults.AuthenticationError, faults.AuthorizationError, faults.NoPermissionError) as error:
            raise not_let_in(self._where, error) from error
        except (faults.ConnectionError, faults.TimeoutError) as error:
            raise unreachable(self._where, str(error).rstrip(".")) from error
        except faults.RedisError as error:
            raise StreamUnavailableError(f"{self._where}: {error}") from error

    def close(self) -> None:
        self.commands.close()


class RedisSource(Source):
    """A stream, read by a consumer group from its beginning."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._claim_s = address.option("claim_s", CLAIM_S)
        self._connection = _Connection(address)
        self._key, self._commands = self._connection.key, self._connection.commands
        self._name = self._connection.name
        self._consumer = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
        self._claimed_at = -self._claim_s
        self._cursor: bytes | str = "0-0"
        self._opened = False

    def open(self, reached: Reached) -> None:
        """Make the group, where it is not there."""
        found = self.check()
        if not found.exists:
            raise StreamUnavailableError(found.words)
        with self._connection.reached():
            try:
                self._commands.xgroup_create(self._key, self.address.group, id="0")
            except self._connection.faults.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        self._opened = True

    def poll(self, most: int, within_s: float) -> Sequence[Message]:
        """What was given to somebody who did not acknowledge it in time; else what is new."""
        with self._connection.reached():
            return self._unclaimed(most) or self._new(most, within_s)

    def _unclaimed(self, most: int) -> list[Message]:
        now = time.monotonic()
        if self._cursor == "0-0" and now - self._claimed_at < self._claim_s / 2:
            return []
        self._claimed_at = now
        cursor, entries, *trimmed = self._commands.xautoclaim(
            self._key,
            self.address.group,
            self._consumer,
            int(self._claim_s * 1_000),
            self._cursor,
            most,
        )
        self._cursor = "0-0" if cursor in (b"0-0", "0-0") else cursor
        if trimmed and trimmed[0]:
            _log.warning("redis: %s: %d entries were trimmed before they were read", self._key, len(trimmed[0]))
        return [_message(self._name, entry, fields, again=True) for entry, fields in entries]

    def _new(self, most: int, within_s: float) -> list[Message]:
        wait = max(1, int(min(within_s, _TIMEOUT_S / 2) * 1_000))
        came = self._commands.xreadgroup(self.address.group, self._consumer, {self._key: ">"}, count=most, block=wait)
        entries = next(iter(came.values()))[0] if isinstance(came, dict) and came else came[0][1] if came else []
        return [_message(self._name, entry, fields) for entry, fields in entries]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Take them out of what is pending."""
        with self._connection.reached():
            self._commands.xack(self._key, self.address.group, *(one.place for one in messages))

    def lag(self) -> Mapping[str, int]:
        """Entries that the group has not read, and those that it has not acknowledged."""
        with self._connection.reached():
            if not self._commands.exists(self._key):
                raise StreamUnavailableError(self._missing("nothing"))
            for group in self._commands.xinfo_groups(self._key):
                if group["name"] == self.address.group.encode():
                    unread = group.get("lag")
                    if unread is None:  # something was deleted amidst: count
                        after = f"({group['last-delivered-id'].decode()}"
                        unread = len(self._commands.xrange(self._key, after))
                    return {self._key: unread + group["pending"]}
            return {self._key: self._commands.xlen(self._key)}

    def check(self) -> SourceCheck:
        """Whether the key holds a stream."""
        with self._connection.reached():
            kind = self._commands.type(self._key).decode()
            if kind != "stream":
                there = "nothing" if kind == "none" else f"a {kind}"
                return SourceCheck(False, self._missing(there))
            return SourceCheck(True, f"stream {self._key!r} {self._where}", 1, self._commands.xlen(self._key))

    @property
    def _where(self) -> str:
        return f"on {self.address.hosts or 'localhost:6379'}"

    def _missing(self, there: str) -> str:
        return f"redis: {self._key!r} {self._where} holds {there}, no stream; XADD makes one"

    def close(self) -> None:
        """Leave the group, unless something is pending that another consumer has to claim."""
        opened, self._opened = self._opened, False
        with suppress(self._connection.faults.RedisError):
            if opened and not self._commands.xpending_range(
                self._key, self.address.group, "-", "+", 1, consumername=self._consumer
            ):
                self._commands.xgroup_delconsumer(self._key, self.address.group, self._consumer)
        self._connection.close()


class RedisSink(Sink):
    """A stream, written to in transactions."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._connection = _Connection(address)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Add all of them, or none."""
        with self._connection.reached(), self._connection.commands.pipeline(transaction=True) as pipe:
            for one in messages:
                fields: dict[Any, Any] = {BODY: one.body, "key": one.key, **one.headers}
                pipe.xadd(self._connection.key, fields)
            pipe.execute()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def _server(address: Address) -> tuple[str, int]:
    """Host and port.

    Raises:
        InvalidInputError: if the address names no such.
    """
    try:
        parts = urlsplit(f"//{address.hosts}")
        return parts.hostname or "localhost", parts.port or 6379
    except ValueError:
        raise InvalidInputError(
            f"{address.scheme}: expected one HOST:PORT, such as localhost:6379 or [::1]:6379; in a user's name or a "
            "password write / ? # [ ] and @ percent-encoded, such as %2F"
        ) from None


def _message(stream: str, entry: bytes, fields: Mapping[bytes, bytes] | None, *, again: bool = False) -> Message:
    given = dict(fields or {})
    headers: dict[str, str] = {}
    if BODY in given:
        body = given.pop(BODY)
        headers = {_text(name): _text(value) for name, value in given.items()}
    elif len(given) == 1:
        (body,) = given.values()
    else:
        body = json.dumps({_text(name): _text(value) for name, value in given.items()}).encode() if given else b""
    return Message(f"{stream}/{entry.decode()}", body, entry, None, 0, headers, again)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
