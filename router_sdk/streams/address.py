"""Where a stream is, as one address: ``kafka://localhost:9092/agent-outcomes?group=router-sdk``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from router_sdk.errors import InvalidInputError

TOPIC = "agent-outcomes"
"""What is read where an address names nothing."""
GROUP = "router-sdk"
"""Who reads it, where an address does not say."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart.

    Attributes:
        scheme: Which kind of broker: ``kafka``, ``nats``, ``redis``, ``stdin``, or what a plugin brings.
        hosts: ``host:port`` of each, with commas; empty where the address names none.
        topic: A Kafka topic, a NATS subject, a Redis key.
        options: What stands behind the question mark, by name; may hold secrets, and is not shown.
        user: Who asks, or None.
        password: With what, or None; never shown.
    """

    scheme: str
    hosts: str
    topic: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an address apart; without a topic it is ``agent-outcomes``.

        Raises:
            InvalidInputError: if it is no address, or gives an option twice.
        """
        scheme, colon, _ = text.partition(":") if isinstance(text, str) else ("", "", "")
        if not (colon and scheme.isidentifier()):
            raise InvalidInputError(f"{scheme!r:.60}: expected an address such as kafka://localhost:9092/{TOPIC}")
        try:
            parts = urlsplit(text)
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            if parts.netloc and "@" not in parts.netloc and "@" in parts.path + parts.fragment:
                raise ValueError  # a password that holds a / or # would be taken for a topic, and shown
        except ValueError:  # whose words may hold a part of a password
            raise InvalidInputError(
                f"{scheme}: not an address: expected {scheme}://USER:PASSWORD@HOST:PORT/{TOPIC}?NAME=VALUE, with "
                "/ ? # [ ] @ & = within a part percent-encoded, such as %2F"
            ) from None
        options = dict(given)
        if len(options) < len(given):
            raise InvalidInputError(f"{scheme}: an option stands twice behind the question mark")
        who, at, hosts = parts.netloc.rpartition("@")
        user, has_password, password = who.partition(":")
        topic = unquote(parts.path.strip("/")) or TOPIC
        return cls(
            scheme.lower(),
            hosts,
            topic,
            options,
            (unquote(user) or None) if at else None,
            unquote(password) if has_password else None,
        )

    @property
    def group(self) -> str:
        """Who reads it, together: Kafka's consumer group, NATS's durable consumer, Redis's consumer group."""
        return self.options.get("group", GROUP)

    def option(self, name: str, default: float) -> float:
        """A number among the options.

        Raises:
            InvalidInputError: if it is none, or not above 0.
        """
        try:
            found = float(self.options.get(name, default))
        except ValueError:
            found = 0.0
        if not 0 < found < float("inf"):
            raise InvalidInputError(f"{self.scheme}: {name}: expected a number above 0, got {self.options[name]!r:.60}")
        return found

    def with_topic(self, topic: str) -> Self:
        """The same broker, another topic."""
        return replace(self, topic=topic)

    def is_place_of(self, other: Address) -> bool:
        """Whether both name one topic of one broker, as far as addresses say; whoever asks, and how."""
        hosts, others = ({one.lower() for one in each.hosts.split(",")} for each in (self, other))
        return (self.scheme, self.topic) == (other.scheme, other.topic) and bool(hosts & others)

    def __str__(self) -> str:
        """Without options and passwords: what is said of it, and what it is known by."""
        if not self.hosts and self.topic == TOPIC:
            return f"{self.scheme}:"
        return f"{self.scheme}://{self.hosts}/{quote(self.topic)}"
