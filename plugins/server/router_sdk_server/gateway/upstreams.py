"""Where agents answer: what an agent's metadata says of its server, what its tokens cost, and how it is asked.

Addresses come from whoever may change agents, and from nobody else: a key with the scope ``admin``, the configuration,
the command line. Requests name agents, never addresses, and a redirect is followed nowhere.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from router_sdk.errors import InvalidAgentError
from router_sdk.plugin import nearest
from router_sdk_server.problems import described

if TYPE_CHECKING:
    import httpx2

    from router_sdk import Agent, Router

_log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY", re.ASCII)
_IDLE_S = 30.0
_MILLION = 1e6
_MOST_TOKENS = 2**52
_ALIKE = 0.75
"""How alike a key has to be to one of ours to be a slip of the pen: ``price``, and not ``modality``."""
_KEY_REFUSED = frozenset({401, 403})


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as https://api.example.com/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("leave out user, password, query and fragment; api_key_env names the key")
    return value.rstrip("/")


def _variable(value: str) -> str:
    if not _KEY.fullmatch(value):  # so that whoever may change agents cannot have any variable sent somewhere
        raise ValueError("expected the name of an environment variable that ends in _API_KEY")
    return value


Price = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
"""US dollars for a million tokens."""


class Prices(BaseModel):
    """What an upstream's tokens cost, in US dollars for a million.

    Args:
        input: Of what is sent, as far as it was not cached.
        cached_input: Of what is sent and was cached; None is unknown, which is not free.
        output: Of what is answered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Price
    output: Price
    cached_input: Price | None = None

    def of(self, usage: Usage) -> float | None:
        """What a call cost, in US dollars; None where a price of it is unknown."""
        if usage.cached and self.cached_input is None:
            return None
        cached = usage.cached * (self.cached_input or 0.0)
        return ((usage.input - usage.cached) * self.input + cached + usage.output * self.output) / _MILLION


class Usage(NamedTuple):
    """The tokens of one call.

    Attributes:
        input: Sent, the cached ones among them.
        cached: Of these, read from the upstream's cache.
        output: Answered.
    """

    input: int
    cached: int
    output: int

    @classmethod
    def told(cls, said: object) -> Usage | None:
        """What an answer says under ``usage``; None where that is no such thing."""
        if not isinstance(said, dict):
            return None
        details = said.get("prompt_tokens_details")
        cached = (details.get("cached_tokens") if isinstance(details, dict) else None) or 0
        counts = [said.get("prompt_tokens"), cached, said.get("completion_tokens", 0)]
        found = cls(*(count if type(count) is int else -1 for count in counts))
        return found if min(found) >= 0 and max(found) <= _MOST_TOKENS and found.cached <= found.input else None


class Upstream(BaseModel):
    """What an agent's ``metadata`` says of where it answers; what else stands there is somebody else's.

    Args:
        base_url: The address before ``/chat/completions``.
        model: What the upstream calls its model; None is the agent's name.
        api_key_env: The environment variable with its key, whose name ends in ``_API_KEY``; where that is not set, the
            one of that name and ``_FILE`` has the path of a file with the key. None asks without one.
        prices: Of its tokens; None is unknown.
        timeout_s: Longest that it may say nothing, in seconds; None is the service's.
        stream_usage: Whether it is asked for the tokens of a streamed answer where the client did not ask; what it
            says then is kept from the client.
    """

    model_config = ConfigDict(frozen=True)

    base_url: Annotated[StrictStr, AfterValidator(_address)]
    model: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None
    api_key_env: Annotated[StrictStr, AfterValidator(_variable)] | None = None
    prices: Prices | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None
    stream_usage: StrictBool = False

    @classmethod
    def of(cls, agent: Agent) -> Upstream | None:
        """An agent's upstream; None where it has none.

        Raises:
            InvalidAgentError: if what is said of it is malformed.
        """
        if "base_url" not in agent.metadata:
            return None
        try:
            return cls.model_validate(
                {name: agent.metadata[name] for name in cls.model_fields if name in agent.metadata}
            )
        except ValidationError as error:
            raise InvalidAgentError(f"metadata.{described(error)}") from None

    @classmethod
    def mistyped(cls, agent: Agent) -> dict[str, str]:
        """Keys of an agent's ``metadata`` that mean nothing here, and the one that each was probably meant for.

        Other keys are somebody else's. Where there is no address, the agent is none of the gateway's, and nothing but
        the address is looked for.
        """
        known = cls.model_fields.keys() - agent.metadata.keys() if "base_url" in agent.metadata else {"base_url"}
        meant = {key: nearest(key, known, at_least=_ALIKE) for key in agent.metadata.keys() - cls.model_fields.keys()}
        return {key: near for key, near in sorted(meant.items()) if near is not None}

    def key(self, environment: Mapping[str, str]) -> str | None:
        """Its key, by the name that it is known by.

        Raises:
            InvalidAgentError: if it is not there, or cannot be read.
        """
        if self.api_key_env is None:
            return None
        found = environment.get(self.api_key_env)
        if (place := self.key_file(environment)) is not None:
            try:
                found = Path(place).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise InvalidAgentError(f"the file that {self.api_key_env}_FILE names cannot be read") from None
        if not (found := (found or "").strip()):
            raise InvalidAgentError(f"the environment variable {self.api_key_env} has no key; set it, or ..._FILE")
        if not found.isascii() or not found.isprintable():
            raise InvalidAgentError(f"the key in {self.api_key_env} holds characters that no header takes")
        return found

    def key_file(self, environment: Mapping[str, str]) -> str | None:
        """The path of the file with its key; None where that comes from elsewhere."""
        if self.api_key_env is None or self.api_key_env in environment:
            return None
        return environment.get(f"{self.api_key_env}_FILE")


class Target(NamedTuple):
    """An agent that can be asked: what a request to it is made from."""

    agent: Agent
    upstream: Upstream
    url: httpx2.URL
    headers: list[tuple[str, str]]


class Upstreams:
    """The upstreams of a worker's agents, and its connections to them.

    Args:
        timeout_s: Longest that one may say nothing, in seconds, where its own metadata does not say.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._known: dict[str, _Known] = {}
        self._warned: set[tuple[str, str]] = set()
        self._transport: httpx2.AsyncHTTPTransport | None = None

    def targets(self, router: Router) -> tuple[dict[str, Target], dict[str, str]]:
        """By agent, who can be asked, and why others that have an upstream cannot."""
        found: dict[str, Target] = {}
        faults: dict[str, str] = {}
        for agent in router.agents:
            known = self._known.get(agent.name)
            if known is None or known.agent is not agent or known.stamp != _stamp(known.key_file):
                known = self._known[agent.name] = _found(agent)
                self.look_at(agent)
            if isinstance(known.target, Target):
                found[agent.name] = known.target
            elif known.target is not None:
                faults[agent.name] = known.target
        return found, faults

    def look_at(self, agent: Agent) -> None:
        """Log a warning, once for each, of keys in an agent's ``metadata`` that are nearly one of ours."""
        for key, meant in Upstream.mistyped(agent).items():
            if (agent.name, key) not in self._warned:
                self._warned.add((agent.name, key))
                _log.warning("agent %s: metadata.%s is not read; did you mean %r?", agent.name, key, meant)

    async def ask(self, target: Target, body: bytes) -> httpx2.Response:
        """Send a request, and return the answer's head; its ``stream`` has the body.

        There is no cookie jar, which users of one agent would share, and no proxy. Where the key is refused, it is
        read anew for the next request.

        Raises:
            httpx2.TransportError: if it cannot be reached, or does not answer in time.
        """
        import httpx2

        if self._transport is None:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_S)
            self._transport = httpx2.AsyncHTTPTransport(limits=limits)
        timeout = httpx2.Timeout(target.upstream.timeout_s or self._timeout_s)
        request = httpx2.Request(
            "POST", target.url, headers=target.headers, content=body, extensions={"timeout": timeout.as_dict()}
        )
        response = await self._transport.handle_async_request(request)
        if response.status_code in _KEY_REFUSED:
            self._known.pop(target.agent.name, None)
        return response

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()


class _Known(NamedTuple):
    """How an agent is asked, or why it cannot be, or None where it has no upstream; as of its key's file then."""

    agent: Agent
    target: Target | str | None
    key_file: str | None = None
    stamp: tuple[int, ...] | None = None


def _stamp(path: str | None) -> tuple[int, ...] | None:
    """What changes when a file is written or replaced; None where there is none."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def _found(agent: Agent) -> _Known:
    import httpx2

    key_file = stamp = None
    try:
        upstream = Upstream.of(agent)
        if upstream is None:
            return _Known(agent, None)
        key_file = upstream.key_file(os.environ)
        stamp = _stamp(key_file)  # before it is read: what is written meanwhile is read again
        key = upstream.key(os.environ)
        url = httpx2.URL(f"{upstream.base_url}/chat/completions")
    except (InvalidAgentError, httpx2.InvalidURL) as error:
        return _Known(agent, str(error), key_file, stamp)
    headers = [
        ("content-type", "application/json"),
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
        ("user-agent", "router-sdk"),
    ]
    if key is not None:
        headers.append(("authorization", f"Bearer {key}"))
    return _Known(agent, Target(agent, upstream, url, headers), key_file, stamp)
