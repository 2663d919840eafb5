"""Replaying a data set through a real router, one round at a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router_sdk.records import Decision, Outcome, Task
from router_sdk.rewards import checked_reward

if TYPE_CHECKING:
    from router_sdk.router import Router

Answer = Mapping[str, float] | str | None | Callable[[Decision], Outcome]
"""A score in [0, 1] per agent, the right agent's name, None for "no agent fits", or a function of the decision."""


@dataclass(slots=True)
class Replay:
    """What a replay gave, round by round.

    Attributes:
        decisions: One per row.
        rewards: Reward of each decision under the router's reward function; None where nothing is known.
    """

    decisions: list[Decision] = field(default_factory=list)
    rewards: list[float | None] = field(default_factory=list)

    @property
    def mean_reward(self) -> float:
        """Mean over the rounds whose reward is known; NaN without any."""
        known = [reward for reward in self.rewards if reward is not None]
        return sum(known) / len(known) if known else float("nan")


def replay(
    router: Router,
    rows: Iterable[tuple[Task | str | Mapping[str, Any], Answer]],
    *,
    delay: Callable[[int], int] = lambda round_: 0,
) -> Replay:
    """Route each row, deliver its bandit feedback, and wait until it is learnt before the next outcome is delivered.

    So a replay with a seeded router gives the same decisions every time, and learns as online as is possible.

    Args:
        router: The router; its real log and its real learner are used.
        rows: Tasks with what each agent would have earned.
        delay: Round number to the number of rounds after which the outcome arrives.
    """
    result = Replay()
    late: list[tuple[int, int, Decision, Outcome]] = []

    def deliver(upto: float) -> None:
        while late and late[0][0] <= upto:
            _, _, decision, outcome = heapq.heappop(late)
            router.record(decision, outcome)
            router.flush()

    for round_, (task, answer) in enumerate(rows):
        deliver(round_)
        decision = router.route(task)
        outcome = _outcome(decision, answer)
        result.decisions.append(decision)
        result.rewards.append(checked_reward(router.reward, outcome.signals(), decision.agent))
        heapq.heappush(late, (round_ + delay(round_), round_, decision, outcome))
        deliver(round_)
    deliver(float("inf"))
    return result


def _outcome(decision: Decision, answer: Answer) -> Outcome:
    if callable(answer):
        return answer(decision)
    if isinstance(answer, Mapping):
        return Outcome(quality=float(answer.get(decision.agent or "", 0.0)))
    return Outcome(quality=float(decision.agent == answer))
