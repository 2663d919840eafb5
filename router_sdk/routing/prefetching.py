"""Waiting for what strategies began for a task before anybody proposes: a thread stands, a coroutine gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_sdk.strategy import Prefetched


def stand_by(begun: Sequence[Prefetched]) -> None:
    """Return once all has ended, or its time is over."""
    if begun:
        wait([one.done for one in begun], max(one.timeout_s for one in begun))


async def give_way(begun: Sequence[Prefetched]) -> None:
    """The same for a coroutine."""
    if begun:
        ends = [asyncio.wrap_future(one.done) for one in begun]
        await asyncio.wait(ends, timeout=max(one.timeout_s for one in begun))
