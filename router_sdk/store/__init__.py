"""The log: durable, append-only, and the only truth. Everything learnt is a fold over it."""

from router_sdk.store.store import Store

__all__ = ["Store"]
