"""What a store's URL says: where the database is, and what of it is the log's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from router_sdk.plugin import InvalidConfigError

_SWITCHES = {"on": True, "off": False, None: None}
_OURS = ("schema", "folder", "artifacts", "statement_timeout_s", "patience_s", "row_security", "partition_days")
_WATCHED = {
    "application_name": "router-sdk",
    "connect_timeout": "5",
    "keepalives_idle": "2",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
"""A network that is cut is noticed within ten seconds or so. TCP itself would send again ever more seldom, and go on
after a cut only as long again as that lasted."""
_LONGEST_S = 2_000_000.0
_SHORTEST_DAYS, _LONGEST_DAYS = 0.01, 10_000.0
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|\x00")
_HINT = (
    "write what is special in a user, a password or a value as %XX, such as %40 for '@', %25 for '%' and %2F for '/'"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A log in a database.

    Attributes:
        url: As it was given.
        shown: Without password.
        conninfo: What libpq connects by.
        schema: Schema of the database in which the log's tables stand.
        folder: Folder on this machine for what stands beside the log.
        artifacts: URL of what fsspec knows, below which folders stand for all machines; None is the database itself.
        statement_timeout_s: Longest that a statement may run, in seconds.
        patience_s: How long a server that cannot be reached is waited for, in seconds.
        isolates: Whether the database keeps tenants apart; None leaves that as it is.
        partition_days: About how many days a partition of the log lasts; None leaves that as it is.
    """

    url: str = field(repr=False)
    shown: str
    conninfo: str = field(repr=False)
    schema: str
    folder: Path
    artifacts: str | None
    statement_timeout_s: float
    patience_s: float
    isolates: bool | None
    partition_days: float | None

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            InvalidConfigError: if it cannot be understood.
        """
        place, parameters = _split(url)
        named = [(unquote(name), unquote(value)) for name, _, value in (one.partition("=") for one in parameters)]
        ours = {name: value for name, value in named if name in _OURS}
        theirs = [one for one, (name, _) in zip(parameters, named, strict=True) if name not in _OURS]
        try:
            fields: dict[str, Any] = conninfo_to_dict(
                f"postgresql://{place}" + (f"?{'&'.join(theirs)}" if theirs else "")
            )
        except (psycopg.ProgrammingError, ValueError):  # whose words may hold a password
            raise InvalidConfigError(f"store: {_fault(place, theirs)}; {_HINT}") from None
        if "@" in str(fields.get("host", "")):
            raise InvalidConfigError(f"store: the URL's host holds a second '@'; {_HINT}")
        if not all(port.isdecimal() or not port for port in str(fields.get("port", "")).split(",")):
            raise InvalidConfigError(f"store: the URL's port is no number; {_HINT}")
        timeout = _seconds(ours, "statement_timeout_s", 300.0)
        if timeout == 0:
            raise InvalidConfigError("store: statement_timeout_s is no number of seconds above 0")
        isolation = ours.get("row_security")
        if isolation not in _SWITCHES:
            raise InvalidConfigError("store: row_security is neither on nor off")
        schema = ours.get("schema", "router")
        if not schema or schema.startswith("pg_") or "\x00" in schema or len(schema.encode()) > 63:
            raise InvalidConfigError(f"store: {schema!r:.80} can be no schema of a database")
        folder = Path(ours["folder"]).expanduser().absolute() if "folder" in ours else _state(fields, schema)
        return cls(
            url,
            f"postgresql://{fields.get('host', '')}/{fields.get('dbname', '')}?schema={schema}",
            make_conninfo(**{**_WATCHED, **fields}),
            schema,
            folder,
            ours.get("artifacts"),
            timeout,
            _seconds(ours, "patience_s", 10.0),
            _SWITCHES[isolation],
            _days(ours),
        )

    def key(self, name: str) -> int:
        """The advisory lock of that name of this log: such locks are a whole database's."""
        digest = blake2b(f"router-sdk\x00{self.schema}\x00{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)

    @property
    def channel(self) -> str:
        """Where news of this log are told."""
        return f"router_{blake2b(self.schema.encode(), digest_size=8).hexdigest()}"


def _seconds(parameters: Mapping[str, str], name: str, default: float) -> float:
    try:
        found = float(parameters.get(name, default))
    except ValueError:
        found = -1.0
    if not 0 <= found <= _LONGEST_S:
        raise InvalidConfigError(f"store: {name} is no number of seconds up to {_LONGEST_S:,.0f}")
    return found


def _days(parameters: Mapping[str, str]) -> float | None:
    if "partition_days" not in parameters:
        return None
    try:
        found = float(parameters["partition_days"])
    except ValueError:
        found = 0.0
    if not _SHORTEST_DAYS <= found <= _LONGEST_DAYS:
        raise InvalidConfigError(f"store: partition_days is no number of days from 0.01 to {_LONGEST_DAYS:,.0f}")
    return found


def _split(url: str) -> tuple[str, list[str]]:
    """What stands between ``://`` and the parameters, and these as they are written, where libpq sees them begin."""
    rest = url.partition("://")[2]
    found = re.match(r"[^@/]*@", rest)  # a user and a password may hold a question mark
    begin = rest.find("?", 0 if found is None else found.end())
    return (rest, []) if begin < 0 else (rest[:begin], [one for one in rest[begin + 1 :].split("&") if one])


def _fault(place: str, parameters: list[str]) -> str:
    """Which part of a URL libpq refuses, in words that hold nothing of it."""
    found = re.match(r"([^@/]*)@", place)
    user, _, password = ("" if found is None else found[1]).partition(":")
    host, _, database = (place if found is None else place[found.end() :]).partition("/")
    for name, text in (("user", user), ("password", password), ("host", host), ("name of the database", database)):
        if _NO_ESCAPE.search(text):
            return f"the URL's {name} has a '%' that no two hexadecimal digits follow, or a NUL"
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    for number, one in enumerate(parameters, 1):
        key, equals, value = one.partition("=")
        if not equals or "=" in value or unquote(key) not in known or _NO_ESCAPE.search(one):
            return f"PostgreSQL knows no such parameter as number {number} of those after the '?', or not its spelling"
    return "the URL's host cannot be understood"


def _state(fields: Mapping[str, Any], schema: str) -> Path:
    """The folder of a database that names none: by where libpq connects to, with its variables and services."""
    known = {option.keyword.decode(): (option.val or b"").decode() for option in pq.Conninfo.get_defaults()}
    known |= {name: str(value) for name, value in fields.items()}
    known["dbname"] = known.get("dbname") or known.get("user", "")
    where = [known.get(name, "") for name in ("host", "hostaddr", "port", "dbname", "service")]
    if where[-1]:
        where.append(os.environ.get("PGSERVICEFILE", ""))
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    digest = blake2b("\x00".join([*where, schema]).encode(), digest_size=8).hexdigest()
    return Path(root) / "router-sdk" / "postgres" / digest
