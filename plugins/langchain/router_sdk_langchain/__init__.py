"""The router in LangChain and LangGraph: a decision model, a middleware, and nodes that choose the next one."""

try:
    import langchain
    import langgraph
except ModuleNotFoundError as error:
    raise ImportError(
        "router_sdk_langchain needs langchain 1.5 and langgraph 1.2: pip install 'langchain>=1.5,<1.6'", name=error.name
    ) from error

from router_sdk_langchain.decision_model import RouterDecisionModel
from router_sdk_langchain.graph import RoutedState, recorded, route_edge, route_node, verify_routes
from router_sdk_langchain.middleware import RouterMiddleware

__all__ = [
    "RoutedState",
    "RouterDecisionModel",
    "RouterMiddleware",
    "recorded",
    "route_edge",
    "route_node",
    "verify_routes",
]

del langchain, langgraph
