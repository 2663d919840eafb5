"""What a gate looks at beside a candidate's figures: pair by pair, its speed and parameters, and tasks of the user's.

All of it is measured where the fit ran, and crosses over to the gate as JSON.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import TypeAdapter

from router_sdk.errors import FAULTS
from router_sdk.evaluation.held_out import Answer, HeldOut, ask, held_out_evaluation, those_who_can
from router_sdk.evaluation.off_policy import PolicyValue, RoundsSoFar, doubly_robust
from router_sdk.evaluation.paired import RECENT, Gain, PairedComparison, gain_of
from router_sdk.evaluation.parameters import Parameters

if TYPE_CHECKING:
    from router_sdk.records import AgentSet, Example
    from router_sdk.strategy import Encoder, Strategy

_TIMED = 30
"""Tasks on which both are timed."""
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """How long ``propose`` took, on the same tasks in turn, with their texts still to be encoded.

    Attributes:
        tasks: How many.
        before_ms: Median of what serves, in milliseconds.
        after_ms: Median of the candidate.
    """

    tasks: int
    before_ms: float
    after_ms: float


@dataclass(frozen=True, slots=True)
class MustPass:
    """Tasks whose right agent the user says.

    Attributes:
        tasks: How many could be asked about: their agent is one of today's.
        passed: On how many the candidate chose it.
        passed_before: On how many what serves did.
        missed: The first few that the candidate missed, by their place among all, from 1.
        unknown: Tasks whose agent there is not.
    """

    tasks: int
    passed: int
    passed_before: int
    missed: tuple[int, ...] = ()
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class OffPolicyPair:
    """What both would have earned on the newest held-out decisions of the log, see ``off_policy``.

    Attributes:
        before: What serves.
        after: The candidate.
    """

    before: PolicyValue
    after: PolicyValue


@dataclass(frozen=True, slots=True)
class CandidateEvidence:
    """What was measured of a candidate and of what serves.

    Attributes:
        paired: On the held-out examples.
        parameters: Of what was saved.
        latency: None where there was no task to time them on.
        golden: None where the user gave no such tasks.
        joint: On the held-out examples, against a version that was fitted anew on all examples at once; None where that
            was not asked for, or nothing could be judged.
        validation: On the user's own file; None where there is none, or nothing in it could be judged.
        off_policy: Off-policy values on the newest held-out examples; None where none has a propensity.
    """

    paired: PairedComparison
    parameters: Parameters
    latency: Latency | None = None
    golden: MustPass | None = None
    validation: Gain | None = None
    joint: Gain | None = None
    off_policy: OffPolicyPair | None = None

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gave, also after a trip through JSON.

        Raises:
            ValueError: if it is something else.
        """
        return TypeAdapter(cls).validate_python(fields)


def off_policy_pair(
    examples: Sequence[Example], figures: tuple[HeldOut, HeldOut], agents: AgentSet, fresh_after: int
) -> OffPolicyPair | None:
    """What serves and a candidate, on the newest held-out examples: 300, and all that came since the fit before.

    Only what this router drew judges, among the very agents that both were asked about. Neither explores here; where
    one abstains, it is taken for what was logged, because the next one in the chain answered then, too.

    Args:
        examples: What judges.
        figures: What each of the two answered to these.
        agents: Whom they were asked about.
        fresh_after: Position in the log that the fit before reached.
    """
    asked = zip(examples, those_who_can(examples, agents), *(side.answers for side in figures), strict=True)
    rows = sorted((row for row in asked if _drawn(row[0], row[1])), key=lambda row: row[0].decision_seq)
    newest = rows[-max(RECENT, sum(row[0].seq > fresh_after for row in rows)) :]
    if not newest:
        return None
    sides = (RoundsSoFar(), RoundsSoFar())
    for example, choice, *answers in newest:
        for side, answer in zip(sides, answers, strict=True):
            side.add(example, _policy(example, choice, answer))
    return OffPolicyPair(*(doubly_robust(side.rounds, least_ess=0.0) for side in sides))


def _drawn(example: Example, choice: AgentSet) -> bool:
    known = example.source == "routed" and example.propensity and example.reward is not None
    return bool(known) and set(example.probabilities) == set(choice.names)


def _policy(example: Example, choice: AgentSet, answer: Answer) -> Mapping[str | None, float]:
    if not answer.answered or answer.chances is None:
        return dict(example.probabilities.items())
    if answer.favourite is None:
        return {None: 1.0}
    return {name: chance for name, chance in zip(choice.names, answer.chances, strict=True) if chance > 0.0}


class Contest:
    """A candidate and what serves, as they are, on the same tasks.

    Args:
        serving: What serves; prepared for ``agents``.
        candidate: The candidate; likewise.
        agents: Whom to choose from.
        encoders: Registered encoders by name.
    """

    def __init__(
        self, serving: Strategy, candidate: Strategy, agents: AgentSet, encoders: Mapping[str, Encoder]
    ) -> None:
        self._sides = (serving, candidate)
        self._agents, self._encoders = agents, encoders

    def latency(self, examples: Sequence[Example]) -> Latency | None:
        """Time both on some of the examples, without the vectors that the log may have for one of them alone."""
        taken: tuple[list[float], list[float]] = ([], [])
        for number, example in enumerate(examples[-_TIMED - 1 :]):
            try:
                times = [self._timed(side, example) for side in self._sides]
            except FAULTS:
                continue  # the figures say that it failed
            if number:  # at the first one, what is opened late is opened
                for kept, time_ms in zip(taken, times, strict=True):
                    kept.append(time_ms)
        return Latency(len(taken[0]), *map(statistics.median, taken)) if taken[0] else None

    def _timed(self, side: Strategy, example: Example) -> float:
        started = time.perf_counter()
        ask(side, example, self._agents, self._encoders, {})
        return 1_000.0 * (time.perf_counter() - started)

    def must_pass(self, examples: Sequence[Example]) -> MustPass | None:
        """Whether the labelled tasks that the user named are answered as they should be."""
        if not examples:
            return None
        before, after = self._answered(examples)
        known = [place for place, answer in enumerate(after.answers) if answer.score is not None]
        missed = [place + 1 for place in known if not after.answers[place].score]
        passed_before = sum(before.answers[place].score == 1.0 for place in known)
        unknown = len(examples) - len(known)
        return MustPass(len(known), len(known) - len(missed), passed_before, tuple(missed[:_MOST_NAMED]), unknown)

    def gain(self, examples: Sequence[Example]) -> Gain | None:
        """How much more the candidate earns on them than what serves."""
        before, after = self._answered(examples)
        return gain_of(list(zip(before.answers, after.answers, strict=True)))

    def _answered(self, examples: Sequence[Example]) -> tuple[HeldOut, HeldOut]:
        before, after = (held_out_evaluation(side, examples, self._agents, self._encoders) for side in self._sides)
        return before, after
