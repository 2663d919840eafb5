"""The background fine-tune: what may move, and what keeps the encoder from forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk_bert.config import FitSettings

if TYPE_CHECKING:
    from router_sdk.plugin import FitContext, TrainingData
    from router_sdk_bert.strategy import BertStrategy

__all__ = ["FitSettings", "fit_version"]


def fit_version(strategy: BertStrategy, data: TrainingData, context: FitContext) -> BertStrategy:
    """Build a new version from the log; what serves is not touched. Imports what it needs only now.

    Raises:
        FitError: if there is too little to learn from, a loss is not finite, memory does not suffice …
        FitStoppedError: if the context said so.
    """
    from router_sdk_bert.finetuning.fit import VersionFit

    return VersionFit(strategy, data, context).run()
