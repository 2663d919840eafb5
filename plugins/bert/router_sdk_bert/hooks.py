"""What the plugin registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl
from router_sdk_bert.encoding.encoder import BertEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.plugin import Encoder, Strategy


@hookimpl
def register_strategies() -> Sequence[type[Strategy]]:
    """The transformer that learns online and fine-tunes itself."""
    from router_sdk_bert.strategy import BertStrategy

    return [BertStrategy]


@hookimpl
def register_encoders() -> Sequence[type[Encoder]]:
    """The transformer's embeddings, for any strategy to use."""
    return [BertEncoder]
