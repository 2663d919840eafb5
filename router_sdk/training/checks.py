"""The checks that every candidate has to pass, each with its threshold and the numbers that its word rests on.

Where a difference could be chance, a check fails what is worse by more than its threshold and lies with its whole 95 %
interval below what serves, so that good candidates are not refused for their luck. With few examples nothing is sure:
then a candidate that looks worse is neither refused nor does it serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.evaluation.off_policy import LEAST_ESS
from router_sdk.gate import Check, CheckResult, Comparison
from router_sdk.spelling import counted
from router_sdk.training.evidence import check_tasks

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.evaluation.paired import Gain
    from router_sdk.rewards import RewardFunction

TOGETHER = 0.95
"""Confidence that of several agents none is taken for ruined by chance."""
ENOUGH = 30
"""Effective examples from which on a loss that could be chance is taken for it."""


def checks_of(settings: RouterConfig, reward: RewardFunction) -> list[Check]:
    """The checks that are switched on.

    Args:
        settings: Of the router.
        reward: Turns outcomes into rewards, for the user's own tasks.

    Raises:
        InvalidConfigError: if the user's tasks cannot be read.
    """
    config = settings.gate
    if settings.fits and not settings.read_only:
        check_tasks(config, reward)
    made = [
        (config.no_regression, NoRegression),
        (config.minimum_accuracy, MinimumAccuracy),
        (config.per_agent, PerAgent),
        (config.forgetting, Forgetting),
        (config.joint_gap, JointGap),
        (config.calibration, CalibrationError),
        (config.latency, Latency),
        (config.divergence, Divergence),
        (config.finite_parameters, FiniteParameters),
        (config.off_policy, OffPolicyFloor),
    ]
    checks: list[Check] = [kind() if wanted is True else kind(wanted) for wanted, kind in made if wanted is not False]
    if config.golden:
        checks.append(GoldenSet(config.golden_share))
    if config.validation is not None:
        checks.append(Validation() if isinstance(config.no_regression, bool) else Validation(config.no_regression))
    return checks


class _AsGood(Check):
    """As good as what serves, pair by pair."""

    def __init__(self, tolerance: float = 0.01, minimum: int = 5) -> None:
        self.tolerance, self.minimum = tolerance, minimum

    def _judged(self, gain: Gain) -> CheckResult:
        words, numbers = str(gain), {**gain.numbers(), "threshold": -self.tolerance}
        if gain.mean < -self.tolerance and gain.high < 0.0:
            return CheckResult(self.name, "fail", words, numbers)
        if gain.mean < -self.tolerance and gain.ess < ENOUGH:
            words = f"{words}: it takes {ENOUGH} to tell whether that is chance"
            return CheckResult(self.name, "insufficient", words, numbers)
        return CheckResult(self.name, "pass", words, numbers)


class NoRegression(_AsGood):
    """On the newest held-out examples it does as well as what serves; on the same examples again, better.

    Args:
        tolerance: By how much its mean may be worse, in [0, 1].
        minimum: Fewer judged examples than this are insufficient.
    """

    name = "no_regression"

    def __init__(self, tolerance: float = 0.01, minimum: int = 5) -> None:
        super().__init__(tolerance, minimum)
        self.needs = minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the newest pairs."""
        before, after, gain = comparison.serving, comparison.candidate, comparison.evidence.paired.recent
        numbers = {"effective_examples": after.ess, "before": before.value, "after": after.value}
        if after.value is None or after.ess < self.minimum:
            words = (
                f"{after.ess:.0f} of {comparison.held_out} held-out examples could be judged, it takes {self.minimum}"
            )
            return CheckResult(self.name, "insufficient", words, numbers)
        if before.value is None:
            return CheckResult(self.name, "pass", f"{after.value:.3f}; what serves had no answer", numbers)
        if gain is None or gain.ess < 1.0:
            return CheckResult(self.name, "insufficient", "none of the newest examples judges both", numbers)
        if comparison.unchanged and gain.mean <= 0.0:
            words = f"{gain}, and from the same examples: nothing is gained"
            return CheckResult(self.name, "fail", words, {**gain.numbers(), "threshold": 0.0})
        return self._judged(gain)


class Validation(_AsGood):
    """On the user's own file it does as well as what serves."""

    name = "validation"

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the file's pairs."""
        gain = comparison.evidence.validation
        if gain is None or gain.ess < self.minimum:
            judged = 0.0 if gain is None else gain.ess
            words = f"{judged:.0f} tasks of the file could be judged, it takes {self.minimum}"
            return CheckResult(self.name, "insufficient", words, {"effective_examples": judged})
        return self._judged(gain)


class MinimumAccuracy(Check):
    """Of the labelled held-out examples so many are right, whatever served before."""

    name, proves = "minimum_accuracy", False

    def __init__(self, least: float = 0.8, minimum: int = 5) -> None:
        self.least, self.minimum = least, minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the candidate alone."""
        accuracy, judged = comparison.candidate.accuracy, comparison.candidate.n_labelled
        numbers = {"accuracy": accuracy, "examples": judged, "threshold": self.least}
        if accuracy is None or judged < self.minimum:
            words = f"{judged} held-out examples have a label, it takes {self.minimum}"
            return CheckResult(self.name, "insufficient", words, numbers)
        words = f"{accuracy:.3f} of {judged} labelled examples are right, at least {self.least:g} must be"
        return CheckResult(self.name, "pass" if accuracy >= self.least else "fail", words, numbers)


class PerAgent(Check):
    """No agent's tasks are answered much worse, however good the mean; with confidence over all agents together."""

    name, proves = "per_agent", False

    def __init__(self, margin: float = 0.1, minimum: int = 8) -> None:
        self.margin, self.minimum = margin, minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at each agent by itself."""
        told = [one for one in comparison.evidence.paired.agents if one.gain.ess >= self.minimum]
        if not told:
            words = f"no agent has {self.minimum} held-out examples that could be judged"
            return CheckResult(self.name, "insufficient", words)
        share = 1.0 - (1.0 - TOGETHER) / len(told)
        ruined = [one for one in told if one.gain.mean < -self.margin and one.gain.at_most(share) < 0.0]
        worst = min(told, key=lambda one: one.gain.mean)
        numbers = {**worst.gain.numbers(), "agents": len(told), "ruined": len(ruined), "threshold": -self.margin}
        shown = ruined or [worst]
        words = "; ".join(f"{_name(one.agent)}, {one.share:.0%} of the tasks: {one.gain}" for one in shown)
        return CheckResult(self.name, "fail" if ruined else "pass", words if ruined else f"at worst {words}", numbers)


def _name(agent: str | None) -> str:
    return "no agent fits" if agent is None else agent


class Forgetting(Check):
    """What was learnt before is still known: labelled examples from before the fit before, unless overturned since."""

    name, proves = "forgetting", False

    def __init__(self, most: float = 0.05, minimum: int = 10) -> None:
        self.most, self.minimum = most, minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the old pairs."""
        gain, overturned = comparison.evidence.paired.forgotten, comparison.evidence.paired.overturned
        if gain is None or gain.pairs < self.minimum:
            judged = 0 if gain is None else gain.pairs
            words = f"{judged} labelled examples are from before the last fit, it takes {self.minimum}"
            return CheckResult(self.name, "insufficient", words, {"examples": judged, "overturned": overturned})
        lost = gain.mean < -self.most and gain.high < 0.0
        words = f"old examples: {gain}" + (f"; {overturned} more do not hold any longer" if overturned else "")
        numbers = {**gain.numbers(), "overturned": overturned, "threshold": -self.most}
        return CheckResult(self.name, "fail" if lost else "pass", words, numbers)


class JointGap(Check):
    """What it lacks to a version that was fitted anew on all examples at once: the honest gauge of forgetting.

    Old classes may be answered worse only because new ones compete with them, and that a joint refit does, too (as in
    the upper bound of Rebuffi et al., "iCaRL", CVPR 2017).
    """

    name, proves = "joint_gap", False

    def __init__(self, most: float = 0.02, minimum: int = 10) -> None:
        self.most, self.minimum = most, minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at both on the held-out examples."""
        gain = comparison.evidence.joint
        if gain is None or gain.ess < self.minimum:
            judged = 0.0 if gain is None else gain.ess
            words = f"{judged:.0f} held-out examples judge a joint refit, too, it takes {self.minimum}"
            return CheckResult(self.name, "insufficient", words, {"effective_examples": judged})
        lacks = gain.mean < -self.most and gain.high < 0.0
        words = f"beside one that was fitted on all examples at once: {gain}"
        return CheckResult(self.name, "fail" if lacks else "pass", words, {**gain.numbers(), "threshold": -self.most})


class GoldenSet(Check):
    """The tasks that the user named are answered as they must be."""

    name, proves = "golden_set", False

    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def compare(self, comparison: Comparison) -> CheckResult:
        """Count them."""
        found = comparison.evidence.golden
        if found is None or not found.tasks:
            return CheckResult(self.name, "insufficient", "no golden task names an agent of today")
        words = f"{found.passed} of {found.tasks} are answered as they must be, {found.passed_before} by what serves"
        if found.missed:
            words += f"; not number {', '.join(map(str, found.missed))}"
        if found.unknown:
            words += f"; {found.unknown} more name an agent that there is not"
        passed = found.passed / found.tasks
        numbers = {"share": passed, "tasks": found.tasks, "unknown": found.unknown, "threshold": self.share}
        return CheckResult(self.name, "pass" if passed >= self.share else "fail", words, numbers)


class CalibrationError(Check):
    """Its confidences say no less of how often it is right, unless it is surely right more often than before."""

    name, proves = "calibration", False

    def __init__(self, margin: float = 0.1, minimum: int = 50) -> None:
        self.margin, self.minimum = margin, minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the labelled examples that both answered."""
        found = comparison.evidence.paired.calibration
        if found is None or found.examples < self.minimum:
            answered = 0 if found is None else found.examples
            words = f"{answered} labelled examples were answered by both, it takes {self.minimum}"
            return CheckResult(self.name, "insufficient", words, {"examples": answered})
        gain = comparison.evidence.paired.recent
        better = gain is not None and gain.low > 0.0
        worse = found.after - found.before > self.margin and found.low > 0.0 and not better
        words = (
            f"confidences are {found.after:.3f} off, {found.before:.3f} before, on {counted(found.examples, 'example')}"
        )
        numbers = {"examples": found.examples, "before": found.before, "after": found.after, "low": found.low}
        return CheckResult(self.name, "fail" if worse else "pass", words, {**numbers, "threshold": self.margin})


class Latency(Check):
    """It is not much slower, and not by more than a few milliseconds either."""

    name, proves = "latency", False

    def __init__(self, factor: float = 2.0, floor_ms: float = 5.0) -> None:
        self.factor, self.floor_ms = factor, floor_ms

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the medians."""
        found = comparison.evidence.latency
        if found is None:
            return CheckResult(self.name, "insufficient", "there was no task to time it on")
        slow = found.after_ms > self.factor * found.before_ms and found.after_ms > found.before_ms + self.floor_ms
        words = (
            f"{found.after_ms:.2f} ms, {found.before_ms:.2f} ms before, in the median of {counted(found.tasks, 'task')}"
        )
        numbers = {"before_ms": found.before_ms, "after_ms": found.after_ms, "tasks": found.tasks}
        numbers |= {"threshold": self.factor, "floor_ms": self.floor_ms}
        return CheckResult(self.name, "fail" if slow else "pass", words, numbers)


class Divergence(Check):
    """How differently it distributes tasks; without a bound that is only told."""

    name, proves = "divergence", False

    def __init__(self, most: float | None = None) -> None:
        self.most = most

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the mean divergence."""
        found = comparison.evidence.paired.divergence
        if found is None:
            return CheckResult(self.name, "insufficient", "no held-out example was answered by both")
        far = self.most is not None and found > self.most
        bound = "" if self.most is None else f", at most {self.most:g}"
        words = f"{found:.3f} nats away from what serves{bound}"
        return CheckResult(self.name, "fail" if far else "pass", words, {"nats": found, "threshold": self.most})


class FiniteParameters(Check):
    """Every number that was saved is one, and no array is out of all proportion to what it was."""

    name, proves = "finite_parameters", False

    def __init__(self, factor: float = 100.0) -> None:
        self.factor = factor

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the saved arrays."""
        found = comparison.evidence.parameters
        numbers = {"arrays": found.arrays, "compared": found.compared, "ratio": found.ratio, "threshold": self.factor}
        if found.not_finite:
            words = f"not finite: {', '.join(found.not_finite)}"
            return CheckResult(self.name, "fail", words, numbers)
        if found.ratio > self.factor:
            words = f"the norm of {found.widest} is {found.ratio:.3g} times another than before"
            return CheckResult(self.name, "fail", words, numbers)
        words = f"{found.arrays} saved arrays are finite, {found.compared} of them within {found.ratio:.3g} times"
        return CheckResult(self.name, "pass", words, numbers)


class OffPolicyFloor(Check):
    """By the log's propensities it would not have earned less than what serves earns at least."""

    name, proves = "off_policy", False

    def __init__(self, least_ess: float = LEAST_ESS) -> None:
        self.least_ess = least_ess

    def compare(self, comparison: Comparison) -> CheckResult:
        """Look at the candidate's value, and the lower end of that of what serves."""
        found = comparison.evidence.off_policy
        if found is None:
            return CheckResult(self.name, "insufficient", "no held-out decision was drawn from those who can be chosen")
        before, after = found.before, found.after
        ess = min(before.ess, after.ess)
        numbers = {"examples": after.decisions, "effective_examples": ess, "threshold": self.least_ess}
        numbers |= {"before": before.mean, "low": before.low, "after": after.mean}
        if ess < self.least_ess:
            words = f"{after.decisions} decisions are worth {ess:.0f} of theirs, it takes {self.least_ess:.0f}"
            return CheckResult(self.name, "insufficient", words, numbers)
        words = f"{after.mean:.3f}, and what serves {before.mean:.3f} (at least {before.low:.3f}), worth {ess:.0f}"
        return CheckResult(self.name, "fail" if after.mean < before.low else "pass", words, numbers)
