"""What a policy would have earned beside what was earned, as it is told: overall, by type of task, and by tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from router_sdk.evaluation.off_policy import (
    LEAST_ESS,
    MOST_UNSUPPORTED,
    Interval,
    PolicyValue,
    decisions_for_ess,
    decisions_to_separate,
    difference,
    logged_value,
    policy_value,
)

if TYPE_CHECKING:
    from router_sdk.evaluation.moments import Moments, Rounds

Verdict = Literal["better", "worse", "not told apart", "insufficient"]


@dataclass(frozen=True, slots=True)
class PolicyAnswer:
    """What a policy would have earned on some decisions, beside what was earned.

    Attributes:
        value: Of the policy.
        logged: Of who chose.
        difference: How much more the policy earns, with its confidence sequence.
        verdict: In words.
        more_for_ess: Decisions more, like these, that it takes to say anything; 0 where there are enough, None where
            no number of them would do.
        more_to_separate: Decisions more until the policy and who chose are told apart, if all goes on like this.
        unsupported: Share of its choices that had no chance in the log, in [0, 1].
        task_type: Of which tasks; None is all.
        tenant: Whose; None is everybody's, and ``""`` that of tasks without one.
    """

    value: PolicyValue
    logged: PolicyValue
    difference: Interval
    verdict: Verdict
    more_for_ess: int | None
    more_to_separate: int | None
    unsupported: float
    task_type: str | None = None
    tenant: str | None = None

    @classmethod
    def of(
        cls,
        rounds: Rounds | Moments,
        estimator: str,
        least_ess: float,
        *,
        task_type: str | None = None,
        tenant: str | None = None,
    ) -> PolicyAnswer:
        """From the decisions themselves, or what is left of them."""
        rounds = rounds.moments
        value = policy_value(rounds, estimator, least_ess=least_ess)
        gain = difference(rounds, estimator)
        unsupported = rounds.beyond
        verdict: Verdict = "better" if gain.low > 0.0 else "worse" if gain.high < 0.0 else "not told apart"
        return cls(
            value,
            logged_value(rounds),
            gain,
            "insufficient" if value.insufficient is not None else verdict,
            None if unsupported > MOST_UNSUPPORTED else decisions_for_ess(rounds, least_ess or LEAST_ESS),
            decisions_to_separate(rounds, estimator),
            unsupported,
            task_type,
            tenant,
        )

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {**asdict(self), "difference": self.difference._asdict()}


@dataclass(frozen=True, slots=True)
class OffPolicyReport:
    """What another router would have earned on a part of the log.

    Attributes:
        policy: Which, in words.
        since: Position of the log behind which its decisions judge.
        upto: Position up to which.
        first_at: When the first of them was made, in seconds since the epoch; None without any.
        last_at: When the last one was.
        overall: On all of them.
        estimates: The value by each of the estimators.
        task_types: By type of task, those with the most decisions first.
        tenants: By tenant.
        left_out: How many decisions judge nobody, by reason.
        answered: Share of the tasks that each strategy of the chain would have decided, in [0, 1].
        notes: What else to know.
    """

    policy: str
    since: int
    upto: int
    first_at: float | None
    last_at: float | None
    overall: PolicyAnswer
    estimates: Mapping[str, PolicyValue]
    task_types: tuple[PolicyAnswer, ...] = ()
    tenants: tuple[PolicyAnswer, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        told = {name: getattr(self, name) for name in ("policy", "since", "upto", "first_at", "last_at")}
        return {
            **told,
            **self.overall.to_dict(),
            "estimates": {name: value.to_dict() for name, value in self.estimates.items()},
            "task_types": [one.to_dict() for one in self.task_types],
            "tenants": [one.to_dict() for one in self.tenants],
            "left_out": dict(self.left_out),
            "answered": dict(self.answered),
            "notes": list(self.notes),
        }
