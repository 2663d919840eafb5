"""How far a server is trusted: what it earned where it decided, against what the rest of the chain earned.

For each task a coin that depends on its text alone says whose turn it is, with a chance that is logged. So both are
compared on tasks that differ by chance only (Thompson, Biometrika 1933: the chance of a turn is that of being the
better one). Tasks are told apart by whom the server favours and how sure it says it is; where little is known of such a
cell, what is known over all of them stands in. In doubt the chain is heard: the server has to be ahead.

What a server states of itself is believed until outcomes speak against it: either it is as sure as it says, or what it
says is worth nothing (two hypotheses, weighed by Bayes' rule). So one that is sure and wrong is found out by a handful
of tasks, and one that is sure and right is heard from the first one on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

LEVELS = (0.5, 0.8, 0.95)
"""Between these stated probabilities of its favourite a server is taken to be equally sure."""
_HELD = 20.0
"""Outcomes that what is known of more tasks is worth in a mean."""
_GUESS, _STATED = 2.0, 10.0
"""Outcomes that a blind guess is worth, and that what a server states is worth while it is believed."""
_AHEAD = 1.0
"""By how many standard errors the server has to be ahead of the chain to be heard every second time."""
_HALF_LIVES = (2_000.0, 20_000.0)
"""Log positions after which an outcome counts half, of the chain, which learns, and of the server."""
_MOST = 20.0
"""Largest weight of an outcome."""
_CERTAIN = 1e-3


class Known(NamedTuple):
    """A mean reward, and how many outcomes it is worth."""

    mean: float
    worth: float

    def towards(self, above: Known) -> Known:
        """Held to what is known of more tasks."""
        held = min(_HELD, above.worth)
        total = self.worth + held
        return Known((self.mean * self.worth + above.mean * held) / total, total) if total else above

    @property
    def variance(self) -> float:
        """Of the mean, as of a share of successes."""
        return max(self.mean * (1.0 - self.mean), _CERTAIN) / (self.worth + 1.0)


@dataclass(slots=True)
class Faded:
    """A mean of rewards of which older ones count less, by their place in the log, so that one can be taken back.

    Attributes:
        weight: Sum of the weights.
        squares: Sum of their squares.
        total: Sum of weight times reward.
        stated: Sum of weight times what the server stated.
        at: Log position to which they are faded.
    """

    weight: float = 0.0
    squares: float = 0.0
    total: float = 0.0
    stated: float = 0.0
    at: int = 0

    def add(
        self, position: int, stated: float, weight: float, half_life: float, reward: float, *, more: bool = True
    ) -> None:
        """Take in an outcome; with ``more=False`` only change the reward of one that is there, by ``reward``."""
        if position > self.at:
            fade = 0.5 ** ((position - self.at) / half_life)
            self.weight, self.squares = self.weight * fade, self.squares * fade * fade
            self.total, self.stated = self.total * fade, self.stated * fade
            self.at = position
        weight *= 0.5 ** ((self.at - position) / half_life)
        self.total += weight * reward
        if more:
            self.weight += weight
            self.squares += weight * weight
            self.stated += weight * stated

    @property
    def known(self) -> Known:
        """What it comes to; an effective count, where weights differ."""
        if self.squares <= 0.0:
            return Known(0.0, 0.0)
        return Known(min(max(self.total / self.weight, 0.0), 1.0), self.weight * self.weight / self.squares)

    def believed(self, trust: float) -> float:
        """The chance that the server is as sure as it says, which is ``trust`` before any outcome.

        The other hypothesis is that its favourite succeeds with a chance that nobody knows.
        """
        _, count = self.known
        if not count:
            return trust
        stated = min(max(self.stated / self.weight, _CERTAIN), 1.0 - _CERTAIN)
        good = count * min(max(self.total / self.weight, 0.0), 1.0)
        bad = count - good
        as_stated = good * math.log(stated) + bad * math.log1p(-stated)
        unknown = math.lgamma(good + 1.0) + math.lgamma(bad + 1.0) - math.lgamma(count + 2.0)
        odds = math.log(trust / (1.0 - trust)) + as_stated - unknown
        return 1.0 / (1.0 + math.exp(-min(max(odds, -500.0), 500.0)))


Sides = tuple[Faded, Faded]
"""Of the chain, and of the server."""


def level_of(stated: float) -> int:
    """How sure a server says it is, as a number from 0."""
    return sum(stated >= edge for edge in LEVELS)


@dataclass(slots=True)
class Trust:
    """What both have earned, over all tasks, by how sure the server was, and by whom it favoured.

    Args:
        trust: Chance, before any outcome, that the server is as sure as it says, in (0, 1).
        cells: By favourite and level; ``("", -1)`` is everything, ``("", level)`` a level.
    """

    trust: float
    cells: dict[tuple[str, int], Sides] = field(default_factory=dict)

    def add(
        self, favourite: str, stated: float, turn: int, chance: float, position: int, reward: float, more: bool
    ) -> None:
        """Take in an outcome.

        Args:
            favourite: Whom the server favoured.
            stated: With which probability.
            turn: Whose turn it was: 1 is the server's.
            chance: With which probability it was.
            position: Of the decision in the log.
            reward: What was earned; with ``more=False`` by how much that is changed.
            more: Whether it is the first that is known of the decision.
        """
        level, weight = level_of(stated), min(1.0 / max(chance, 1.0 / _MOST), _MOST)
        for key in (("", -1), ("", level), (favourite, level)):
            side = self.cells.setdefault(key, (Faded(), Faded()))[turn]
            side.add(position, stated, weight, _HALF_LIVES[turn], reward, more=more)

    def add_unasked(self, position: int, reward: float, more: bool) -> None:
        """Take in what the chain earned where the server was not asked: which tasks these are is chance, too."""
        chain, _ = self.cells.setdefault(("", -1), (Faded(), Faded()))
        chain.add(position, 0.0, 1.0, _HALF_LIVES[0], reward, more=more)

    def known(self, favourite: str, stated: float, agents: int) -> tuple[Known, Known]:
        """What the chain, and the server, may be expected to earn with such a task."""
        level, guess = level_of(stated), Known(1.0 / agents, _GUESS)
        chain, server = self.cells.get(("", -1), (Faded(), Faded()))
        believed = server.believed(self.trust)
        one, other = server.known.towards(Known(stated, _STATED)), server.known.towards(guess)
        mean = believed * one.mean + (1.0 - believed) * other.mean
        found = [chain.known.towards(guess), Known(mean, believed * one.worth + (1.0 - believed) * other.worth)]
        for key in (("", level), (favourite, level)):
            if key in self.cells:
                found = [side.known.towards(above) for side, above in zip(self.cells[key], found, strict=True)]
        return found[0], found[1]

    def better(self, favourite: str, stated: float, agents: int) -> float:
        """The chance that the server does better than the chain with such a task, and by more than a standard error."""
        chain, server = self.known(favourite, stated, agents)
        spread = math.sqrt(chain.variance + server.variance)
        return 0.5 * (1.0 + math.erf(((server.mean - chain.mean) / spread - _AHEAD) / math.sqrt(2.0)))

    def best(self, agents: int) -> float:
        """The largest such chance over what is known, and 1 while nothing is."""
        keys = [key for key in self.cells if key[1] >= 0]
        if len({level for _, level in keys}) < len(LEVELS) + 1:
            keys += [("", level) for level in range(len(LEVELS) + 1)]
        stated = (0.25, 0.65, 0.9, 0.99)
        return max((self.better(name, stated[level], agents) for name, level in keys), default=1.0)

    def forget(self, agent: str) -> None:
        """Drop what is known of tasks for which the server favoured an agent."""
        for key in [key for key in self.cells if key[0] == agent]:
            del self.cells[key]

    def copy(self) -> Trust:
        """Another one that is changed by itself."""
        held = {key: (_copy(chain), _copy(server)) for key, (chain, server) in self.cells.items()}
        return Trust(self.trust, held)

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "cells": [
                [name, level, *([*_numbers(one)[:-1], one.at] for one in sides)]
                for (name, level), sides in self.cells.items()
            ]
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], trust: float) -> Self:
        """Inverse of ``to_dict``.

        Raises:
            ValueError: if it is malformed.
        """
        cells: dict[tuple[str, int], Sides] = {}
        for name, level, *sides in told["cells"]:
            if len(sides) != 2 or not isinstance(name, str) or level not in range(-1, len(LEVELS) + 1):
                raise ValueError(f"{name!r:.60} is no cell")
            chain, server = (Faded(float(a), float(b), float(c), float(d), int(at)) for a, b, c, d, at in sides)
            numbers = [*_numbers(chain), *_numbers(server)]
            if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
                raise ValueError(f"{name!r:.60}: numbers must be finite and not negative")
            cells[name, int(level)] = chain, server
        return cls(trust, cells)


def _copy(one: Faded) -> Faded:
    return Faded(one.weight, one.squares, one.total, one.stated, one.at)


def _numbers(one: Faded) -> tuple[float, float, float, float, float]:
    return one.weight, one.squares, one.total, one.stated, float(one.at)
