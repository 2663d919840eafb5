"""Thompson sampling: which agent does best is learnt from outcomes, and doubt explores."""

from router_sdk_thompson.config import ThompsonConfig
from router_sdk_thompson.objectives import Objectives, Window
from router_sdk_thompson.priors import priors_from_log, save_table
from router_sdk_thompson.strategy import ThompsonStrategy
from router_sdk_thompson.text_features import TextFeatures

__all__ = [
    "Objectives",
    "TextFeatures",
    "ThompsonConfig",
    "ThompsonStrategy",
    "Window",
    "priors_from_log",
    "save_table",
]
