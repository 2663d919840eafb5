"""Experiments made up: sessions of 1 to 20 steps that are alike, whose outcomes come late or never."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.experiments.allocation import first_shares, next_shares, next_step
from router_sdk.experiments.analysis import RUNNING, Analysis, analyse
from router_sdk.experiments.units import HOUR_S, Steps, Units, mean_of_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.loop_settings import ExperimentConfig

AGENTS = ("a", "b", "c")
TASK_TYPES = ("short", "long")
WINDOW_H = 24.0


@dataclass(frozen=True)
class Stream:
    """Sessions as they would go in either arm.

    Attributes:
        at: When each begins, in seconds, shape ``(n,)``.
        chance: What decides to which arm it comes, in [0, 1), shape ``(n,)``.
        unit: Whose step, shape ``(m,)``.
        agent: Who is chosen, shape ``(m,)``.
        task_type: Shape ``(m,)``.
        told: For each metric what a step reports in either arm, NaN where nothing comes in time, shape ``(2, m)``.
    """

    at: NDArray[np.float64]
    chance: NDArray[np.float64]
    unit: NDArray[np.int64]
    agent: NDArray[np.int64]
    task_type: NDArray[np.int64]
    told: dict[str, NDArray[np.float64]]

    def units(self, arm: NDArray[np.int64], probability: NDArray[np.float64], now: float) -> Units:
        """The units that came to arms so far, as of a time.

        Args:
            arm: Of the first of them, shape ``(k,)``.
            probability: With which each came there, shape ``(k,)``.
            now: In seconds.
        """
        count = arm.size
        steps = slice(0, int(np.searchsorted(self.unit, count)))
        unit = self.unit[steps]
        ours = arm[unit]
        told = {name: np.where(ours == 1, both[1, steps], both[0, steps]) for name, both in self.told.items()}
        values = {name: mean_of_steps(column, unit, count) for name, column in told.items()}
        values["success"] = values["quality"]
        reported = ~np.isnan(values["quality"]) | ~np.isnan(values["feedback"]) | ~np.isnan(values["latency"])
        seen = Steps(unit, self.agent[steps], self.task_type[steps], told["quality"], AGENTS, TASK_TYPES)
        return Units(
            ("old", "new"), arm, probability, self.at[:count], values, reported, seen, now, WINDOW_H * HOUR_S, {}
        )


def sessions(
    rng: np.random.Generator, count: int, gain: float = 0.0, mean: float = 0.7, missing: float = 1.0 / 3.0
) -> Stream:
    """Sessions of 1 to 20 steps. How a session goes depends on its user more than on chance.

    Args:
        rng: Draws them.
        count: How many, one in six minutes.
        gain: By how much the challenger is better, in mean quality.
        mean: Mean quality of the champion.
        missing: Share of the outcomes that come too late, or never; a tenth of the sessions say nothing at all.
    """
    unit = np.repeat(np.arange(count), rng.integers(1, 21, count))
    steps = unit.size
    mood = rng.beta(1.5 * mean, 1.5 * (1.0 - mean), count)[unit]
    draws = rng.random(steps)
    quality = np.stack([draws < mood, draws < np.clip(mood + gain, 0.0, 1.0)]).astype(np.float64)
    slow = np.clip(0.8 + 0.1 * rng.standard_normal(count)[unit] + 0.05 * rng.standard_normal(steps), 0.0, 1.0)
    silent = (rng.random(count) < 0.1)[unit] | (rng.random(steps) < (missing - 0.1) / 0.9)
    spoke = (rng.random(count) < 0.2)[unit] & (rng.random(steps) < 0.5)
    told = {
        "quality": np.where(silent, np.nan, quality),
        "latency": np.where(silent, np.nan, np.stack([slow, slow])),
        "feedback": np.where(spoke & ~silent, quality, np.nan),
    }
    agent = rng.integers(0, len(AGENTS), steps)
    task_type = rng.integers(0, len(TASK_TYPES), count)[unit]
    return Stream(np.arange(count) * 360.0, rng.random(count), unit, agent, task_type, told)


def decisions(rng: np.random.Generator, count: int, before: float, after: float) -> Stream:
    """Decisions by themselves, of which a share of ``before`` and of ``after`` succeed; every one is reported."""
    draws = rng.random(count)
    quality = np.stack([draws < before, draws < after]).astype(np.float64)
    nothing = np.full((2, count), np.nan)
    told = {"quality": quality, "latency": nothing, "feedback": nothing}
    zeros = np.zeros(count, dtype=np.int64)
    return Stream(np.arange(count) * 360.0, rng.random(count), np.arange(count), zeros, zeros, told)


@dataclass(frozen=True)
class Played:
    """An experiment that went on to its end, whatever could have been decided on the way.

    Attributes:
        arm: To which each unit came, shape ``(n,)``.
        analysis: At the end.
    """

    arm: NDArray[np.int64]
    analysis: Analysis

    def decided(self, settings: ExperimentConfig) -> tuple[str, int]:
        """What the first look says that decides, and after how many closed units; looks are the points of the path.

        Each point is what a look at that time finds, since no unit's pseudo-outcome depends on a later one.
        """
        (comparison,), champion = self.analysis.comparisons, self.analysis.arms[0]
        path = comparison.path
        fewer = np.minimum(np.cumsum(self.arm == 1), np.cumsum(self.arm == 0))[path.units - 1]
        enough = fewer >= settings.min_units
        better = enough & (path.low > 0.0) & (path.mean >= settings.min_improvement * champion.mean.mean)
        worse = enough & (path.high < 0.0)
        found = np.flatnonzero(better | worse)
        if found.size:
            return "challenger" if better[found[0]] else "champion", int(path.units[found[0]])
        if any(rail.state == "raised" for rail in comparison.guardrails):
            return "guardrail", self.arm.size
        return ("running" if self.analysis.sample_ratio.right else "invalid"), self.arm.size


def played(stream: Stream, settings: ExperimentConfig, updates: int = 1) -> Played:
    """Let units come to the arms, and analyse them.

    Args:
        stream: What comes.
        settings: How.
        updates: How many looks there are after which a rollout or a bandit changes the shares.
    """
    count = stream.at.size
    arm, probability = np.zeros(count, dtype=np.int64), np.ones(count)
    shares, begun = first_shares(2, settings), 0
    for look in range(1, updates + 1):
        upto = count * look // updates
        arm[begun:upto] = stream.chance[begun:upto] < shares[1]
        probability[begun:upto] = np.array(shares)[arm[begun:upto]]
        begun = upto
        now = stream.at[upto - 1] + (WINDOW_H * HOUR_S if look == updates else 0.0)
        found = analyse(stream.units(arm[:upto], probability[:upto], float(now)), settings, 0.0)
        if settings.allocation == "bandit":
            shares = next_shares(replace(found, verdict=RUNNING), settings)
        elif settings.rollout:
            share = next_step(replace(found, verdict=RUNNING), settings, shares[1])
            shares = (1.0 - share, share)
    return Played(arm, found)


def by_step(units: Units) -> Units:
    """The same as somebody sees it who takes each decision for a unit of its own."""
    unit = units.steps.unit
    values = {"quality": units.steps.quality}
    return replace(
        units,
        arm=units.arm[unit],
        probability=units.probability[unit],
        at=units.at[unit],
        values={**dict.fromkeys(units.values, values["quality"]), **values},
        reported=~np.isnan(units.steps.quality),
        steps=replace(units.steps, unit=np.arange(unit.size)),
    )
