"""What a request must not change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from router_sdk.records import Task
from router_sdk.testing.comparison import require, require_same
from router_sdk.testing.interleaving import Interleaved

if TYPE_CHECKING:
    from router_sdk.strategy import Strategy
    from router_sdk.testing.trial import Answers, Trial


def leaves_its_arguments_alone(trial: Trial) -> None:
    """``propose`` and ``restrict`` change neither the task nor the agents."""
    strategy = trial.taught()
    agents_before = [agent.model_dump() for agent in trial.agents]
    for position, task in enumerate(trial.tasks):
        before = task.model_dump()
        strategy.restrict(task, trial.agents, trial.context(task))
        trial.ask(strategy, task)
        require(task.model_dump() == before, f"task {position}: it was changed by being routed")
    require([agent.model_dump() for agent in trial.agents] == agents_before, "an agent was changed by routing")


def keeps_requests_apart(trial: Trial) -> None:
    """Other people's requests, before or at the same time, change no answer."""
    strategy = trial.taught()
    before = trial.ask_all(strategy)
    others = Interleaved(strategy, partial(_ask_as_another, trial, strategy))
    for position, task in enumerate(trial.tasks):
        answers: Answers = []
        others.run(lambda given=task, kept=answers: kept.append(trial.ask(strategy, given)))  # type: ignore[misc]
        require_same(before[position : position + 1], answers, f"task {position} during another session's requests")
    require_same(before, trial.ask_all(strategy), "after another session's requests")


def _ask_as_another(trial: Trial, strategy: Strategy) -> Answers:
    tasks = [task.model_copy(update={"session_id": "another", "tenant": "another"}) for task in trial.tasks]
    tasks.append(Task("something quite different", session_id="another", tenant="another"))
    answers = []
    for task in tasks:
        context = trial.context(task, history=trial.agents.names)
        strategy.restrict(task, trial.agents, context)
        answers.append(strategy.propose(task, trial.agents, context))
    return answers
