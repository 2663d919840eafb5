"""A route context made of what it is given, for requests that nobody made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.strategy import Encoder, RouteContext

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class FixedContext(RouteContext):
    """What a strategy may know about one request, fixed in advance.

    Args:
        seed: Seed of the generator; two contexts with one seed draw the same.
        now: Time of the request, in seconds since the epoch.
        history: Agents that acted in the session before, oldest first.
        text: The task's text, which ``encode`` turns into a vector.
        encoders: Encoders by name.
        vectors: What the text was encoded to before, by encoder tag.
    """

    __slots__ = ("_encoders", "_history", "_rng", "_text", "_vectors")

    def __init__(
        self,
        *,
        seed: int = 0,
        now: float = 0.0,
        history: Sequence[str] = (),
        text: str = "",
        encoders: Mapping[str, Encoder] | None = None,
        vectors: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.now = now
        self._rng = np.random.default_rng(seed)
        self._history = tuple(history)
        self._text = text
        self._encoders = {} if encoders is None else encoders
        self._vectors = dict(vectors or {})

    @property
    def rng(self) -> np.random.Generator:
        """The generator of this request."""
        return self._rng

    @property
    def history(self) -> tuple[str, ...]:
        """Agents that acted before, oldest first."""
        return self._history

    def encode(self, encoder: str | Encoder) -> NDArray[Any]:
        """The text's vector, computed once.

        Raises:
            KeyError: if no encoder of that name was given.
        """
        found = self._encoders[encoder] if isinstance(encoder, str) else encoder
        if found.tag not in self._vectors:
            (self._vectors[found.tag],) = found.encode([self._text])
        return self._vectors[found.tag]
