"""Whom the heuristic alone would have chosen: the router's first day, for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router_sdk.demo.stream import Stream, StreamItem
from router_sdk.router import Router


class HeuristicAlone:
    """Ranks tasks with the heuristic strategy and nothing else; it neither explores nor learns.

    Args:
        stream: Whose agents and rules to use.
    """

    def __init__(self, stream: Stream) -> None:
        settings: Mapping[str, object] = stream.strategy.get("heuristic", {})
        self._router = Router(
            agents=stream.agents, strategies=[("heuristic", settings)], store=":memory:", learning=False
        )

    def choices(self, items: Sequence[StreamItem]) -> list[str | None]:
        """The favourite for each task; None where it says that no agent fits."""
        ranked = (self._router.rank(item.task, top_k=1) for item in items)
        return [found[0].agent if found else None for found in ranked]

    def close(self) -> None:
        """Release the router."""
        self._router.close()
