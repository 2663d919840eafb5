"""The context-free policy: one proposal per task type and agent set, built when the evidence changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.plugin import Proposal
from router_sdk_thompson.beta_posterior import BetaPosterior, posterior
from router_sdk_thompson.chances import chances
from router_sdk_thompson.joint_draws import beta_draws

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_sdk.plugin import AgentSet
    from router_sdk_thompson.cells import CellEvidence
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.ledger import Ledger, Price


class CellPolicy:
    """Turns the evidence of a task type into a proposal.

    Args:
        config: The strategy's configuration.
        seed: Seed of the joint draws.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self._config = config
        self._seed = seed

    def propose(self, evidence: CellEvidence, ledger: Ledger, task_type: str, agents: AgentSet) -> Proposal | None:
        """The proposal for this state of the evidence; None below ``min_evidence``.

        Agents are handled in the order of their names, so that a permutation of them changes nothing.
        """
        config = self._config
        names = sorted(agents.names)
        tallies = evidence.tally(task_type, names)
        # Fading shaves a little off within minutes; that shall not count as an observation less.
        if round(sum([here.mass for here, _ in tallies]), 1) < config.min_evidence or not names:
            return None
        beliefs = [
            posterior(agents[agents.positions[name]], here, elsewhere, config)
            for name, (here, elsewhere) in zip(names, tallies, strict=True)
        ]
        shares = self._chances(agents, names, beliefs, f"{task_type}\0{evidence.events}", ledger)
        found = dict(zip(names, shares, strict=True))
        probabilities = {name: found[name] for name in agents.names}
        means = {name: belief.mean for name, belief in zip(names, beliefs, strict=True)}
        favourite = max(names, key=lambda name: (found[name], means[name]))

        def explain() -> Mapping[str, Any]:
            return {
                "mode": "task_type",
                "task_type": task_type,
                "agents": _explained(names, beliefs, ledger.prices(agents)),
            }

        return Proposal(probabilities, means, means[favourite], explain)

    def _chances(
        self, agents: AgentSet, names: list[str], beliefs: list[BetaPosterior], state: str, ledger: Ledger
    ) -> list[float]:
        sampling, seed = self._config.sampling, f"{self._seed}\0{state}"
        quality_alone = ledger.quality_alone
        if sampling == "independent" and quality_alone:
            return beta_draws([belief.alpha for belief in beliefs], [belief.beta for belief in beliefs], seed)
        means = [belief.mean for belief in beliefs]
        widths = [belief.width for belief in beliefs]
        if not quality_alone:
            means, widths = ledger.utility(ledger.prices(agents), names, means, widths)
        return chances(sampling, names, means, widths, seed)


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
