"""What a plugin author imports, beside the rooms of ``router_sdk.numerics``: stable between minor versions."""

from router_sdk.errors import (
    CorruptArtifactError,
    EncoderUnavailableError,
    FitError,
    FitStoppedError,
    InvalidConfigError,
    NotTrainableError,
    TooFewExamplesError,
)
from router_sdk.executors.carrying import packed, unpack
from router_sdk.executors.child import fit_in_child
from router_sdk.executors.executor import CHECKPOINTS, RESULTS, FitExecutor, FitExecutorConfig, FitJob
from router_sdk.gate import Check, CheckResult, Comparison
from router_sdk.hookspecs import hookimpl
from router_sdk.lifetime import no_fork
from router_sdk.records import (
    DEFAULT_TASK_TYPE,
    Agent,
    AgentSet,
    Alert,
    Decision,
    Example,
    ExampleColumns,
    FeatureValue,
    Outcome,
    Signals,
    Task,
    TrainingData,
)
from router_sdk.replay import PrioritizedBuffer, ReplayBuffer, ReplayDraw, ReservoirBuffer
from router_sdk.rewards import Execution, QualityScorer, RewardFunction, Score
from router_sdk.spelling import folded, normal, phrase_pattern, unspaced_pairs, words
from router_sdk.strategy import (
    Encoder,
    EncoderConfig,
    FitContext,
    Kept,
    Proposal,
    Restriction,
    RouteContext,
    Strategy,
    StrategyConfig,
    StrategyServices,
)
from router_sdk.triggers import Activity, Reading, Trigger

__all__ = [
    "CHECKPOINTS",
    "DEFAULT_TASK_TYPE",
    "RESULTS",
    "Activity",
    "Agent",
    "AgentSet",
    "Alert",
    "Check",
    "CheckResult",
    "Comparison",
    "CorruptArtifactError",
    "Decision",
    "Encoder",
    "EncoderConfig",
    "EncoderUnavailableError",
    "Example",
    "ExampleColumns",
    "Execution",
    "FeatureValue",
    "FitContext",
    "FitError",
    "FitExecutor",
    "FitExecutorConfig",
    "FitJob",
    "FitStoppedError",
    "InvalidConfigError",
    "Kept",
    "NotTrainableError",
    "Outcome",
    "PrioritizedBuffer",
    "Proposal",
    "QualityScorer",
    "Reading",
    "ReplayBuffer",
    "ReplayDraw",
    "ReservoirBuffer",
    "Restriction",
    "RewardFunction",
    "RouteContext",
    "Score",
    "Signals",
    "Strategy",
    "StrategyConfig",
    "StrategyServices",
    "Task",
    "TooFewExamplesError",
    "TrainingData",
    "Trigger",
    "fit_in_child",
    "folded",
    "hookimpl",
    "no_fork",
    "normal",
    "packed",
    "phrase_pattern",
    "unpack",
    "unspaced_pairs",
    "words",
]
