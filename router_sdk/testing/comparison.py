"""Whether a proposal is a distribution, and whether two are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from router_sdk.strategy import Proposal

if TYPE_CHECKING:
    from router_sdk.records import AgentSet

TOLERANCE = 1e-9


def require(holds: bool, message: str) -> None:
    """Raise what a test framework reports, also under ``python -O``.

    Raises:
        AssertionError: with the message, unless it holds.
    """
    if not holds:
        raise AssertionError(message)


def require_valid(proposal: Proposal | None, agents: AgentSet, where: str) -> None:
    """Hold one answer to the contract; an abstention is fine.

    Raises:
        AssertionError: saying which part of the proposal is wrong.
    """
    if proposal is None:
        return
    require(isinstance(proposal, Proposal), f"{where}: propose must return a Proposal or None, got {_kind(proposal)}")
    confidence = proposal.confidence
    require(confidence is None or 0.0 <= confidence <= 1.0, f"{where}: confidence {confidence!r} is not within 0 to 1")
    evidence = proposal.evidence() if callable(proposal.evidence) else proposal.evidence
    known = evidence is None or isinstance(evidence, Mapping)
    require(known, f"{where}: evidence must be a mapping, got {_kind(evidence)}")
    if proposal.no_agent_fits:
        return
    given = proposal.probabilities
    missing, foreign = set(agents.names) - set(given), set(given) - set(agents.names)
    require(not missing, f"{where}: no probability for {_some(missing)}")
    require(not foreign, f"{where}: a probability for {_some(foreign)}, who was not among the agents")
    for name, share in given.items():
        require(math.isfinite(share) and share >= 0.0, f"{where}: the probability of {name!r} is {share!r}")
    total = math.fsum(given.values())
    require(abs(total - 1.0) <= TOLERANCE, f"{where}: the probabilities sum to {total!r}, not to 1")
    for name, score in (proposal.scores or {}).items():
        require(name in agents.positions, f"{where}: a score for {name!r}, who was not among the agents")
        require(not math.isnan(score), f"{where}: the score of {name!r} is NaN")


def require_same(left: Sequence[Proposal | None], right: Sequence[Proposal | None], where: str) -> None:
    """Hold two lists of answers to be equal within 1e-9.

    Raises:
        AssertionError: naming the first difference.
    """
    require(len(left) == len(right), f"{where}: {len(left)} answers against {len(right)}")
    for position, (one, other) in enumerate(zip(left, right, strict=True)):
        difference = _difference(one, other)
        require(difference is None, f"{where}: task {position}: {difference}")


def same(one: Proposal | None, other: Proposal | None) -> bool:
    """Whether two answers are equal within 1e-9."""
    return _difference(one, other) is None


def _difference(one: Proposal | None, other: Proposal | None) -> str | None:
    if one is None or other is None:
        return None if one is other else f"{_shown(one)} against {_shown(other)}"
    if one.no_agent_fits or other.no_agent_fits:
        return None if one.no_agent_fits == other.no_agent_fits else f"{_shown(one)} against {_shown(other)}"
    if one.confidence is None or other.confidence is None:
        if one.confidence is not other.confidence:
            return f"confidence {one.confidence} against {other.confidence}"
    elif abs(one.confidence - other.confidence) > TOLERANCE:
        return f"confidence {one.confidence} against {other.confidence}"
    return _unequal("probability", one.probabilities, other.probabilities) or _unequal(
        "score", one.scores or {}, other.scores or {}
    )


def _unequal(what: str, one: Mapping[str, float], other: Mapping[str, float]) -> str | None:
    if one.keys() != other.keys():
        return f"a {what} for {_some(one.keys() ^ other.keys())} in only one of the two"
    for name, value in one.items():
        if value != other[name] and not abs(value - other[name]) <= TOLERANCE * max(1.0, abs(value)):
            return f"{what} of {name!r} is {value} against {other[name]}"
    return None


def _shown(proposal: Proposal | None) -> str:
    if proposal is None:
        return "an abstention"
    return "no agent fits" if proposal.no_agent_fits else "a proposal"


def _some(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(repr(name) for name in shown) + (" …" if len(names) > 3 else "")


def _kind(value: object) -> str:
    # Not its repr: that of arrays takes longer than the check.
    return type(value).__name__
