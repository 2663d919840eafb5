"""One router's fingerprint of its reward: what it was at the start, and whether it still is."""

from __future__ import annotations

import secrets

from router_sdk.rewards.fingerprint import CannotKnowError, reward_fingerprint
from router_sdk.rewards.function import RewardFunction, reward_name


class RewardMark:
    """One router's fingerprint of its reward.

    Args:
        reward: Turns outcomes into rewards.

    Attributes:
        reward: The same.
        text: The fingerprint; where none can be known, one that nobody has ever had, so that the log is replayed.
        unknown: Why none can be known, or None.
    """

    def __init__(self, reward: RewardFunction) -> None:
        self.reward = reward
        self.unknown: str | None = None
        try:
            self.text = reward_fingerprint(reward)
        except CannotKnowError as error:
            self.unknown = str(error)
            self.text = f"{reward_name(reward)}:{secrets.token_hex(16)}"

    @property
    def holds(self) -> bool:
        """Whether the reward still is what it was; of one that cannot be known there is nothing to compare."""
        if self.unknown is not None:
            return True
        try:
            return reward_fingerprint(self.reward) == self.text
        except CannotKnowError:
            return False
