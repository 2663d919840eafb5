"""A strategy's proposal, checked, with the exploration floor mixed in, ready to sample from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidProposalError
from router_sdk.records import AgentSet, Distribution
from router_sdk.strategy import Proposal

if TYPE_CHECKING:
    from router_sdk.numerics.calibration import Calibrator

UNIFORM = "uniform"
"""What a decision names where no strategy had an answer."""

_TOLERANCE = 1e-6


def finish(
    proposal: Proposal,
    agents: AgentSet,
    epsilon: float,
    strategy: str,
    model_version: int | None = None,
    calibrator: Calibrator | None = None,
) -> Distribution:
    """Mix ``epsilon / k`` into each agent's probability, calibrate the confidence, and keep the result on the proposal.

    A proposal that was finished for the same agents is not finished again; where it was calibrated by something else,
    its confidence is. With one agent there is no floor.

    Raises:
        InvalidProposalError: if a probability is missing, negative or not finite, names an unknown agent, or if
            they do not sum to 1 within 1e-6; or if the confidence is outside [0, 1] or a score not finite.
    """
    done = proposal.distribution
    if done is not None and done.agents.set_id == agents.set_id:
        if done.calibrator is not calibrator:
            done = proposal.distribution = done.calibrated_by(calibrator)
        return done
    names, given = agents.names, proposal.probabilities
    confidence = proposal.confidence
    if confidence is not None:
        if not 0.0 <= confidence <= 1.0:
            raise InvalidProposalError(f"confidence is {confidence!r}; it must lie in [0, 1]")
        confidence = float(confidence)  # numpy's float32 is no number to the log
    if proposal.scores is not None and not math.isfinite(sum(proposal.scores.values())):
        raise InvalidProposalError("scores must be finite numbers")
    if proposal.no_agent_fits:
        weights: list[float] = []
        favourite = -1
        epsilon = 0.0
    else:
        weights, favourite = _checked(given, names)
        if confidence is None:
            confidence = min(weights[favourite], 1.0)
        if len(weights) == 1:
            epsilon = 0.0
        if epsilon:
            floor, kept = epsilon / len(weights), 1.0 - epsilon
            weights = [floor + kept * weight for weight in weights]
    finished = Distribution(
        agents,
        tuple(weights),
        favourite,
        confidence,
        proposal.scores,
        proposal.evidence,
        strategy,
        model_version,
        epsilon,
    )
    if calibrator is not None:
        finished = finished.calibrated_by(calibrator)
    proposal.distribution = finished
    return finished


def _checked(given: object, names: tuple[str, ...]) -> tuple[list[float], int]:
    try:
        weights = [float(given[name]) for name in names]  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidProposalError(f"probabilities must give a number to each of {list(names)[:20]}") from error
    if len(given) != len(names):  # type: ignore[arg-type]
        unknown = sorted(str(name) for name in set(given) - set(names))[:5]  # type: ignore[call-overload]
        raise InvalidProposalError(f"probabilities name {unknown}, who are not among the agents")
    total = math.fsum(weights)
    if not abs(total - 1.0) <= _TOLERANCE or min(weights) < 0.0:
        raise InvalidProposalError(f"probabilities must be at least 0 and sum to 1, they sum to {total!r}")
    weights = [weight / total for weight in weights]
    return weights, weights.index(max(weights))


def uniform(agents: AgentSet) -> Distribution:
    """What is left when no strategy answers: everybody alike."""
    share = 1.0 / len(agents)
    proposal = Proposal(dict.fromkeys(agents.names, share), evidence={"reason": "no strategy had an answer"})
    return finish(proposal, agents, 0.0, UNIFORM)
