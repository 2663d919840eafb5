"""What happens in a simulated day: who asks what and when, how the world changes, and what goes wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from router_sdk.demo.support_desk import WORLDS, Message, World, generate_messages

Mishap = Literal["bad candidate", "forced candidate", "restart"]
"""A candidate that is worse is fitted, which the gate should refuse; one that is worse is let serve against the gate,
by somebody who does not stay with it, which the watch should roll back; the process ends and starts again."""

_SHARES = (0.34, 0.16, 0.25, 0.25)
"""Of the day, in which each world of the support desk holds."""
_MISHAPS: tuple[tuple[float, Mishap], ...] = (
    (0.15, "bad candidate"),
    (0.20, "restart"),
    (0.28, "forced candidate"),
    (0.45, "restart"),
    (0.62, "bad candidate"),
    (0.70, "forced candidate"),
    (0.85, "restart"),
)
"""After which share of the day each happens."""
PROBES = 60
"""Messages of each world that nobody learns from."""
_PROBE_SEEDS = 20_000
"""Seeds from which on nothing else is drawn."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One message, and what happened before it came.

    Attributes:
        after_s: Simulated seconds since the one before.
        hour: Simulated hours since the start.
        world: What holds.
        message: What is asked, and what each agent would make of it.
        mishaps: What goes wrong first.
    """

    after_s: float
    hour: float
    world: World
    message: Message
    mishaps: tuple[Mishap, ...]


def day(hours: float, per_hour: int, seed: int) -> Iterator[Moment]:
    """Messages that arrive at random times (a Poisson process), in worlds that change three times.

    Args:
        hours: How many.
        per_hour: Messages in one, on average.
        seed: The same one gives the same day.
    """
    rng = np.random.default_rng([seed, 1])
    messages = {world.name: generate_messages(world, seed=1_000 + seed) for world in WORLDS}
    ends = np.cumsum(_SHARES) * hours
    waiting = list(_MISHAPS)
    hour = 0.0
    while True:
        after_s = float(rng.exponential(3_600.0 / per_hour))
        hour += after_s / 3_600.0
        if hour >= hours:
            return
        world = WORLDS[min(int(np.searchsorted(ends, hour, side="right")), len(WORLDS) - 1)]
        due = []
        while waiting and waiting[0][0] * hours <= hour:
            due.append(waiting.pop(0)[1])
        yield Moment(after_s, hour, world, next(messages[world.name]), tuple(due))


def past(count: int, seed: int) -> list[Message]:
    """Messages of the time before the day, of which somebody says whose task each was."""
    return list(islice(generate_messages(WORLDS[0], seed=2_000 + seed), count))


def probes(world: World, seed: int) -> list[Message]:
    """Messages by which two versions are compared in one world."""
    return list(islice(generate_messages(world, seed=_PROBE_SEEDS + seed), PROBES))
