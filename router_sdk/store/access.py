"""Who may call a service on this store, and for what: keys, of which the store holds a hash alone.

A key is 256 random bits, so that a plain SHA-256 of it can stand on disk: there is nothing to guess that a slow hash
would have to make dear.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from hashlib import sha256
from typing import TYPE_CHECKING, get_args

from router_sdk.errors import InvalidInputError
from router_sdk.records.access import SCOPES, AccessKey, Scope
from router_sdk.records.arguments import each, text
from router_sdk.records.arguments import name as name_of
from router_sdk.records.outcome import Origin
from router_sdk.store.identity import check_key, check_tenant

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter
    from router_sdk.store.reader import LogReader

_PREFIX = "rk_"
_COLUMNS = "key_id, name, scopes, tenant, origin, per_minute, at, revoked_at"


class AccessKeys:
    """The keys of one store.

    Args:
        writer: Where they are logged.
        reader: Where they are read.
    """

    def __init__(self, writer: LogWriter, reader: LogReader) -> None:
        self._writer, self._reader = writer, reader
        self._in_force: dict[str, AccessKey] | None = None

    def create(
        self,
        name: str,
        *,
        scopes: Collection[Scope] = ("route", "record"),
        tenant: str | None = None,
        origin: Origin | None = None,
        per_minute: int | None = None,
    ) -> tuple[AccessKey, str]:
        """Make a key.

        Args:
            name: Who it is for, in at most 200 characters.
            scopes: What it allows, of ``route, record, admin, metrics``.
            tenant: Whose decisions alone it may see and make; None binds it to no tenant.
            origin: What outcomes that come with it have as their origin; None leaves that to who sends them.
            per_minute: Most requests a minute; None sets no limit.

        Returns:
            What is known of it, and the key itself, which cannot be read again.

        Raises:
            InvalidInputError: if one of these is malformed.
        """
        scopes = each(scopes, "scopes")
        if not scopes or any(scope not in SCOPES for scope in scopes):
            raise InvalidInputError(f"scopes: expected some of {', '.join(SCOPES)}, got {scopes!r:.80}")
        if origin is not None and origin not in get_args(Origin):
            raise InvalidInputError(f"origin: expected one of {', '.join(get_args(Origin))}, got {origin!r:.40}")
        if per_minute is not None and (type(per_minute) is not int or not 0 < per_minute < 2**53):
            raise InvalidInputError(f"per_minute: expected a whole number of at least 1, got {per_minute!r:.40}")
        made = AccessKey(
            secrets.token_hex(4),
            check_key(name, "name"),
            frozenset(scopes),
            check_tenant(tenant),
            origin,
            per_minute,
            time.time(),
        )
        key = _PREFIX + secrets.token_urlsafe(32)
        told = made.to_dict()
        row = (*(" ".join(told[name]) if name == "scopes" else told[name] for name in told), hash_of(key))

        def work(connection: Connection, seq: int) -> None:
            connection.execute(f"INSERT INTO access_keys ({_COLUMNS}, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

        self._writer.transact(work)
        self._in_force = None
        return made, key

    def all(self) -> list[AccessKey]:
        """Every key there was, oldest first; ``revoked_at`` is None of those in force."""
        return [key for _, key in self._reader.query(_read)]

    def revoke(self, key_id: str) -> None:
        """Let a key open nothing any more: here at once, elsewhere where ``refresh`` is next called.

        Raises:
            InvalidInputError: if there is none of that id in force.
        """
        key_id = name_of(key_id, "key_id")

        def work(connection: Connection, seq: int) -> int:
            query = "UPDATE access_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
            return connection.execute(query, (time.time(), key_id)).rowcount

        if not self._writer.transact(work):
            standing = [key.key_id for key in self.all() if key.revoked_at is None]
            raise InvalidInputError(f"no key {key_id!r:.40} is in force; there are {standing[:20]}")
        self._in_force = None

    def find(self, key: str) -> AccessKey | None:
        """The key in force that somebody shows, or None. It reads nothing but memory, once ``refresh`` was called."""
        known = self._in_force
        if known is None:
            known = self.refresh()
        return known.get(hash_of(text(key, "key")))

    def refresh(self) -> dict[str, AccessKey]:
        """Read which keys are in force, by their hash; what other processes changed counts here from then on."""
        known = {hashed: key for hashed, key in self._reader.query(_read) if key.revoked_at is None}
        self._in_force = known
        return known


def hash_of(key: str) -> str:
    """What the store keeps of a key."""
    return sha256(key.encode("utf-8", "replace")).hexdigest()


def _read(connection: Connection) -> list[tuple[str, AccessKey]]:
    rows = connection.execute(f"SELECT hash, {_COLUMNS} FROM access_keys ORDER BY at, key_id").fetchall()
    return [
        (hashed, AccessKey(key_id, name, frozenset(scopes.split()), *rest))
        for hashed, key_id, name, scopes, *rest in rows
    ]
