"""What a request sees of an update that is half done: nothing."""

from __future__ import annotations

from functools import partial

from router_sdk.records import AgentSet
from router_sdk.testing.comparison import require, require_valid, same
from router_sdk.testing.interleaving import Interleaved
from router_sdk.testing.trial import LESSONS, Trial


def publishes_in_one_step(trial: Trial) -> None:
    """Between any two lines of ``learn`` a request is answered as before it or as after it, and never waits."""
    strategy = trial.taught()
    requests = Interleaved(strategy, partial(trial.ask_all, strategy))
    for lesson in [lesson for lesson in trial.lessons(first=LESSONS + 1) if lesson.reward is not None][:3]:
        before = trial.ask_all(strategy)
        within = requests.run(partial(strategy.learn, [lesson]))
        after = trial.ask_all(strategy)
        require(not requests.waited, "a request had to wait until it had learnt")
        for answers in within:
            for position, found in enumerate(answers):
                require(
                    same(found, before[position]) or same(found, after[position]),
                    f"task {position}: while it learnt one example, an answer was neither the old nor the new one",
                )
    for answers in requests.run(partial(strategy.prepare, AgentSet(trial.agents[:-1]))):
        for position, found in enumerate(answers):
            require_valid(found, trial.agents, f"within prepare, task {position}")
    require(not requests.waited, "a request had to wait until it had prepared")
