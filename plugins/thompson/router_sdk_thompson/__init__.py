"""Thompson sampling: which agent does best is learnt from outcomes, and doubt explores."""

from router_sdk_thompson.config import ThompsonConfig
from router_sdk_thompson.features.hashed_text import TextFeatures
from router_sdk_thompson.objectives.objectives import Objectives, Window
from router_sdk_thompson.priors.tables import priors_from_log, save_table
from router_sdk_thompson.strategy import ThompsonStrategy

__all__ = [
    "Objectives",
    "TextFeatures",
    "ThompsonConfig",
    "ThompsonStrategy",
    "Window",
    "priors_from_log",
    "save_table",
]
