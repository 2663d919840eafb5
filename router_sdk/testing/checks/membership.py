"""Agents that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.records import Agent, AgentSet
from router_sdk.testing.comparison import require_same, require_valid
from router_sdk.testing.scenario import many_agents

if TYPE_CHECKING:
    from router_sdk.testing.trial import Answers, Trial

MANY = 1_000


def copes_as_agents_come_and_go(trial: Trial) -> None:
    """One agent, a thousand, a newcomer it was not prepared for, and back: valid, and nothing is lost."""
    strategy = trial.taught()
    before = trial.ask_all(strategy)
    newcomer = AgentSet([Agent("a newcomer", description="payments"), *trial.agents[1:]])
    _require_all_valid(trial, newcomer, trial.ask_all(strategy, newcomer), "a newcomer before prepare")
    for agents, where in (
        (newcomer, "a newcomer"),
        (AgentSet(trial.agents[:1]), "one agent"),
        (many_agents(MANY), f"{MANY} agents"),
    ):
        strategy.prepare(agents)
        _require_all_valid(trial, agents, trial.ask_all(strategy, agents), where)
    strategy.prepare(trial.agents)
    require_same(before, trial.ask_all(strategy), "the first agents again")
    strategy.forget_agents(trial.agents.names[:1])
    strategy.forget_examples([example.decision_id for example in trial.lessons()])
    _require_all_valid(trial, trial.agents, trial.ask_all(strategy), "after forgetting")


def _require_all_valid(trial: Trial, agents: AgentSet, answers: Answers, where: str) -> None:
    for position, proposal in enumerate(answers):
        require_valid(proposal, agents, f"{where}, task {position}")
