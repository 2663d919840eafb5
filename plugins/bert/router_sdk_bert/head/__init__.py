"""Everything learnt on top of vectors: estimates of every agent's success, keyed by name."""

from router_sdk_bert.head.estimates import Estimate, Estimates
from router_sdk_bert.head.head import Head
from router_sdk_bert.head.making import AnyHead, AnySnapshot, make_head
from router_sdk_bert.head.prototypes import Prototype, prototypes_of
from router_sdk_bert.head.rows import Row, row_of
from router_sdk_bert.head.settings import HeadConfig
from router_sdk_bert.head.trained_rows import TrainedRows

__all__ = [
    "AnyHead",
    "AnySnapshot",
    "Estimate",
    "Estimates",
    "Head",
    "HeadConfig",
    "Prototype",
    "Row",
    "TrainedRows",
    "make_head",
    "prototypes_of",
    "row_of",
]
