"""What a store's URL says: where the database is, and what of it is the log's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from router_sdk.plugin import InvalidConfigError

_OURS = ("schema", "folder", "artifacts", "statement_timeout_s")
_WATCHED = {
    "application_name": "router-sdk",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""A network that is cut is noticed within ten seconds or so."""


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
    """

    url: str
    shown: str
    conninfo: str
    schema: str
    folder: Path
    artifacts: str | None
    statement_timeout_s: float

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            InvalidConfigError: if it cannot be understood.
        """
        try:
            parts = urlsplit(url)
        except ValueError:  # whose words may hold a part of a password
            raise InvalidConfigError(
                "store: not a URL: in a user's name or a password write / ? # [ ] and @ percent-encoded, such as %5B"
            ) from None
        told = parse_qsl(parts.query, keep_blank_values=True)
        ours = {name: value for name, value in told if name in _OURS}
        theirs = urlunsplit(parts._replace(query=urlencode([one for one in told if one[0] not in _OURS])))
        if parts.netloc == "" and theirs.startswith(f"{parts.scheme}:/"):  # urlunsplit leaves an empty host out
            theirs = theirs.replace(f"{parts.scheme}:", f"{parts.scheme}://", 1).replace(":////", ":///")
        try:
            fields: dict[str, Any] = conninfo_to_dict(theirs)
            timeout = float(ours.get("statement_timeout_s", 300.0))
        except (psycopg.ProgrammingError, ValueError) as error:
            raise InvalidConfigError(f"store: {' '.join(str(error).split())}") from None
        schema = ours.get("schema", "router")
        if not schema or schema.startswith("pg_") or "\x00" in schema or len(schema.encode()) > 63:
            raise InvalidConfigError(f"store: {schema!r:.80} can be no schema of a database")
        where = [str(fields.get(name, "")) for name in ("host", "hostaddr", "port", "dbname")]
        digest = blake2b("\x00".join([*where, schema]).encode(), digest_size=8).hexdigest()
        folder = Path(ours["folder"]).expanduser().absolute() if "folder" in ours else _state() / digest
        shown = {name: value for name, value in fields.items() if name not in ("password", "sslpassword")}
        return cls(
            url,
            f"postgresql://{shown.get('host', '')}/{shown.get('dbname', '')}?schema={schema}",
            make_conninfo(**{**_WATCHED, **fields}),
            schema,
            folder,
            ours.get("artifacts"),
            timeout,
        )

    def key(self, name: str) -> int:
        """The advisory lock of that name of this log: such locks are a whole database's."""
        digest = blake2b(f"router-sdk\x00{self.schema}\x00{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)

    @property
    def channel(self) -> str:
        """Where news of this log are told."""
        return f"router_{blake2b(self.schema.encode(), digest_size=8).hexdigest()}"


def _state() -> Path:
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(root) / "router-sdk" / "postgres"
