"""Outcome to reward: a number in [0, 1], or None while nothing is known."""

from router_sdk.rewards.fingerprint import CannotKnowError, RewardMark, reward_fingerprint
from router_sdk.rewards.outcome import (
    MetricGoal,
    OutcomeReward,
    RewardFunction,
    checked_reward,
    reward_name,
    with_metrics,
)
from router_sdk.rewards.quality import Execution, QualityScorer, Score

__all__ = [
    "CannotKnowError",
    "Execution",
    "MetricGoal",
    "OutcomeReward",
    "QualityScorer",
    "RewardFunction",
    "RewardMark",
    "Score",
    "checked_reward",
    "reward_fingerprint",
    "reward_name",
    "with_metrics",
]
