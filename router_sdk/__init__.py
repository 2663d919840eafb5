"""Decides which agent gets which task, and gets better at it from what happened.

>>> from router_sdk import Agent, Outcome, Router
>>> with Router(agents=[Agent("billing"), Agent("fraud")], strategies=["thompson"], store=":memory:") as router:
...     decision = router.route("I was charged twice")
...     router.record(decision, Outcome(success=True))
"""

from typing import TYPE_CHECKING, Any

from router_sdk.errors import RouterError
from router_sdk.records import Agent, Decision, Example, Outcome, Task
from router_sdk.rewards import OutcomeReward
from router_sdk.router import Router
from router_sdk.strategy import Proposal, Strategy

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig

__version__ = "0.1.0"

__all__ = [
    "Agent",
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


def __getattr__(name: str) -> Any:
    """Load the settings model when it is asked for: pydantic-settings costs more to import than all the rest."""
    if name == "RouterConfig":
        from router_sdk.config import RouterConfig

        return RouterConfig
    raise AttributeError(f"module 'router_sdk' has no attribute {name!r}")
