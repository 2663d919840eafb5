"""The chain of strategies: the first that does not abstain decides, and a faulty one is passed over.

Those at its front that are compared are all asked, first the one that earns most on the task's type.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, UnknownStrategyError, let_end
from router_sdk.numerics.calibration import Calibrator
from router_sdk.records import AgentSet, Distribution, Skipped, Task
from router_sdk.records.plain import told
from router_sdk.records.record import blame
from router_sdk.routing.comparing import Answer, Verdict, favourites_of, first_asked, settled
from router_sdk.routing.sampling import finish, uniform
from router_sdk.strategy import Strategy

if TYPE_CHECKING:
    from router_sdk.learning.calibration import Calibration
    from router_sdk.learning.strategy_selection import StrategySelection
    from router_sdk.numerics.policy_selection import PolicyWeights
    from router_sdk.routing.pooling import Tenants
    from router_sdk.strategy import Prefetched, Proposal, RouteContext

_UNIFORM = 64
"""Sets of agents, those asked for last, for which the answer of an empty chain is kept."""

_EACH_ITS_OWN = Calibrator(0, (1.0, 0.0, 0.0), 1.0, 0.0, (0.0, 1.0), (0.0, 1.0))
"""Stands in the place of a calibrator where each tenant has one; nothing is ever finished with it."""

_log = logging.getLogger(__name__)


class Stage:
    """A strategy in its place in the chain.

    Attributes:
        strategy: Who proposes.
        tenants: Who proposes for whom, where tenants do not share all that is learnt.
        proposer: One of the two.
        model_version: Which fitted version, or None.
        failures: How often it raised or proposed nonsense.
        answers: How often it decided.
        calibrator: What its confidence is corrected by; None while that is not known.
        threshold: Below this confidence the next one is asked.
        threshold_from: Who says so: ``"configuration"``, ``"version 7"``, or ``"default"``.

    Args:
        derived: The threshold that the version's fit derived, or None.
        name: What it is called where another state of the same strategy serves beside it, in an experiment.
    """

    __slots__ = (
        *("_abstained", "_calibration", "answers", "calibrator", "failures", "model_version", "name", "proposer"),
        *("strategy", "tenants", "threshold", "threshold_from"),
    )

    def __init__(
        self,
        strategy: Strategy,
        model_version: int | None = None,
        tenants: Tenants | None = None,
        derived: float | None = None,
        name: str | None = None,
    ) -> None:
        self.strategy, self.tenants = strategy, tenants
        self.proposer: Strategy | Tenants = strategy if tenants is None else tenants
        self.name = name or strategy.name
        configured = strategy.config.confidence_threshold
        self.threshold = (derived or 0.0) if configured is None else configured
        self.threshold_from = "default" if derived is None else f"version {model_version}"
        if configured is not None:
            self.threshold_from = "configuration"
        self.model_version = model_version
        self.failures = self.answers = 0
        self.calibrator: Calibrator | None = None
        self._calibration: Calibration | None = None
        self._abstained = Skipped(self.name, "abstained")

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The strategy, what the tenants' states are made after, and these."""
        if self.tenants is None:
            return (self.strategy,)
        root = self.tenants.states.root
        return (self.strategy, *(() if root is self.strategy else (root,)), *self.tenants.states.strategies())

    @property
    def comparable(self) -> bool:
        """Whether it may be asked beside others, and out of its turn.

        It learns, and for all tenants together; it waits for nobody; and nobody has set the confidence that it needs.
        """
        kind = type(self.strategy)
        learns = kind.learn is not Strategy.learn or kind.learn_columns is not Strategy.learn_columns
        prefetches = kind.prefetch is not Strategy.prefetch
        return learns and not prefetches and self.tenants is None and self.threshold_from != "configuration"

    def prepare(self, agents: AgentSet) -> None:
        """Get all of them ready for these agents."""
        try:
            self.strategy.prepare(agents)
            if self.tenants is not None:
                if self.tenants.states.root is not self.strategy:
                    self.tenants.states.root.prepare(agents)
                self.tenants.states.prepare(agents)
        except FAULTS as error:
            self.failed(error)

    def calibrate(self, calibration: Calibration) -> None:
        """Take over what is known of the confidence by now: one for all, or where tenants keep apart, theirs."""
        if calibration.shared:
            self.calibrator = calibration.of(self.name, self.model_version)
        else:
            self._calibration, self.calibrator = calibration, _EACH_ITS_OWN

    def judge(self, proposal: Proposal | None, agents: AgentSet, epsilon: float, task: Task) -> Verdict:
        """The finished distribution, or why it does not count.

        Raises:
            InvalidProposalError: if the proposal is not a distribution over the agents.
        """
        if proposal is None:
            return self._abstained
        finished = proposal.distribution
        if finished is None or finished.calibrator is not self.calibrator or finished.agents.set_id != agents.set_id:
            calibrator = self.calibrator
            if calibrator is _EACH_ITS_OWN and self._calibration is not None:
                calibrator = self._calibration.of(self.name, self.model_version, task.tenant)
            finished = finish(proposal, agents, epsilon, self.name, self.model_version, calibrator)
        confidence = finished.confidence or 0.0
        if confidence < self.threshold:
            derived = "" if self.threshold_from == "configuration" else f", as {self.threshold_from} found"
            return Skipped(self.name, f"confidence {confidence:.3f} is below {self.threshold:g}{derived}")
        return finished

    def ask(self, task: Task, agents: AgentSet, context: RouteContext, epsilon: float) -> Verdict:
        """What it says of a task."""
        try:
            return self.judge(self.proposer.propose(task, agents, context), agents, epsilon, task)
        except FAULTS as error:
            return self.failed(error)

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
            return dict(told(dict(self.strategy.report())))
        except FAULTS as error:
            return {"report": self.failed(error).reason}

    def status(self) -> dict[str, Any]:
        """What it does, and what the strategy says of itself, as JSON values."""
        return {
            "confidence_threshold": self.threshold,
            "confidence_threshold_from": self.threshold_from,
            "answers": self.answers,
            "failures": self.failures,
            **({} if self.tenants is None else {"tenants": self.tenants.states.report()}),
            **self.report(),
        }

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

    def close(self) -> None:
        """End what the strategies began."""
        for strategy in self.strategies:
            try:
                strategy.close()
            except FAULTS as error:
                let_end(error)
                _log.exception("strategy %s could not be closed", strategy.name)

    def after_fork(self) -> None:
        """In a child: what of the strategies must not be shared."""
        for strategy in self.strategies:
            try:
                strategy.after_fork()
            except FAULTS as error:
                self.failed(error)


class Chain:
    """The stages, in order, and the exploration floor.

    Attributes:
        weights: What speaks for each of the stages at the front, by task type; None where these are not compared.
    """

    __slots__ = ("_nobody", "epsilon", "prefetching", "rules", "stages", "weights")

    def __init__(self, stages: Sequence[Stage], epsilon: float) -> None:
        self.stages = tuple(stages)
        self.epsilon = epsilon
        self.weights: PolicyWeights | None = None
        self.rules = tuple(stage for stage in stages if type(stage.strategy).restrict is not Strategy.restrict)
        self.prefetching = tuple(stage for stage in stages if type(stage.strategy).prefetch is not Strategy.prefetch)
        self._nobody = lru_cache(_UNIFORM)(uniform)

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
        if found.tenants is not None:
            stage.tenants = stage.proposer = found.tenants.beside(stage.strategy)
        self.stages = tuple(stage if old is found else old for old in self.stages)
        self.rules = tuple(stage if old is found else old for old in self.rules)
        self.prefetching = tuple(stage if old is found else old for old in self.prefetching)

    def prefetch(self, tasks: Sequence[Task], agents: AgentSet) -> list[Prefetched]:
        """Have strategies begin what takes longer than a request may, and return what there is to wait for."""
        begun = []
        for stage in self.prefetching:
            try:
                begun += [one for task in tasks if (one := stage.strategy.prefetch(task, agents)) is not None]
            except FAULTS as error:
                stage.failed(error)
        return begun

    def comparable(self) -> tuple[str, ...]:
        """Strategies at the front that can be compared, by their own names, whatever their stages are called."""
        return tuple(stage.strategy.name for stage in takewhile(lambda stage: stage.comparable, self.stages))

    def called(self) -> tuple[str, ...]:
        """What these are called where they are compared."""
        return tuple(stage.name for stage in self.stages[: len(self.comparable())])

    def choose(self, task: Task, agents: AgentSet, context: RouteContext) -> Answer:
        """Ask one stage after the other, until there is an answer and those that are compared have been asked."""
        if self.weights is not None:
            return self._compared(self.stages, self.weights, task, agents, context)
        skipped: tuple[Skipped, ...] = ()
        for stage in self.stages:
            verdict = stage.ask(task, agents, context, self.epsilon)
            if isinstance(verdict, Distribution):
                stage.answers += 1
                return Answer(verdict, skipped)
            skipped = (*skipped, verdict)
        return Answer(self._nobody(agents), skipped)

    def _compared(
        self, stages: Sequence[Stage], weights: PolicyWeights, task: Task, agents: AgentSet, context: RouteContext
    ) -> Answer:
        best, asked = first_asked(weights, task.task_type, [stage.answers for stage in stages])
        verdicts: list[Verdict] = []
        for place, stage in enumerate(stages):
            if place >= asked and any(isinstance(one, Distribution) for one in verdicts):
                break
            verdicts.append(stage.ask(task, agents, context, self.epsilon))
        return self._answer(stages, verdicts, best, agents)

    def choose_batch(self, tasks: Sequence[Task], agents: AgentSet, contexts: Sequence[RouteContext]) -> list[Answer]:
        """``choose`` for many tasks over the same agents, a stage at a time."""
        stages, weights = self.stages, self.weights
        answers = [stage.answers for stage in stages]
        firsts = [first_asked(weights, task.task_type, answers, number) for number, task in enumerate(tasks)]
        told: list[list[Verdict]] = [[] for _ in tasks]
        left = list(range(len(tasks)))
        for place, stage in enumerate(stages):
            left = [i for i in left if place < firsts[i][1] or all(isinstance(one, Skipped) for one in told[i])]
            if not left:
                break
            try:
                proposals = stage.proposer.propose_batch([tasks[i] for i in left], agents, [contexts[i] for i in left])
                if len(proposals) != len(left):
                    raise ValueError(f"propose_batch gave {len(proposals)} answers for {len(left)} tasks")
            except FAULTS as error:
                fault = stage.failed(error)
                for i in left:
                    told[i].append(fault)
                continue
            for i, proposal in zip(left, proposals, strict=True):
                try:
                    told[i].append(stage.judge(proposal, agents, self.epsilon, tasks[i]))
                except FAULTS as error:
                    told[i].append(stage.failed(error))
        return [self._answer(stages, told[i], firsts[i][0], agents) for i in range(len(tasks))]

    def _answer(self, stages: Sequence[Stage], verdicts: Sequence[Verdict], best: int, agents: AgentSet) -> Answer:
        """What the first stages' verdicts come to."""
        names = [stage.name for stage in stages[: len(verdicts)]]
        chosen, skipped = settled(names, verdicts, best)
        if chosen is None:
            return Answer(self._nobody(agents), skipped)
        stages[chosen[0]].answers += 1
        return Answer(chosen[1], skipped, favourites_of(names, verdicts))

    def calibrate(self, calibration: Calibration) -> None:
        """Have each stage correct its confidence by what is known of it by now. Off the hot path."""
        for stage in self.stages:
            stage.calibrate(calibration)

    def compare(self, selection: StrategySelection | None) -> None:
        """Ask the stage first that earned most; None compares nobody. Off the hot path."""
        self.weights = None if selection is None else selection.weights

    def finish_published(self) -> None:
        """Finish what the strategies published, so that no request has to. Off the hot path."""
        for stage in self.stages:
            try:
                for strategy in stage.strategies:
                    for proposal, agents in strategy.published():
                        calibrator = None if stage.calibrator is _EACH_ITS_OWN else stage.calibrator
                        finish(proposal, agents, self.epsilon, stage.name, stage.model_version, calibrator)
            except FAULTS as error:
                stage.failed(error)


class ChainBeside(Chain):
    """Another chain as it is at each moment, but for one stage, which stands in the place of the one of its name.

    Args:
        chain: The other one.
        stage: The stage of its own.
        called: What this is called where it is compared, since what the other one's prefers is another matter.
    """

    __slots__ = ("_called", "_chain", "_own")

    def __init__(self, chain: Chain, stage: Stage, called: str) -> None:
        self._chain, self._own, self._called = chain, stage, called
        self.epsilon, self._nobody = chain.epsilon, chain._nobody
        self.weights = None

    @property
    def stages(self) -> tuple[Stage, ...]:  # type: ignore[override]
        """The other chain's, with its own among them."""
        return tuple(self._own if one.name == self._own.name else one for one in self._chain.stages)

    def called(self) -> tuple[str, ...]:
        """What those that can be compared are called then."""
        return tuple(self._called if name == self._own.name else name for name in super().called())

    def _answer(self, stages: Sequence[Stage], verdicts: Sequence[Verdict], best: int, agents: AgentSet) -> Answer:
        """The same, but what its own stage prefers is not taken for what the other chain's does."""
        answer = super()._answer(stages, verdicts, best, agents)
        preferred = answer.favourites
        told = {self._called if name == self._own.name else name: agent for name, agent in preferred.items()}
        return answer._replace(favourites=told) if told else answer

    @property
    def rules(self) -> tuple[Stage, ...]:  # type: ignore[override]
        """Those of them that narrow down who is eligible."""
        return tuple(self._own if one.name == self._own.name else one for one in self._chain.rules)
