"""Outcome to reward: a number in [0, 1], or None while nothing is known."""

from router_sdk.rewards.fingerprint import CannotKnowError, reward_fingerprint
from router_sdk.rewards.function import RewardFunction, checked_reward, reward_name
from router_sdk.rewards.mark import RewardMark
from router_sdk.rewards.metrics import MetricGoal
from router_sdk.rewards.outcome import OutcomeReward, with_metrics

__all__ = [
    "CannotKnowError",
    "MetricGoal",
    "OutcomeReward",
    "RewardFunction",
    "RewardMark",
    "checked_reward",
    "reward_fingerprint",
    "reward_name",
    "with_metrics",
]
