"""What a router folds the log into: a state for each strategy, from its version on, and one for its tenants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from router_sdk.errors import StrategyError
from router_sdk.learning.fold import Fold, report_fold, strategy_fold, tenants_fold
from router_sdk.learning.tenant_states import TenantStates
from router_sdk.routing.chain import Stage
from router_sdk.routing.pooling import TAKEOVER, Tenants
from router_sdk.strategy import Strategy
from router_sdk.training.registry import Registry, stage_of, twin

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.learning.calibration import Calibration
    from router_sdk.learning.drift import Drift
    from router_sdk.learning.strategy_selection import StrategySelection
    from router_sdk.records import ModelVersion
    from router_sdk.rewards import RewardMark
    from router_sdk.routing.agents import Members


class Folds:
    """Makes them.

    Args:
        config: Settings.
        registry: Where fitted versions are read from.
        members: The agents.
        mark: The reward's fingerprint.
    """

    def __init__(self, config: RouterConfig, registry: Registry, members: Members, mark: RewardMark) -> None:
        self._config, self._registry, self._members, self._mark = config, registry, members, mark
        self._surroundings = (mark.text, repr(sorted(config.encoder.items())))

    def stage(self, strategy: Strategy, version: ModelVersion | None) -> Stage:
        """A strategy's place in the chain, with its tenants' states where they do not share all that is learnt."""
        tenants = None
        if self._config.tenancy != "shared" and type(strategy).learn is not Strategy.learn:
            states = TenantStates(strategy, self._config.most_tenants, alone=not self._config.fits)
            tenants = Tenants(states, strategy, TAKEOVER[self._config.tenancy])
        return stage_of(strategy, version, tenants)

    def of(self, stage: Stage) -> Fold:
        """The fold of a stage's strategy."""
        begin = partial(self.begun_again, stage)
        return strategy_fold(stage.strategy, stage.model_version, begin, *self._surroundings)

    def all(self, stages: Sequence[Stage], versions: Sequence[ModelVersion | None], *reports: Fold) -> list[Fold]:
        """Every fold of a router that starts with these versions, and reports."""
        folds = []
        for stage, version in zip(stages, versions, strict=True):
            if self._config.fits or stage.tenants is None:  # else nobody may learn from all tenants together
                folds.append(self.of(stage))
            if version is not None:
                folds[-1].begin_at(version.upto, version.left_out)
            if stage.tenants is not None:
                alone = not self._config.fits
                folds.append(tenants_fold(stage.strategy, stage.tenants.states, *self._surroundings, journalled=alone))
        return [*folds, *reports]

    def beside(self, stage: Stage, version: ModelVersion | None, name: str) -> Fold:
        """The fold of a stage that stands beside one of the chain, in an experiment, from its version on.

        Raises:
            UnknownVersionError: if its files were given up.
            CorruptArtifactError: if they are damaged.
        """
        fold = self.of(stage)
        fold.name, fold.journalled = name, False
        if version is not None:
            self._registry.load(stage.strategy, version)
            fold.begin_at(version.upto, version.left_out)
        return fold

    def report(self, report: Calibration | Drift | StrategySelection) -> Fold:
        """The fold of what is known beside the strategies."""
        return report_fold(report, self._mark)

    def begun_again(self, stage: Stage) -> Strategy:
        """A strategy like a stage's that has learnt nothing since its version was fitted.

        Raises:
            StrategyError: if it is made of something else than a configuration and services.
        """
        strategy = twin(stage.strategy)
        try:
            if strategy.config is not stage.strategy.config or strategy.services is not stage.strategy.services:
                raise StrategyError("its constructor takes something else than a configuration and services")
            if stage.model_version is not None:
                self._registry.load(strategy, self._registry.version(strategy.name, stage.model_version))
            strategy.prepare(self._members.roster.available)
        except BaseException:
            strategy.close()
            raise
        return strategy
