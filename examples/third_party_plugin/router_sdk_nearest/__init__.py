"""Nearest neighbours: prefer the agent that did best on tasks like this one."""

from router_sdk_nearest.config import NearestConfig
from router_sdk_nearest.strategy import NearestStrategy

__all__ = ["NearestConfig", "NearestStrategy"]
