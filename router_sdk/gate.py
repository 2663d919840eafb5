"""What stands between a fitted candidate and the requests: checks that compare it with what serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from router_sdk.errors import FAULTS

Status = Literal["pass", "fail", "insufficient"]


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How one strategy did on examples that it had not seen.

    Attributes:
        value: Share of right choices, or mean reward, in [0, 1]; None where nothing could be judged.
        judged: Examples behind ``value``, as an effective sample size.
        examples: Examples that were held out.
        abstained: Share on which it had no answer.
    """

    value: float | None
    judged: float
    examples: int
    abstained: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a check may know.

    Attributes:
        strategy: Name of the strategy.
        serving: How what serves did on the held-out examples.
        candidate: How the candidate did on the same.
        settings: Settings of the fit, and what the candidate says of itself, as JSON values.
        unchanged: Whether the candidate was made from the very examples from which what serves was made.
    """

    strategy: str
    serving: HeldOutScore
    candidate: HeldOutScore
    settings: Mapping[str, Any]
    unchanged: bool = False


class CheckResult(NamedTuple):
    """One check's word: ``"pass"``, ``"fail"`` or ``"insufficient"``, and why."""

    check: str
    status: Status
    reason: str


class Check(ABC):
    """Compares a candidate with what serves.

    Attributes:
        name: What reports call it.
        needs: Examples that it takes to say anything; where there are fewer, nothing is fitted.
    """

    name: str
    needs: int = 0

    @abstractmethod
    def compare(self, comparison: Comparison) -> CheckResult:
        """Say whether the candidate may serve."""


class HeldOutAccuracy(Check):
    """The candidate must do as well on held-out examples as what serves; on the same examples again, better.

    Args:
        minimum: Fewer judged examples than this are insufficient.
        tolerance: By how much it may be worse, in [0, 1].
    """

    name = "held_out_accuracy"

    def __init__(self, minimum: int = 5, tolerance: float = 0.01) -> None:
        self.minimum, self.tolerance = minimum, tolerance
        self.needs = minimum

    def compare(self, comparison: Comparison) -> CheckResult:
        """Compare the two values."""
        before, after = comparison.serving, comparison.candidate
        if after.value is None or after.judged < self.minimum:
            words = f"{after.judged:.0f} of {after.examples} held-out examples could be judged, it takes {self.minimum}"
            return CheckResult(self.name, "insufficient", words)
        if before.value is None:
            return CheckResult(self.name, "pass", f"{after.value:.3f}; what serves had no answer")
        words = f"{after.value:.3f} against {before.value:.3f} of what serves, on {after.judged:.0f} held-out examples"
        if comparison.unchanged and after.value <= before.value:
            return CheckResult(self.name, "fail", f"{words}, and from the same examples: nothing is gained")
        return CheckResult(self.name, "pass" if after.value >= before.value - self.tolerance else "fail", words)


@dataclass(frozen=True, slots=True)
class GateReport:
    """What all checks said; passed if none failed and at least one passed."""

    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may serve."""
        said = {result.status for result in self.results}
        return "fail" not in said and "pass" in said

    @property
    def reason(self) -> str:
        """What decided, in a line."""
        decisive = [result for result in self.results if result.status != "pass"] or list(self.results)
        return "; ".join(f"{result.check}: {result.status}, {result.reason}" for result in decisive)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"passed": self.passed, "results": [result._asdict() for result in self.results]}


class Gate:
    """All checks, one after the other; one that raises has failed.

    Args:
        checks: Which.

    Attributes:
        needs: Examples that it takes for all of them to say something.
    """

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = tuple(checks)
        self.needs = max((check.needs for check in self._checks), default=0)

    def judge(self, comparison: Comparison) -> GateReport:
        """Ask every check."""
        return GateReport(tuple(self._ask(check, comparison) for check in self._checks))

    @staticmethod
    def _ask(check: Check, comparison: Comparison) -> CheckResult:
        try:
            return check.compare(comparison)
        except FAULTS as error:
            return CheckResult(check.name, "fail", f"the check itself failed: {type(error).__name__}: {error}")
