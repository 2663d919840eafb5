"""The chain of strategies: the first that does not abstain decides, and a faulty one is passed over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router_sdk.errors import UnknownStrategyError
from router_sdk.isolation import FAULTS, let_end
from router_sdk.records import AgentSet, Distribution, Skipped, Task
from router_sdk.records.record import blame
from router_sdk.routing.finishing import finish, uniform
from router_sdk.strategy import Strategy

if TYPE_CHECKING:
    from router_sdk.routing.request import RequestContext
    from router_sdk.strategy import Proposal

_log = logging.getLogger(__name__)

Answer = tuple[Distribution, tuple[Skipped, ...]]


class Stage:
    """A strategy in its place in the chain.

    Attributes:
        strategy: Who proposes.
        model_version: Which fitted version, or None.
        failures: How often it raised or proposed nonsense.
        answers: How often it decided.
    """

    __slots__ = ("_abstained", "answers", "failures", "model_version", "name", "strategy", "threshold")

    def __init__(self, strategy: Strategy, model_version: int | None = None) -> None:
        self.strategy = strategy
        self.name = strategy.name
        self.threshold = strategy.config.confidence_threshold
        self.model_version = model_version
        self.failures = self.answers = 0
        self._abstained = Skipped(self.name, "abstained")

    def judge(self, proposal: Proposal | None, agents: AgentSet, epsilon: float) -> Distribution | Skipped:
        """The finished distribution, or why it does not count.

        Raises:
            InvalidProposalError: if the proposal is not a distribution over the agents.
        """
        if proposal is None:
            return self._abstained
        finished = proposal.distribution
        if finished is None or finished.agents.set_id != agents.set_id:
            finished = finish(proposal, agents, epsilon, self.name, self.model_version)
        confidence = finished.confidence or 0.0
        if confidence < self.threshold:
            return Skipped(self.name, f"confidence {confidence:.3f} is below {self.threshold:g}")
        return finished

    def failed(self, error: BaseException) -> Skipped:
        """Count and log a fault: the first of a strategy loudly, the rest at debug level."""
        let_end(error)
        self.failures += 1
        _log.log(
            logging.WARNING if self.failures == 1 else logging.DEBUG, "strategy %s failed", self.name, exc_info=error
        )
        return Skipped(self.name, f"failed: {blame(error)}")

    def report(self) -> Mapping[str, Any]:
        """What the strategy says of itself."""
        try:
            return dict(self.strategy.report())
        except FAULTS as error:
            return {"report": self.failed(error).reason}

    def expected(self) -> Mapping[str, Mapping[str, float]]:
        """What the strategy expects of each agent."""
        try:
            return dict(self.strategy.expected())
        except FAULTS as error:
            self.failed(error)
            return {}

    def warm_up(self) -> str | None:
        """Wait until the strategy is ready; why it cannot get so, or None."""
        try:
            return self.strategy.warm_up()
        except FAULTS as error:
            return self.failed(error).reason

    def after_fork(self) -> None:
        """In a child: what of the strategy must not be shared."""
        try:
            self.strategy.after_fork()
        except FAULTS as error:
            self.failed(error)


class Chain:
    """The stages, in order, and the exploration floor."""

    __slots__ = ("_uniform", "epsilon", "rules", "stages")

    def __init__(self, stages: Sequence[Stage], epsilon: float) -> None:
        self.stages = tuple(stages)
        self.epsilon = epsilon
        self.rules = tuple(stage for stage in stages if type(stage.strategy).restrict is not Strategy.restrict)
        self._uniform: dict[int, Distribution] = {}

    def stage(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            UnknownStrategyError: if there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UnknownStrategyError(f"the chain has no strategy {name!r}; there are {[one.name for one in self.stages]}")

    def replace(self, stage: Stage) -> None:
        """Put a stage in the place of the one of its name: a request sees the old chain or the new one."""
        found = self.stage(stage.name)
        stage.answers, stage.failures = found.answers, found.failures
        self.stages = tuple(stage if old is found else old for old in self.stages)
        self.rules = tuple(stage if old is found else old for old in self.rules)

    def choose(self, task: Task, agents: AgentSet, context: RequestContext) -> Answer:
        """Ask one stage after the other."""
        skipped: tuple[Skipped, ...] = ()
        for stage in self.stages:
            verdict: Distribution | Skipped
            try:
                verdict = stage.judge(stage.strategy.propose(task, agents, context), agents, self.epsilon)
            except FAULTS as error:
                verdict = stage.failed(error)
            if isinstance(verdict, Distribution):
                stage.answers += 1
                return verdict, skipped
            skipped = (*skipped, verdict)
        return self._nobody(agents), skipped

    def choose_batch(self, tasks: Sequence[Task], agents: AgentSet, contexts: Sequence[RequestContext]) -> list[Answer]:
        """``choose`` for many tasks over the same agents, a stage at a time."""
        answers: dict[int, Answer] = {}
        skipped: list[tuple[Skipped, ...]] = [()] * len(tasks)
        for stage in self.stages:
            left = [i for i in range(len(tasks)) if i not in answers]
            try:
                proposals = stage.strategy.propose_batch([tasks[i] for i in left], agents, [contexts[i] for i in left])
                if len(proposals) != len(left):
                    raise ValueError(f"propose_batch gave {len(proposals)} answers for {len(left)} tasks")
            except FAULTS as error:
                fault = stage.failed(error)
                for i in left:
                    skipped[i] = (*skipped[i], fault)
                continue
            for i, proposal in zip(left, proposals, strict=True):
                verdict: Distribution | Skipped
                try:
                    verdict = stage.judge(proposal, agents, self.epsilon)
                except FAULTS as error:
                    verdict = stage.failed(error)
                if isinstance(verdict, Distribution):
                    stage.answers += 1
                    answers[i] = (verdict, skipped[i])
                else:
                    skipped[i] = (*skipped[i], verdict)
        return [answers.get(i) or (self._nobody(agents), skipped[i]) for i in range(len(tasks))]

    def _nobody(self, agents: AgentSet) -> Distribution:
        found = self._uniform.get(agents.set_id)
        if found is None or found.agents is not agents:
            found = self._uniform[agents.set_id] = uniform(agents)
        return found

    def finish_published(self) -> None:
        """Finish what the strategies published, so that no request has to. Off the hot path."""
        for stage in self.stages:
            try:
                for proposal, agents in stage.strategy.published():
                    finish(proposal, agents, self.epsilon, stage.name, stage.model_version)
            except FAULTS as error:
                stage.failed(error)
