"""When an experiment is decided, in words.

A challenger is better once the sequence of its difference lies above 0, the estimate reaches the least improvement,
both arms have enough closed units, the experiment ran long enough, no guardrail is raised and units came in the shares
that were configured. It has lost once the sequence lies below 0 or a guardrail is raised, however short the experiment
was: nobody waits two days with what does harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from router_sdk.experiments.guardrails import LEAST_REPORTS
from router_sdk.experiments.units import HOUR_S

if TYPE_CHECKING:
    from router_sdk.evaluation.intervals import Interval
    from router_sdk.experiments.comparison import ArmFigures, Comparison, Look
    from router_sdk.experiments.sample_ratio import SampleRatio
    from router_sdk.loop_settings import ExperimentConfig

Decided = Literal["running", "challenger", "champion", "no winner", "invalid", "stopped"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an experiment, so far or for good.

    Attributes:
        decided: ``running``; ``challenger``, which is better; ``champion``, where every challenger has lost;
            ``no winner`` within the longest duration; ``invalid``, where units did not come in the configured shares;
            ``stopped``, where a person said so, or nothing was left to compare.
        arm: The challenger that is better, or that a person named; else None.
        reason: In words.
        at: When it was decided, in seconds since the epoch, or None while it runs.
        lost: Challengers that are out of the race, and why.
    """

    decided: Decided = "running"
    arm: str | None = None
    reason: str = ""
    at: float | None = None
    lost: Mapping[str, str] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether it stays."""
        return self.decided != "running"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON values; ``Verdict(**these)`` is the same again."""
        return {**asdict(self), "lost": dict(self.lost)}


RUNNING = Verdict()


def judge(
    look: Look, arms: Sequence[ArmFigures], comparisons: Sequence[Comparison], ratio: SampleRatio, before: Verdict
) -> Verdict:
    """The verdict, where none was reached before.

    Args:
        look: At the units.
        arms: Each arm's figures, the champion's first.
        comparisons: Each challenger's.
        ratio: Whether units came in the configured shares.
        before: What was said at the look before.
    """
    settings, now = look.settings, look.units.now
    hours = (now - look.started_at) / HOUR_S
    if not ratio.right:
        counts = ", ".join(f"{arm.name} {count:,}" for arm, count in zip(arms, ratio.observed, strict=True))
        wanted = ", ".join(f"{count:,.0f}" for count in ratio.expected)
        reason = (
            f"units did not come in the configured shares ({counts}; expected {wanted}; p = {ratio.p_value:.1g}): what "
            "is compared is not alike, find out what loses units of an arm"
        )
        return Verdict("invalid", None, reason, now, before.lost)
    lost = dict(before.lost)
    waits, better = [], []
    for arm, comparison in zip(arms[1:], comparisons, strict=True):
        if arm.name in lost:
            continue
        waiting = _waiting(arms[0], arm, look, hours)
        if (harm := _harm(comparison, enough=not _few(arms[0], arm, look))) is not None:
            lost[arm.name] = harm
        elif waiting or (waiting := _short(comparison, settings)):
            waits.append(f"{arm.name}: {waiting}")
        else:
            better.append(comparison)
    if better:
        best = max(better, key=lambda one: one.difference.mean)
        told = "" if best.improvement is None else f", {best.improvement:+.1%} of the champion's mean"
        reason = f"{best.arm} is better by {best.difference.mean:.3f} ({_range(best.difference)}{told})"
        return Verdict("challenger", best.arm, reason, now, lost)
    if len(lost) == len(comparisons):
        return Verdict("champion", None, "; ".join(f"{name} {why}" for name, why in lost.items()), now, lost)
    if settings.max_duration_hours is not None and hours >= settings.max_duration_hours:
        reason = f"after {settings.max_duration_hours:g} hours nobody is surely better; {'; '.join(waits)}"
        return Verdict("no winner", None, reason, now, lost)
    return Verdict("running", None, "; ".join(waits), None, lost)


def _few(champion: ArmFigures, arm: ArmFigures, look: Look) -> str:
    """What is missing before anything is concluded."""
    least = look.settings.min_units
    if min(champion.closed, arm.closed) < least:
        return f"{arm.closed:,} closed units against {champion.closed:,} of the champion, {least:,} of each are needed"
    for name in look.weights:
        count = min(champion.reports[name], arm.reports[name])
        if count < LEAST_REPORTS:
            return f"{name} was reported by {count:,} units of one arm, {LEAST_REPORTS} are needed"
    return "" if look.weights else "no metric that is weighed was reported"


def _waiting(champion: ArmFigures, arm: ArmFigures, look: Look, hours: float) -> str:
    """What a winner still has to wait for."""
    least = look.settings.min_duration_hours
    return _few(champion, arm, look) or (
        f"{hours:.0f} of at least {least:g} hours have passed" if hours < least else ""
    )


def _short(comparison: Comparison, settings: ExperimentConfig) -> str:
    """What a winner still lacks."""
    difference = comparison.difference
    if difference.low <= 0.0:
        return f"the difference of {difference.mean:+.3f} may be chance ({_range(difference)})"
    if comparison.improvement is None:
        wanted = settings.min_improvement
        return "" if not wanted else f"the champion's mean is below {settings.least_mean:g}, too low to compare with"
    if comparison.improvement < settings.min_improvement:
        return f"better, but by {comparison.improvement:.1%} only: {settings.min_improvement:.1%} are asked for"
    return ""


def _harm(comparison: Comparison, *, enough: bool) -> str | None:
    """Why a challenger has lost, or None."""
    if enough and comparison.difference.high < 0.0:
        return f"is worse by {-comparison.difference.mean:.3f} ({_range(comparison.difference)})"
    for rail in comparison.guardrails:
        if rail.state == "raised":
            gap = rail.difference
            told = f"{rail} differs by {gap.mean:+.3f} ({_range(gap)})"
            return f"lost by a guardrail: {told}, {rail.tolerance:g} is tolerated"
    return None


def _range(interval: Interval) -> str:
    return f"between {interval.low:+.3f} and {interval.high:+.3f}"
