"""The router over the Agent2Agent protocol: agents from their cards, and the router as an agent that forwards."""

try:
    import a2a
except ModuleNotFoundError as error:
    raise ImportError(
        "router_sdk_a2a needs a2a-sdk 1.2 or 1.3: pip install 'a2a-sdk[http-server]>=1.2,<1.4'", name=error.name
    ) from error

from router_sdk_a2a.cards import CardAgents, Discovered
from router_sdk_a2a.executor import RouterExecutor
from router_sdk_a2a.serving import a2a_app
from router_sdk_a2a.work import RemoteTask

__all__ = ["CardAgents", "Discovered", "RemoteTask", "RouterExecutor", "a2a_app"]

del a2a
