"""How an encoder reads a long text: the passage that is the request, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from router_sdk.strategy import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_sdk.numerics.request_finding import Evidence


class RequestEncoder(Encoder):
    """Another encoder, which is shown of long texts what is known to be the request; its vectors count as that one's.

    Give it to ``RouteContext.encode``: what is logged with the decision is then the request's vector.

    Args:
        encoder: What encodes.
        requests: What requests look like, as a ``RequestFinder`` has published it.

    Attributes:
        encoder: What encodes.
        requests: What requests look like.
    """

    name: ClassVar[str] = "request"

    def __init__(self, encoder: Encoder, requests: Evidence) -> None:
        super().__init__(encoder.config)
        self.encoder, self.requests = encoder, requests

    @property
    def tag(self) -> str:
        """That of the encoder."""
        return self.encoder.tag

    def encode(self, texts: Sequence[str]) -> Sequence[NDArray[Any]]:
        """One array per text, as the encoder makes it of short texts and of the requests in long ones."""
        return self.encoder.encode([self.requests.passage(text) for text in texts])
