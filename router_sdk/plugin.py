"""What a plugin author imports, and nothing else: stable between minor versions."""

from router_sdk.errors import CorruptArtifactError, InvalidConfigError, NotTrainableError
from router_sdk.hookspecs import hookimpl
from router_sdk.records import (
    DEFAULT_TASK_TYPE,
    Agent,
    AgentSet,
    Decision,
    Example,
    FeatureValue,
    Outcome,
    Signals,
    Task,
    TrainingData,
)
from router_sdk.rewards import RewardFunction
from router_sdk.strategy import (
    Encoder,
    EncoderConfig,
    FitContext,
    Proposal,
    Restriction,
    RouteContext,
    Strategy,
    StrategyConfig,
    StrategyServices,
)

__all__ = [
    "DEFAULT_TASK_TYPE",
    "Agent",
    "AgentSet",
    "CorruptArtifactError",
    "Decision",
    "Encoder",
    "EncoderConfig",
    "Example",
    "FeatureValue",
    "FitContext",
    "InvalidConfigError",
    "NotTrainableError",
    "Outcome",
    "Proposal",
    "Restriction",
    "RewardFunction",
    "RouteContext",
    "Signals",
    "Strategy",
    "StrategyConfig",
    "StrategyServices",
    "Task",
    "TrainingData",
    "hookimpl",
]
