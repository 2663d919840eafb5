"""Rules, text overlap and a default agent: an answer on day one, with its reasons."""

from router_sdk_heuristic.config import HeuristicConfig, Rule, RuleFunction
from router_sdk_heuristic.strategy import HeuristicStrategy

__all__ = ["HeuristicConfig", "HeuristicStrategy", "Rule", "RuleFunction"]
