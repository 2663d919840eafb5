"""The router in the OpenAI Agents SDK: who begins, whom hand-offs are offered to, and what came of it."""

try:
    import agents
except ModuleNotFoundError as error:
    raise ImportError(
        "router_sdk_openai_agents needs openai-agents 0.23 or 0.24: pip install 'openai-agents>=0.23.1,<0.25'",
        name=error.name,
    ) from error

from router_sdk_openai_agents.handoffs import narrowed
from router_sdk_openai_agents.runs import RoutedRun, pick, watch

__all__ = ["RoutedRun", "narrowed", "pick", "watch"]

del agents
