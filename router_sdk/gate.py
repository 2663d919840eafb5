"""What stands between a fitted candidate and the requests: checks that compare it with what serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from router_sdk.errors import FAULTS

if TYPE_CHECKING:
    from router_sdk.evaluation.candidate import CandidateEvidence
    from router_sdk.evaluation.continual import ForgettingRow
    from router_sdk.evaluation.fit_report import HeldOutFigures

Status = Literal["pass", "fail", "insufficient"]


Numbers = Mapping[str, float | None]
"""What a check's word rests on, by name."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a check may know.

    Attributes:
        strategy: Name of the strategy.
        serving: How what serves did on the held-out examples: ``value``, ``accuracy``, ``ess``, figures of each agent
            under ``report``.
        candidate: How the candidate did on the same.
        held_out: How many examples these are.
        forgetting: Old and fresh ones apart, everybody first, then each label.
        evidence: Both on the same examples, pair by pair, with intervals; and what was measured apart from these:
            times, saved parameters, golden tasks, the user's own validation file.
        settings: Settings of the fit, and what the candidate says of itself, as JSON values.
        unchanged: Whether the candidate was made from the very examples from which what serves was made.
    """

    strategy: str
    serving: HeldOutFigures
    candidate: HeldOutFigures
    held_out: int
    forgetting: tuple[ForgettingRow, ...]
    evidence: CandidateEvidence
    settings: Mapping[str, Any]
    unchanged: bool = False


class CheckResult(NamedTuple):
    """One check's word: ``"pass"``, ``"fail"`` or ``"insufficient"``, why, and the numbers that this rests on."""

    check: str
    status: Status
    reason: str
    evidence: Numbers = MappingProxyType({})


class Check(ABC):
    """Compares a candidate with what serves.

    Attributes:
        name: What reports call it.
        needs: Examples that it takes to say anything; where there are fewer, nothing is fitted.
        proves: Whether a candidate may serve because this one passed. False is for what only rules something out: where
            nothing else can be said of a candidate, it does not serve for being fast.
    """

    name: str
    needs: int = 0
    proves: bool = True

    @abstractmethod
    def compare(self, comparison: Comparison) -> CheckResult:
        """Say whether the candidate may serve."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What all checks said.

    Attributes:
        results: Check by check.
        proving: Names of those whose pass lets a candidate serve.
    """

    results: tuple[CheckResult, ...]
    proving: frozenset[str]

    @property
    def passed(self) -> bool:
        """Whether the candidate may serve: none failed, and one that proves something passed."""
        return not self._that("fail") and any(result.check in self.proving for result in self._that("pass"))

    @property
    def decided(self) -> tuple[CheckResult, ...]:
        """Those that decided: what failed; else what passed, or could not tell, of those that prove something."""
        if failed := self._that("fail"):
            return tuple(failed)
        proved = self._that("pass" if self.passed else "insufficient")
        return tuple(result for result in proved if result.check in self.proving) or self.results

    @property
    def reason(self) -> str:
        """What decided, in a line."""
        return "; ".join(f"{result.check}: {result.status}, {result.reason}" for result in self.decided)

    def _that(self, status: Status) -> list[CheckResult]:
        return [result for result in self.results if result.status == status]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        results = [{**result._asdict(), "evidence": dict(result.evidence)} for result in self.results]
        return {"passed": self.passed, "results": results, "decided": [result.check for result in self.decided]}


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
        proving = frozenset(check.name for check in self._checks if check.proves)
        results = tuple(self._ask(check, comparison) for check in self._checks)
        return GateReport(results, proving or frozenset(check.name for check in self._checks))

    @staticmethod
    def _ask(check: Check, comparison: Comparison) -> CheckResult:
        try:
            return check.compare(comparison)
        except FAULTS as error:
            return CheckResult(check.name, "fail", f"the check itself failed: {type(error).__name__}: {error}")
