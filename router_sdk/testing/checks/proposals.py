"""What a strategy answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.records import AgentSet
from router_sdk.testing.comparison import require, require_same, require_valid

if TYPE_CHECKING:
    from router_sdk.testing.trial import Trial


def proposes_distributions(trial: Trial) -> None:
    """Probabilities of at least 0 that sum to 1 over exactly the given agents, new and taught."""
    subsets = [trial.agents, AgentSet(trial.agents[:2]), AgentSet(trial.agents[-1:])]
    for age, strategy in (("new", trial.prepared()), ("taught", trial.taught())):
        for agents in subsets:
            for position, proposal in enumerate(trial.ask_all(strategy, agents)):
                require_valid(proposal, agents, f"{age}, {len(agents)} agents, task {position}")
        for proposal, agents in strategy.published():
            require_valid(proposal, agents, f"{age}, published")


def answers_at_all(trial: Trial) -> None:
    """Once taught, it answers at least one of the tasks."""
    if trial.must_answer:
        answered = any(proposal is not None for proposal in trial.ask_all(trial.taught()))
        require(answered, "it abstained on every task; give tasks it can answer, or pass must_answer=False")


def ignores_the_order_of_agents(trial: Trial) -> None:
    """The same agents in another order get the same probabilities."""
    strategy = trial.taught()
    forwards = trial.ask_all(strategy)
    backwards = trial.ask_all(strategy, AgentSet(trial.agents[::-1]))
    require_same(forwards, backwards, "the agents in reverse order")
    turned = trial.ask_all(strategy, AgentSet((*trial.agents[1:], trial.agents[0])))
    require_same(forwards, turned, "the first agent last")


def repeats_itself_from_one_seed(trial: Trial) -> None:
    """Two strategies with one seed and one past give the same answers."""
    require_same(trial.ask_all(trial.taught()), trial.ask_all(trial.taught()), "two builds from one seed")


def answers_batches_like_single_requests(trial: Trial) -> None:
    """A batch holds what single requests would have answered, in order."""
    strategy = trial.taught()
    batch = strategy.propose_batch(trial.tasks, trial.agents, [trial.context(task) for task in trial.tasks])
    require_same(batch, trial.ask_all(strategy), "a batch against single requests")
    require(not strategy.propose_batch([], trial.agents, []), "an empty batch has an answer")
