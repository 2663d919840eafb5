"""A router somewhere else: the face of ``Router`` over HTTP, for programs that a service decides for.

>>> from router_sdk.client import RemoteRouter
>>> with RemoteRouter("http://localhost:8000", key="rk_…", queue="outcomes.db") as router:  # doctest: +SKIP
...     decision = router.route("I was charged twice")
...     router.record(decision, {"success": True})

It needs ``pip install 'router-sdk[client]'``.
"""

from router_sdk.client.remote import RemoteRouter

__all__ = ["RemoteRouter"]
