"""What a fit keeps of the past, so that learning the new does not overwrite the old."""

from router_sdk.replay.buffer import Replayable, ReplayBuffer, ReplayDraw, category_of
from router_sdk.replay.prioritized import PrioritizedBuffer
from router_sdk.replay.reservoir import ReservoirBuffer

__all__ = [
    "PrioritizedBuffer",
    "ReplayBuffer",
    "ReplayDraw",
    "Replayable",
    "ReservoirBuffer",
    "category_of",
]
