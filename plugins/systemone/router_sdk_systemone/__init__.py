"""A decision-model server as a strategy: its probabilities are evidence, with a weight that outcomes teach."""

from router_sdk_systemone.config import SystemOneConfig
from router_sdk_systemone.strategy import SystemOneStrategy

__all__ = ["SystemOneConfig", "SystemOneStrategy"]
