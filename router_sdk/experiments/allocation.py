"""How many units each arm gets next: a rollout in steps, or shares that follow what the arms earned.

Shares may depend on everything that was seen so far; the analysis stays valid, as each unit brings the chance that it
had. Who follows an advice keeps the shares at the decisions' side: sessions stay with their arm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.experiments.guardrails import LEAST_REPORTS

if TYPE_CHECKING:
    from router_sdk.experiments.analysis import Analysis
    from router_sdk.loop_settings import ExperimentConfig

_DRAWS = 4_096
"""Of the arms' means: shares are exact to about a hundredth."""


def first_shares(arms: int, settings: ExperimentConfig) -> tuple[float, ...]:
    """The shares with which an experiment begins, the champion's first.

    Args:
        arms: How many, the champion among them.
        settings: ``rollout`` and ``challenger_share``.
    """
    share = settings.rollout[0] if settings.rollout else settings.challenger_share
    return (1.0 - (arms - 1) * share, *[share] * (arms - 1))


def next_shares(analysis: Analysis, settings: ExperimentConfig) -> tuple[float, ...]:
    """Thompson sampling among the arms: each gets its chance to be the best one, and none less than its floor.

    Until every arm has reported enough, shares are those of the beginning. A challenger that has lost gets nothing. The
    same analysis gives the same shares.

    Args:
        analysis: As it stands.
        settings: ``challenger_share`` is the floor, at most one part in as many as there are arms.
    """
    arms = analysis.arms
    start = np.array(first_shares(len(arms), settings))
    racing = np.array([arm.name not in analysis.verdict.lost for arm in arms])
    chances = start * racing / (start * racing).sum()
    known = [arm.closed >= LEAST_REPORTS and math.isfinite(arm.error) for arm in arms]
    if all(told or not races for told, races in zip(known, racing, strict=True)):
        noise = np.random.default_rng(0).standard_normal((_DRAWS, len(arms)))
        means = np.array([arm.mean.mean for arm in arms])
        errors = np.array([arm.error if told else 0.0 for arm, told in zip(arms, known, strict=True)])
        draws = np.where(racing, means + errors * noise, -math.inf)
        best = np.bincount(draws.argmax(axis=1), minlength=len(arms)) / _DRAWS
        floor = min(settings.challenger_share, 1.0 / racing.sum())
        chances = racing * (floor + (1.0 - floor * racing.sum()) * best)
    return tuple(float(chance) for chance in chances)


def next_step(analysis: Analysis, settings: ExperimentConfig, share: float) -> float:
    """The share of each challenger after this look: the rollout's next one, or what it is.

    It grows once every challenger has ``min_units`` closed units for each step so far and nothing speaks against one:
    no guardrail is raised, units come in the configured shares, and no difference lies more than its standard error
    below 0.

    Args:
        analysis: As it stands.
        settings: ``rollout`` and ``min_units``.
        share: Each challenger's share now.
    """
    steps = sorted(settings.rollout)
    later = [step for step in steps if step > share + 1e-9]
    if not later or analysis.verdict.final or not analysis.sample_ratio.right:
        return share
    done = len(steps) - len(later)
    lost = analysis.verdict.lost
    for arm, comparison in zip(analysis.arms[1:], analysis.comparisons, strict=True):
        if arm.name in lost:
            continue
        raised = any(rail.state == "raised" for rail in comparison.guardrails)
        if arm.closed < done * settings.min_units or raised or comparison.difference.mean < -comparison.error:
            return share
    return later[0]
