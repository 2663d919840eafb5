"""Which head a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk_bert.head.analytic import AnalyticHead
from router_sdk_bert.head.analytic_snapshot import AnalyticSnapshot
from router_sdk_bert.head.head import Head
from router_sdk_bert.head.snapshot import Snapshot

if TYPE_CHECKING:
    from router_sdk_bert.head.settings import HeadConfig

AnyHead = Head | AnalyticHead
AnySnapshot = Snapshot | AnalyticSnapshot


def make_head(config: HeadConfig, seed: int) -> AnyHead:
    """A new head, that knows nothing."""
    return AnalyticHead(config, seed) if config.head == "analytic" else Head(config, seed)
