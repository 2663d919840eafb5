"""What a request must not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.records import Task
from router_sdk.testing.comparison import require, require_same

if TYPE_CHECKING:
    from router_sdk.testing.trial import Trial


def leaves_its_arguments_alone(trial: Trial) -> None:
    """``propose`` and ``restrict`` change neither the task nor the agents."""
    strategy = trial.taught()
    agents_before = [agent.model_dump() for agent in trial.agents]
    for position, task in enumerate(trial.tasks):
        before = _copy(task)
        strategy.restrict(task, trial.agents, trial.context(task))
        trial.ask(strategy, task)
        require(_copy(task) == before, f"task {position}: it was changed by being routed")
    require([agent.model_dump() for agent in trial.agents] == agents_before, "an agent was changed by routing")


def keeps_requests_apart(trial: Trial) -> None:
    """Other people's requests in between change no answer."""
    strategy = trial.taught()
    before = trial.ask_all(strategy)
    for number, task in enumerate(trial.tasks):
        other = task.model_copy(update={"session_id": f"other-{number}", "tenant": "other"})
        context = trial.context(other, history=trial.agents.names)
        strategy.restrict(other, trial.agents, context)
        strategy.propose(other, trial.agents, context)
    stranger = Task("something quite different")
    strategy.propose(stranger, trial.agents, trial.context(stranger))
    require_same(before, trial.ask_all(strategy), "after requests of another session")


def _copy(task: Task) -> dict[str, Any]:
    return task.model_dump(mode="python")
