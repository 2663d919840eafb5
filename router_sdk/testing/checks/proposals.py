"""What a strategy answers, and what answering leaves alone."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING

from router_sdk.errors import CorruptArtifactError
from router_sdk.records import Agent, AgentSet, Task
from router_sdk.store.artifacts import plain_name
from router_sdk.strategy import Strategy, StrategyConfig
from router_sdk.testing.checks.concurrency import Interleaved
from router_sdk.testing.comparison import require, require_same, require_valid
from router_sdk.testing.examples import many_agents

if TYPE_CHECKING:
    from router_sdk.testing.trial import Answers, Trial

MANY = 1_000


def declares_what_the_router_calls(trial: Trial) -> None:
    """It has a name and a config, and its methods take the contract's arguments without defaults."""
    kind = type(trial.build())
    name = getattr(kind, "name", None)
    require(isinstance(name, str), "its class has no name")
    try:
        plain_name(name)
    except CorruptArtifactError as error:
        raise AssertionError(f"its name cannot serve: {error}") from None
    require(issubclass(kind.Config, StrategyConfig), "its Config does not derive from StrategyConfig")
    for method, promised in inspect.getmembers(Strategy, inspect.isfunction):
        if not method.startswith("_"):
            _require_signature(kind, method, promised)


def _require_signature(kind: type[Strategy], method: str, promised: object) -> None:
    found = getattr(kind, method)
    if found is promised:
        return
    expected = list(inspect.signature(getattr(Strategy, method)).parameters)
    given = inspect.signature(found).parameters
    require(
        list(given) == expected,
        f"{method} takes ({', '.join(given)}); the router calls it with ({', '.join(expected)})",
    )
    for parameter in given.values():
        require(
            parameter.default is inspect.Parameter.empty,
            f"{method} gives {parameter.name!r} a default, which hides an argument that was not passed",
        )


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
