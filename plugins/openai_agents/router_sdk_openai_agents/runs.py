"""A run that the router knows of: who begins, who takes over, and how each of them did."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from agents import Agent, RunHooks, UserError

from router_sdk import Decision, Outcome, Router, Task
from router_sdk_openai_agents.conversation import text_of
from router_sdk_openai_agents.handoffs import refuse_strangers

Prices = Mapping[str, tuple[float, float]]
"""By agent: US dollars for a million tokens in, and out."""

_log = logging.getLogger(__name__)


def pick(
    router: Router,
    agents: Sequence[Agent[Any]],
    task: Task | str | Sequence[Any],
    *,
    exclude: Collection[str] = (),
    prices: Prices | None = None,
) -> RoutedRun:
    """A run that begins with the agent that the router chooses.

    ::

        async with pick(router, [billing, technical], text) as run:
            result = await Runner.run(run.agent, text, hooks=run)

    Args:
        router: Who decides and learns. Its agents have the names of these.
        agents: Whom it may choose.
        task: What is to be done: a task, or what the runner gets, of which the user's words are routed.
        exclude: Names that must not be chosen.
        prices: By agent, US dollars for a million tokens in and out; who has none costs an unknown amount.

    Raises:
        ValueError: if an agent is none of the router's, or two have one name.
    """
    names = [agent.name for agent in agents]
    if len(set(names)) < len(names):
        raise ValueError(f"agents: names must be unique, got {sorted(names)}")
    refuse_strangers(router, names)
    return RoutedRun(router, task, agents, exclude, prices or {})


def watch(router: Router, task: Task | str | Sequence[Any], *, prices: Prices | None = None) -> RoutedRun:
    """A run that begins with an agent of your own, such as one for triage.

    The router learns who took over, and how that went. See ``pick``.
    """
    return RoutedRun(router, task, (), (), prices or {})


class _Visit:
    """One agent at work, from when it takes over to when it is done."""

    def __init__(self, agent: str, usage: Any, price: tuple[float, float] | None) -> None:
        self.agent = agent
        self._usage, self._price = usage, price  # the SDK adds to it as the run goes on
        self._started, self._before = time.perf_counter(), _tokens(usage)
        self._took: dict[str, Any] | None = None

    def end(self) -> dict[str, Any]:
        """What it took until this was first asked, as fields of an outcome: time, tokens, and money where known."""
        if self._took is None:
            self._took = {"latency_ms": (time.perf_counter() - self._started) * 1_000}
            given, taken, total = (now - old for now, old in zip(_tokens(self._usage), self._before, strict=True))
            if total > 0:
                self._took["tokens"] = total
                if self._price is not None:
                    self._took["cost_usd"] = (given * self._price[0] + taken * self._price[1]) / 1e6
        return self._took


def _tokens(usage: Any) -> tuple[int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.total_tokens


class RoutedRun(RunHooks[Any]):
    """Hooks for one run of the runner, and the context in which it runs; see ``pick`` and ``watch``.

    Each of the router's agents that works is told of once for each time it works: a hand-off and a final output are
    successes, the latter once the context is left, because guardrails on the output come after it. A guardrail that
    trips, too many turns, and whatever else ends the run with an exception, are failures of the agent that was at work.
    A cancelled run, a misuse of the SDK (``UserError``) and a run that waits for approval tell of nothing; enter the
    same object again to go on with one that has waited. A streamed run that goes on after the context was left tells of
    a final output at once, and of nothing else. Of who began by the router's decision it is the outcome; who took over
    was the model's choice, and is observed. What cannot be recorded stands in the program's log: the run goes on.

    Attributes:
        decision: The router's, once it was entered; None with ``watch``.
        agent: Whom to run; set on entering, by ``pick`` alone.
    """

    def __init__(
        self,
        router: Router,
        task: Task | str | Sequence[Any],
        agents: Sequence[Agent[Any]],
        exclude: Any,
        prices: Prices,
    ) -> None:
        super().__init__()
        self._router, self._prices, self._exclude = router, prices, exclude
        self._task = task if isinstance(task, Task) else Task(text_of(task))
        self._agents = {agent.name: agent for agent in agents}
        self._open: list[_Visit] = []
        self._finished: list[_Visit] = []
        self._told = self._entered = False
        self.decision: Decision | None = None
        self.agent: Any = None

    async def __aenter__(self) -> Self:
        if self._agents and self.decision is None:
            others = {agent.name for agent in self._router.agents} - self._agents.keys()
            self.decision = await self._router.aroute(self._task, exclude=others | set(self._exclude))
            self.agent = self._agents.get(self.decision.agent or "")
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        worked = [*self._finished, *self._open[-1:]]
        last = worked.pop() if worked and (error is not None or self._open) else None
        for visit in worked:
            await self._tell(visit, success=True)
        self._finished.clear()
        if error is None:  # what is open waits for approval, and goes on when this is entered again
            return
        self._open.clear()
        # The SDK has an error that is both an exception and a cancellation; unknown is not failure.
        if not isinstance(error, Exception) or isinstance(error, (asyncio.CancelledError, UserError)):
            return
        words = Outcome.error_text(error)
        if last is not None:
            await self._tell(last, error=words)
        elif self.decision is not None and self.decision.agent is not None and not self._told:
            await self._record(self.decision, error=words)  # it ended before an agent began

    async def on_agent_start(self, context: Any, agent: Any) -> None:
        """An agent takes over."""
        self._open.append(_Visit(agent.name, context.usage, self._prices.get(agent.name)))

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        """It hands over."""
        for visit in self._ended(from_agent):
            await self._tell(visit, success=True)

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        """It has a final output, which a guardrail may yet refuse."""
        if self._entered:
            self._finished += self._ended(agent)
            return
        for visit in self._ended(agent):  # nobody leaves the context any more
            await self._tell(visit, success=True)

    def _ended(self, agent: Any) -> list[_Visit]:
        """The newest visit of an agent, which is open no longer."""
        found = [one for one in self._open if one.agent == agent.name][-1:]
        for visit in found:
            visit.end()
            self._open.remove(visit)
        return found

    async def _tell(self, visit: _Visit, **how: Any) -> None:
        if self.decision is not None and self.decision.agent == visit.agent and not self._told:
            await self._record(self.decision, **how, **visit.end())
        elif visit.agent in {agent.name for agent in self._router.agents}:
            await self._record(visit.agent, **how, **visit.end())

    async def _record(self, whose: Decision | str, **fields: Any) -> None:
        """The outcome of the decision, or of an agent that took over."""
        try:
            if isinstance(whose, Decision):
                self._told = True
                await self._router.arecord(whose, Outcome(**fields))
            else:
                await asyncio.to_thread(self._router.observe, self._taken_over(), whose, Outcome(**fields))
        except Exception:
            name = whose.agent if isinstance(whose, Decision) else whose
            _log.exception("the run goes on without the outcome of %s", name)

    def _taken_over(self) -> Task:
        """The task as whoever takes over gets it: it follows from the router's decision, if there was one."""
        if self.decision is None or self._task.parent_decision_id is not None:
            return self._task
        return self._task.model_copy(update={"parent_decision_id": self.decision.decision_id})
