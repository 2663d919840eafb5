"""Everything that can be set of the strategy, flat, as it stands in ``[bert]`` of a configuration file."""

from __future__ import annotations

from router_sdk.plugin import StrategyConfig
from router_sdk_bert.encoding.settings import EncoderSettings
from router_sdk_bert.finetuning.settings import FitSettings
from router_sdk_bert.head.settings import HeadConfig


class BertConfig(StrategyConfig, EncoderSettings, HeadConfig, FitSettings):
    """Configuration of the transformer: its encoder, its head, and its fits; unknown keys are errors."""

    wait_for_encoder: bool = False
    """Whether ``prepare`` returns only once the encoder is open; else it opens in the background, and until then the
    strategy abstains. The first time a model is used on a machine it is exported, which takes some ten seconds."""
