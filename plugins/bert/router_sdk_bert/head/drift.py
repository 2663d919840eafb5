"""Detects that an agent no longer does what it did: a cumulative sum of log likelihood ratios (Page, 1954).

Two numbers per agent and a running rate, so it costs next to nothing. What an agent is measured by is the lower of what
the model expects of it and of its own record, so that a model that is too sure of itself raises no alarm.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

RECORD = 0.99
"""What an outcome in the running record still counts for after the next one."""
LOWEST, HIGHEST = 0.05, 0.98
"""Chances of success are taken to lie between these."""
FALL = 0.5
"""What a changed agent's chances are taken to have fallen to, as a share."""


class Watch(NamedTuple):
    """What is kept of one agent.

    Attributes:
        evidence: That it fell, in nats.
        since: Position in the log from which on it speaks for a fall.
        good: Discounted successes.
        seen: Discounted outcomes.
        alarms: Changes found so far.
    """

    evidence: float = 0.0
    since: int = 0
    good: float = 1.0
    seen: float = 2.0
    alarms: int = 0


def watch(before: Watch, expected: float, success: float, position: int) -> Watch:
    """Take one outcome in.

    Args:
        before: What was known.
        expected: Chance of success that the model gave, in [0, 1].
        success: How well it went, in [0, 1].
        position: The outcome's position in the log.
    """
    chance = min(max(min(expected, before.good / before.seen), LOWEST), HIGHEST)
    fallen = FALL * chance
    ratio = success * log(fallen / chance) + (1.0 - success) * log((1.0 - fallen) / (1.0 - chance))
    evidence = before.evidence + ratio
    since = before.since if before.evidence > 0.0 else position
    if evidence <= 0.0:
        evidence, since = 0.0, position
    return Watch(evidence, since, RECORD * before.good + success, RECORD * before.seen + 1.0, before.alarms)


def restarted(before: Watch) -> Watch:
    """After an alarm: nothing is known of the agent but how often it changed."""
    return Watch(alarms=before.alarms + 1)
