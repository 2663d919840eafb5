"""A key to a service on a store, as it is described: who it was made for, and what it allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from router_sdk.records.outcome import Origin

Scope = Literal["route", "record", "admin", "metrics"]
"""What a key allows: ask for decisions, report outcomes, change what there is, read figures."""

SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What is known of a key, beside the key itself, which nobody keeps.

    Attributes:
        key_id: What it is called in lists, and revoked by; no secret.
        name: Who it was made for; the ``actor`` of outcomes that come with it.
        scopes: What it allows.
        tenant: Whose decisions alone it sees and makes; None is bound to no tenant.
        origin: The ``origin`` of outcomes that come with it; None leaves it open.
        per_minute: Most requests a minute, or None.
        at: When it was made, in seconds since the epoch.
        revoked_at: When it was revoked, or None.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]
    tenant: str | None = None
    origin: Origin | None = None
    per_minute: int | None = None
    at: float = 0.0
    revoked_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The key's description as JSON values."""
        return {**asdict(self), "scopes": [scope for scope in SCOPES if scope in self.scopes]}
