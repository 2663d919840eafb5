"""What of the service can be set, beside the router's own configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ServiceSettings(BaseModel):
    """How the service behaves. It crosses from the process that was started to its workers.

    Args:
        config: The router's configuration file, or None.
        store: The store, where it is not what the configuration says.
        insecure: Whether callers on the same machine need no key.
        most_body_bytes: Largest body of a request, in bytes.
        timeout_s: Longest that a request may take, in seconds, its body included.
        per_minute: Most requests a minute of a key that has no limit of its own; 0 sets none.
        workers: How many processes share the port.
        folder: Where the workers of one service tell each other what the store does not hold; None is one worker alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = None
    store: str | None = None
    insecure: bool = False
    most_body_bytes: int = Field(default=4 << 20, ge=1_024)
    timeout_s: float = Field(default=60.0, gt=0)
    per_minute: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=1)
    folder: Path | None = None
