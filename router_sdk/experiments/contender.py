"""Another router on the same log: in the state that it would have had, asked about tasks, and taught what came of them.

It is a chain like any other, of its own strategies, settings and versions, and folds the log as the learner does, up to
whatever position it is told. It decides nothing, and nothing of it is saved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.errors import InvalidConfigError, RouterError, StrategyError, UnknownStrategyError
from router_sdk.evaluation.held_out import FixedContext
from router_sdk.learning.calibration import Calibration
from router_sdk.learning.fold import apply_all, report_fold
from router_sdk.learning.pace import REPLAY_BATCH
from router_sdk.learning.restoring import restore
from router_sdk.learning.strategy_selection import StrategySelection
from router_sdk.records import Agent, AgentSet, FixedExampleContext, Forecast
from router_sdk.rewards import OutcomeReward, RewardMark, with_metrics
from router_sdk.routing.chain import Chain
from router_sdk.routing.comparing import NO_FAVOURITES
from router_sdk.routing.context import Encoders
from router_sdk.routing.strategies import Workshop, spec_name
from router_sdk.spelling import counted
from router_sdk.store.agents import read_agents
from router_sdk.store.context import NEWCOMERS
from router_sdk.store.retention import archived_upto
from router_sdk.training.folds import Folds
from router_sdk.training.registry import twin

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.learning.fold import Fold
    from router_sdk.records import Example, ModelVersion
    from router_sdk.rewards import RewardFunction
    from router_sdk.routing.agents import Members
    from router_sdk.routing.strategies import StrategySpec
    from router_sdk.store.quarantine import Ranges
    from router_sdk.store.tail import LogTail
    from router_sdk.strategy import Strategy
    from router_sdk.training.fit import FitServices
    from router_sdk.training.registry import Registry

UNFITTED = 0
"""Stands for the version of a strategy that was never fitted."""


class Choice(NamedTuple):
    """What it would have done with a task.

    Attributes:
        probabilities: By name, of those it gives any; None stands for "no agent fits".
        strategy: Who of its chain answered.
        favourite: Whom it would choose without exploring; None where nobody fits.
        confidence: How sure it is of that, before this is corrected.
        favourites: Whom each of its compared strategies prefers, by its name.
    """

    probabilities: Mapping[str | None, float]
    strategy: str
    favourite: str | None = None
    confidence: float | None = None
    favourites: Mapping[str, str] = NO_FAVOURITES


class Contender:
    """One of them.

    Args:
        services: The log, the settings in force, the reward and the encoders of the router beside which it stands.
        registry: Where fitted versions are read from.
        members: The agents.
        serving: The chain of that router.
        strategies: Its chain; None is that of its settings, or where it has none of its own, the serving one.
        config: Its settings; None are those in force.
        versions: Numbers of versions by strategy; ``UNFITTED`` is the strategy without any fit. The others have the
            version that serves.

    Attributes:
        fitted_upto: Position up to which the log taught the newest of its versions: before it there is nothing to ask.
        newest: The strategy and number of that version.
        answered: How many tasks each of its strategies decided.

    Raises:
        UnknownStrategyError: if a strategy is not installed, or a version is given of one that it does not have.
        UnknownVersionError: if there is no such version, or its files were given up.
        StrategyError: if a strategy cannot be made a second time, or cannot get ready.
    """

    def __init__(
        self,
        services: FitServices,
        registry: Registry,
        members: Members,
        serving: Chain,
        strategies: Sequence[StrategySpec] | None = None,
        config: RouterConfig | None = None,
        versions: Mapping[str, int] | None = None,
    ) -> None:
        self._store, self._registry, self._members, self._serving = services.store, registry, members, serving
        own = services.config if config is None else config
        self._encoders = services.encoders
        if config is not None:
            self._encoders = Encoders(services.plugins.encoders, config.encoder)
        self._mark = RewardMark(services.reward if config is None else _reward_of(services, config))
        specs = strategies if strategies is not None or config is None else config.strategies
        chosen = self._made(services, own, specs, config is None)
        self.answered: Counter[str] = Counter()
        self._views: dict[Ranges, LogTail] = {}
        self._sets: dict[tuple[str, ...], AgentSet] = {}
        try:
            opened = self._opened(chosen, versions or {}, fits=own.fits)
            folds = Folds(own, registry, members, self._mark)
            stages = [folds.stage(*each) for each in opened]
            self._chain = Chain(stages, own.epsilon)
            self._calibration = Calibration(own.tenancy, own.most_tenants)
            self._folds: list[Fold] = folds.all(stages, [version for _, version in opened])
            self._selection = StrategySelection.among(self._chain.comparable())
            reports = (self._calibration, *(() if self._selection is None else (self._selection,)))
            self._known = [report_fold(report, self._mark) for report in reports]
            self._unsure = any(stage.threshold > 0.0 for stage in stages)  # else nobody asks for corrected confidences
            self._came: list[tuple[int, str]] = self._store.reader.query(
                lambda connection: connection.execute(NEWCOMERS).fetchall()
            )
            self._agents = self._everybody()
            for stage in stages:
                stage.prepare(self._agents)
                if (fault := stage.warm_up()) is not None:
                    raise StrategyError(f"strategy {stage.name!r} cannot get ready, so that it would abstain: {fault}")
        except BaseException:
            for strategy in chosen:
                strategy.close()
            raise
        fitted = [(version.upto, (strategy.name, version.version)) for strategy, version in opened if version]
        self.fitted_upto, self.newest = max(fitted, default=(0, ("", UNFITTED)))

    def _made(
        self, services: FitServices, config: RouterConfig, specs: Sequence[StrategySpec] | None, same: bool
    ) -> list[Strategy]:
        """Fresh strategies; of those that serve under the same settings, others like them."""
        serving = {stage.name: stage.strategy for stage in self._serving.stages} if same else {}
        if specs is None and same:
            specs = list(serving)
        alike = {name: twin_of(serving[name]) for name in specs or () if isinstance(name, str) and name in serving}
        wanted = None if specs is None else [alike.get(one, one) if isinstance(one, str) else one for one in specs]
        if wanted is not None:
            names = [spec_name(one) for one in wanted]
            config = config.model_copy(
                update={"strategy": {name: own for name, own in config.strategy.items() if name in names}}
            )
        keep = None if self._store.read_only else self._store.parts.keep
        workshop = Workshop(config, services.plugins, self._encoders, self._store.folder, keep)
        return workshop.chain(wanted)

    def _opened(
        self, chosen: Sequence[Strategy], versions: Mapping[str, int], *, fits: bool
    ) -> list[tuple[Strategy, ModelVersion | None]]:
        """Each with its version."""
        strangers = sorted(versions.keys() - {strategy.name for strategy in chosen})
        if strangers:
            raise UnknownStrategyError(f"versions: {strangers} are not in the chain {[one.name for one in chosen]}")
        if versions and not fits:
            raise InvalidConfigError("versions: with tenancy='separate' nothing is fitted")
        opened: list[tuple[Strategy, ModelVersion | None]] = []
        for strategy in chosen:
            number = versions.get(strategy.name)
            if number is None:
                opened.append(self._registry.open(strategy) if fits else (strategy, None))
            elif number == UNFITTED:
                opened.append((strategy, None))
            else:
                version = self._registry.version(strategy.name, number)
                self._registry.load(strategy, version)
                opened.append((strategy, version))
        return opened

    def _everybody(self) -> AgentSet:
        """Whom the log ever knew, as they are or were last."""
        here = {agent.name: agent for agent in self._members.roster.everyone}
        past = self._store.reader.query(read_agents)
        gone = {name: agent for name, (_, agent) in past.items() if name not in here}
        return AgentSet([*here.values(), *gone.values()])

    # -- learning

    def begin(self, position: int) -> list[str]:
        """Load what it would have known at a position of the log, as far as a snapshot holds that; what it lacks.

        Args:
            position: Which; ``learn`` takes it there.
        """
        told = []
        archived = self._store.reader.query(archived_upto)
        for fold in (*self._folds, *self._known):
            restore(self._store, fold, position)
            if fold.unheeded is not None:
                told.append(f"{fold.name}: {fold.unheeded}")
            elif fold.cursor < archived and fold not in self._known:
                told.append(f"{fold.name} was not taught what is archived, up to position {archived}")
        return told

    @property
    def cursor(self) -> int:
        """Position up to which it has learnt."""
        return min(fold.cursor for fold in self._folds)

    def learn(self, upto: int, *, judged: bool = False) -> None:
        """Learn the log a piece further, at most up to a position.

        Args:
            upto: Where to stop.
            judged: Whether it was asked about these decisions, so that it knows itself what its confidences, and each
                of its strategies' favourites, came to.

        Raises:
            StrategyError: if one of its strategies cannot learn from the log.
        """
        groups: dict[Ranges, list[Fold]] = {}
        for fold in (*self._folds, *(() if judged else self._known)):
            if fold.cursor < upto:
                groups.setdefault(fold.left_out, []).append(fold)
        for left_out, folds in groups.items():
            if left_out not in self._views:
                self._views[left_out] = self._store.tail(self._mark.reward, left_out)
            apply_all(folds, self._views[left_out].read(min(one.cursor for one in folds), upto, REPLAY_BATCH), "judge")
            for fold in folds:
                if fold.torn:
                    raise StrategyError(f"strategy {fold.name!r} cannot learn from this log; see the process's own log")
        if self.cursor >= upto:
            self._chain.calibrate(self._calibration)
            self._chain.compare(self._selection)

    def confirm(self, example: Example, choice: Choice) -> None:
        """Tell it what came of a task: where who acted is its favourite or its like, that is what it gave came to.

        And what each of its strategies would have earned with its favourite.
        """
        if self._selection is not None and choice.favourites:
            known = FixedExampleContext(
                example.task, fixed_eligible=example.eligible, fixed_favourites=choice.favourites
            )
            self._selection.learn([replace(example, context=known, previous_reward=None, previous=None)])
        if not self._unsure or choice.favourite is None:
            return
        most = choice.probabilities[choice.favourite]
        like = {name for name, chance in choice.probabilities.items() if chance >= most}
        if example.agent not in like:
            return
        stage = next((one for one in self._chain.stages if one.name == choice.strategy), None)
        if stage is not None and choice.confidence is not None:
            task, before = example.task, bisect_right(self._came, (example.decision_seq,))
            since, newcomer = self._came[before - 1] if before else (0, None)
            logged = sum(chance for name, chance in example.probabilities.items() if name in like) or 1.0
            told = stage.name, stage.model_version, choice.confidence, task.tenant
            forecast = Forecast(*told, since, newcomer, logged)
            self._calibration.learn([replace(example, context=FixedExampleContext(task, fixed_forecast=forecast))])

    # -- asking

    def choose(self, example: Example, history: Sequence[str]) -> Choice:
        """What it would have done with a logged task, over those who could have been chosen then.

        Args:
            example: Of that decision.
            history: Agents that acted in the session before.
        """
        task = example.task
        context = FixedContext(
            seed=example.decision_seq,
            now=example.decided_at,
            history=(*task.history, *history),
            text=task.text,
            encoders=self._encoders,
            vectors=example.vectors,
        )
        agents = self._those(example.eligible)
        for stage in self._chain.rules:
            ruled = stage.strategy.restrict(task, agents, context)
            left = agents.names if ruled is None else tuple(name for name in agents.names if name in set(ruled.agents))
            agents = self._those(left) if left else agents
        drawn, _, favourites = self._chain.choose(task, agents, context)
        self.answered[drawn.strategy] += 1
        if not drawn.weights:
            return Choice({None: 1.0}, drawn.strategy)
        given: dict[str | None, float] = {
            name: weight for name, weight in zip(drawn.agents.names, drawn.weights, strict=True) if weight > 0.0
        }
        raw = drawn.confidence if drawn.raw_confidence is None else drawn.raw_confidence
        return Choice(given, drawn.strategy, drawn.agents.names[drawn.favourite], raw, favourites)

    def faults(self) -> list[str]:
        """Which of its strategies failed, and how often: the next one, or chance, answered in their place."""
        return [
            f"{stage.name} failed {counted(stage.failures, 'time')}; see the process's own log"
            for stage in self._chain.stages
            if stage.failures
        ]

    def _those(self, names: tuple[str, ...]) -> AgentSet:
        found = self._sets.get(names)
        if found is None:
            places = self._agents.positions
            known = [self._agents[places[name]] if name in places else Agent(name) for name in names]
            found = self._sets[names] = AgentSet(known)
        return found

    def close(self) -> None:
        """It is needed no more."""
        self._chain_closed()
        for view in self._views.values():
            view.close()

    def _chain_closed(self) -> None:
        with suppress(RouterError):
            for stage in self._chain.stages:
                stage.close()


def twin_of(strategy: Strategy) -> Strategy:
    """Another one like it, that was taught nothing.

    Raises:
        StrategyError: if it takes something else than a configuration and services to make one.
    """
    try:
        return twin(strategy)
    except TypeError as error:
        raise StrategyError(f"strategy {strategy.name!r} cannot be made a second time: {error}") from error


def _reward_of(services: FitServices, config: RouterConfig) -> RewardFunction:
    """What it learns from outcomes: the settings' reward, or where they name none, that of the router beside it."""
    if config.reward is None and not config.reward_metrics:
        return services.reward
    given = services.plugins.reward(config.reward) if config.reward else OutcomeReward()
    return with_metrics(given, config.reward_metrics)
