"""The context-free policy: one proposal per task type and agent set, built when the evidence changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.plugin import Proposal
from router_sdk_thompson.policy.proposal import beta_draws, choice_probabilities
from router_sdk_thompson.posteriors.beta import NOTHING, BetaPosterior, Tally, posterior
from router_sdk_thompson.priors.tables import MOST_MASS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_sdk.plugin import Agent, AgentSet
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.objectives.estimates import Estimates, Price
    from router_sdk_thompson.posteriors.cells import CellEvidence


class ContextFreePolicy:
    """Turns the evidence of a task type into a proposal.

    Args:
        config: The strategy's configuration.
        seed: Seed of the joint draws.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self._config = config
        self._seed = seed

    def primed(self, task_type: str) -> bool:
        """Whether a table of priors, or another type's posterior, says something of this type."""
        return task_type in self._config.priors or task_type in self._config.inherit

    def beliefs(
        self, evidence: CellEvidence, task_type: str, agents: AgentSet, names: Sequence[str]
    ) -> tuple[list[BetaPosterior], float]:
        """Posteriors of these agents on a task type, and the observations behind them, given priors included."""
        config = self._config
        tallies = evidence.tally(task_type, names)
        known = config.priors.get(task_type, {})
        inherits = config.inherit.get(task_type)
        most = config.borrowed_mass
        if inherits is not None:
            share, most = inherits.discount, MOST_MASS
            sources = evidence.tally(inherits.source, names)
            tallies = [
                (here, Tally(share * source.mass, share * source.reward) if source.mass > 0.0 else elsewhere)
                for (here, elsewhere), (source, _) in zip(tallies, sources, strict=True)
            ]
        found = [
            posterior(agents[agents.positions[name]], here, lent, config, known.get(name), most)
            for name, (here, lent) in zip(names, tallies, strict=True)
        ]
        mass = sum([belief.evidence for belief in found]) + sum([known[name].mass for name in names if name in known])
        if inherits is not None:
            mass += sum([belief.borrowed for belief in found])
        return found, mass

    def overall(self, evidence: CellEvidence, agent: Agent) -> float:
        """Expected reward of an agent over all task types."""
        ((_, everywhere),) = evidence.tally("", [agent.name])
        return posterior(agent, everywhere, NOTHING, self._config).mean

    def propose(
        self, evidence: CellEvidence, estimates: Estimates, task_type: str, agents: AgentSet
    ) -> Proposal | None:
        """The proposal for this state of the evidence; None below ``min_evidence``.

        Agents are handled in the order of their names, so that a permutation of them changes nothing.
        """
        names = sorted(agents.names)
        beliefs, mass = self.beliefs(evidence, task_type, agents, names)
        # Fading shaves a little off within minutes; that shall not count as an observation less.
        if round(mass, 1) < self._config.min_evidence or not names:
            return None
        means = [belief.mean for belief in beliefs]
        widths = [belief.width for belief in beliefs]
        heights = means
        if not estimates.quality_alone:
            heights, widths = estimates.utility(agents, names, means, widths)
        state = f"{self._seed}\0{task_type}\0{evidence.events}"
        if self._config.sampling == "independent" and estimates.quality_alone:
            shares = beta_draws([belief.alpha for belief in beliefs], [belief.beta for belief in beliefs], state)
        else:
            shares = choice_probabilities(self._config.sampling, names, heights, widths, state)
        found = dict(zip(names, shares, strict=True))
        favourite = max(range(len(names)), key=lambda place: (shares[place], means[place]))

        def explain() -> Mapping[str, Any]:
            return {
                "mode": "task_type",
                "task_type": task_type,
                "sampling": self._config.sampling,
                "agents": _explained(names, beliefs, estimates.prices(agents)),
            }

        scores = dict(zip(names, heights, strict=True))
        return Proposal({name: found[name] for name in agents.names}, scores, means[favourite], explain)


def _explained(
    names: list[str], beliefs: list[BetaPosterior], prices: Mapping[str, Price]
) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "mean": belief.mean,
            "interval": belief.interval(),
            "evidence": belief.evidence,
            "borrowed": belief.borrowed,
            **prices[name]._asdict(),
        }
        for name, belief in zip(names, beliefs, strict=True)
    }
