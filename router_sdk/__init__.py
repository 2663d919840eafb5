"""Decides which agent gets which task, and gets better at it from what happened.

>>> from router_sdk import Agent, Outcome, Router
>>> with Router(agents=[Agent("billing"), Agent("fraud")], strategies=["thompson"], store=":memory:") as router:
...     decision = router.route("I was charged twice")
...     router.record(decision, Outcome(success=True))

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.errors import RouterError
    from router_sdk.records import Agent, Decision, Example, Outcome, Task
    from router_sdk.rewards import OutcomeReward
    from router_sdk.router import Router
    from router_sdk.routing.handle import Call
    from router_sdk.strategy import Proposal, Strategy

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Call",
    "Decision",
    "Example",
    "Outcome",
    "OutcomeReward",
    "Proposal",
    "Router",
    "RouterConfig",
    "RouterError",
    "Strategy",
    "Task",
]

_HOMES = {
    "Agent": "records",
    "Call": "routing.handle",
    "Decision": "records",
    "Example": "records",
    "Outcome": "records",
    "OutcomeReward": "rewards",
    "Proposal": "strategy",
    "Router": "router",
    "RouterConfig": "config",
    "RouterError": "errors",
    "Strategy": "strategy",
    "Task": "records",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'router_sdk' has no attribute {name!r}")
    value = getattr(import_module(f"router_sdk.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
