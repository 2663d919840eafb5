"""The test kit for plugin authors; it ships in the wheel and imports no test framework."""

from router_sdk.evaluation.held_out import FixedContext
from router_sdk.testing.check_store import STORE_CHECKS, check_store
from router_sdk.testing.check_strategy import check_strategy
from router_sdk.testing.examples import (
    HashedWordsEncoder,
    make_example,
    make_services,
    many_agents,
    outcome_stream,
    revise,
    sample_agents,
    sample_tasks,
)
from router_sdk.testing.replay import Replay, replay
from router_sdk.testing.store_trial import StoreTrial

__all__ = [
    "STORE_CHECKS",
    "FixedContext",
    "HashedWordsEncoder",
    "Replay",
    "StoreTrial",
    "check_store",
    "check_strategy",
    "make_example",
    "make_services",
    "many_agents",
    "outcome_stream",
    "replay",
    "revise",
    "sample_agents",
    "sample_tasks",
]
