"""``router.experiments``: challengers beside what serves, on real tasks, until one of them is shown to be better."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router_sdk.errors import ExperimentError, InvalidConfigError, InvalidInputError, StoreUnavailableError
from router_sdk.evaluation.off_policy import LEAST_ESS
from router_sdk.experiments.arms import NAME, Arm
from router_sdk.experiments.off_policy import WEEK, OffPolicy
from router_sdk.experiments.verdict import Verdict
from router_sdk.loop_settings import ExperimentConfig
from router_sdk.private_files import may_be_written
from router_sdk.records.arguments import each, mapping, place, words, words_if_any
from router_sdk.records.record import describe
from router_sdk.store.experiments import CHAMPION_ARM, ExperimentRecord, decisions_by_arm, shadows_agreement
from router_sdk.store.store import READ_ONLY

if TYPE_CHECKING:
    from datetime import timedelta

    from router_sdk.config import RouterConfig
    from router_sdk.evaluation.off_policy_report import OffPolicyReport
    from router_sdk.experiments.lifecycle import Lifecycle
    from router_sdk.experiments.serving import ServingArms
    from router_sdk.learning.learner import Learner
    from router_sdk.routing.strategies import StrategySpec
    from router_sdk.store import Store
    from router_sdk.store.quarantine import Position


class Experiments:
    """The experiments of a router.

    Args:
        store: The log.
        config: Settings.
        learner: On whose thread arms come and go.
        lifecycle: Begins and ends them.
        serving: The arms of this process.
        flush: Returns once all that was routed and recorded is on disk and learnt.
        off_policy: Says what other routers would have earned on the log.
    """

    def __init__(
        self,
        store: Store,
        config: RouterConfig,
        learner: Learner,
        lifecycle: Lifecycle,
        serving: ServingArms,
        flush: Callable[[], None],
        off_policy: OffPolicy,
    ) -> None:
        self._off_policy = off_policy
        self._store, self._config, self._learner = store, config, learner
        self._lifecycle, self._serving, self._flush = lifecycle, serving, flush

    def start(
        self,
        name: str,
        challengers: Sequence[Arm | Mapping[str, Any]],
        *,
        shares: Mapping[str, float] | None = None,
        actor: str | None = None,
        **settings: Any,
    ) -> ExperimentRecord:
        """Let challengers serve a part of the units beside what serves, and return once they do here.

        A unit is a tenant's session, or a decision without one; which arm it comes to is settled by a hash of it.
        Every other process on the store follows within two seconds.

        Args:
            name: Its name for ever: letters, digits, ``_`` and ``-``, at most 40.
            challengers: What competes with what serves, see ``Arm``.
            shares: What each challenger gets of the units, in (0, 1); None gives each ``challenger_share``, or the
                first of ``rollout``.
            actor: Who starts it.
            **settings: Fields of ``ExperimentConfig``; the rest is as configured.

        Raises:
            InvalidInputError: if an argument is of another kind.
            InvalidConfigError: if an arm, a share or a setting is not understood.
            ExperimentError: if the name was used, another experiment serves challengers, or none can be run here.
            UnknownStrategyError: if a strategy is not installed.
            UnknownVersionError: if there is no such version.
            StoreUnavailableError: if the store is only looked at.
        """
        if self._config.read_only:
            raise StoreUnavailableError(READ_ONLY)
        if self._config.tenancy != "shared":
            raise ExperimentError(
                f"with tenancy={self._config.tenancy!r} tenants learn apart, and each arm would have to, too; "
                "experiments need tenancy='shared'"
            )
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise InvalidConfigError(f"name: use letters, digits, '_' and '-', at most 40, got {name!r:.60}")
        arms = [Arm.of(one) for one in each(challengers, "challengers")]
        shares = None if shares is None else mapping(shares, "shares")
        actor = words_if_any(actor, "actor")
        names = [arm.name for arm in arms]
        if not arms or len(set(names)) != len(names):
            raise InvalidConfigError(f"challengers: give at least one, each with a name of its own, got {names}")
        chosen = self.settings(settings)
        self._flush()
        self._lifecycle.begin(name, arms, chosen, shares, actor)
        self._learner.submit(self._serving.follow).result()
        return self._record(name)

    def list(self) -> list[ExperimentRecord]:
        """All of them, oldest first."""
        return self._lifecycle.records()

    def show(self, name: str) -> dict[str, Any]:
        """What is known of an experiment, as JSON values.

        Raises:
            ExperimentError: if there is none of that name.
        """
        record = self._record(name)
        self._store.writer.flush()
        analysis = self._lifecycle.analysis(record)
        agreement = self._store.reader.query(lambda connection: shadows_agreement(connection, record))
        counts = self._store.reader.query(lambda connection: decisions_by_arm(connection, record))
        return {
            **record.to_dict(),
            "settings": dict(record.settings),
            "analysis": None if analysis is None else analysis.to_dict(),
            "arms": [
                {**arm, "share": record.shares.get(arm["name"]), "decisions": counts.get(arm["name"], 0)}
                | ({"agreement": agreement.get(arm["name"])} if arm.get("shadow") else {})
                for arm in ({"name": CHAMPION_ARM}, *record.arms)
            ],
        }

    def sequences(self, name: str) -> dict[str, dict[str, Any]]:
        """Each challenger's confidence sequence: its difference to the champion over time, as JSON values.

        Returns:
            By challenger ``hours`` since the beginning, ``mean``, ``low`` and ``high``, of equal length; what is not
            known yet is None. Empty where only shadows take part.

        Raises:
            ExperimentError: if there is none of that name.
        """
        analysis = self._lifecycle.analysis(self._record(name))
        return {} if analysis is None else analysis.sequences()

    def report(self, name: str, path: str | Path) -> Path:
        """Write an experiment's report, one page, and return where it lies.

        Args:
            name: Which.
            path: Where the page goes.

        Raises:
            ExperimentError: if there is none of that name, or nothing but shadows takes part in it.
            InvalidInputError: if the file cannot be written.
        """
        analysis = self._lifecycle.analysis(self._record(name))
        if analysis is None:
            raise ExperimentError(f"experiment {name!r} has shadows alone: there is nothing to compare")
        from router_sdk.experiments.page import render_experiment

        target = place(path, "path")
        try:
            may_be_written(target).write_text(render_experiment(name, analysis), encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"{target}: {error.strerror}") from error
        return target

    def look(self) -> Sequence[ExperimentRecord]:
        """Look at all experiments now, conclude what is decided, and return them; else that is done all the time.

        Raises:
            StoreUnavailableError: if the store is only looked at.
        """
        if self._config.read_only:
            raise StoreUnavailableError(READ_ONLY)
        self._flush()
        self._learner.submit(self._lifecycle.look_now).result()
        return self.list()

    def stop(self, name: str, winner: str | None = None, *, reason: str, actor: str | None = None) -> ExperimentRecord:
        """End an experiment on a person's word; the champion serves all again, or the challenger named.

        Of one that a whole chain has won, this lets the configured chain serve again.

        Args:
            name: Which.
            winner: The challenger that serves from now on; None is the champion.
            reason: Why, for the history.
            actor: Who says so.

        Raises:
            InvalidInputError: if an argument is of another kind.
            ExperimentError: if there is none of that name, it has ended, or it has no such challenger; or if a chain is
                to serve all while another experiment serves challengers, or another chain that won.
            UnknownVersionError: if the winner is a version whose files were given up.
            CorruptArtifactError: if they are damaged; what serves goes on.
        """
        reason, actor = words(reason, "reason"), words_if_any(actor, "actor")
        record = self._record(name)
        if winner is not None:
            self._lifecycle.check_loads(record.arm(winner))
        if record.open or (winner is not None and winner == record.winner and not record.serving):
            verdict = Verdict("stopped", winner, reason, None, record.lost)
            end = partial(self._lifecycle.end, record, verdict, serving=True, actor=actor)
            done = self._learner.submit(end).result()
        elif record.keeps_serving and winner is None:
            retire = partial(self._lifecycle.retire, record, reason, actor)
            done = self._learner.submit(retire).result()
        else:
            raise ExperimentError(f"experiment {name!r} has ended: {record.reason}")
        if not done:
            raise ExperimentError(f"somebody else changed experiment {name!r} meanwhile; look at it, and try again")
        return self._record(name)

    def off_policy_value(
        self,
        strategies: Sequence[StrategySpec] | None = None,
        *,
        config: RouterConfig | str | Path | None = None,
        versions: Mapping[str, int] | None = None,
        since: Position | timedelta | None = WEEK,
        upto: Position | None = None,
        tenant: str | None = None,
        task_type: str | None = None,
        estimator: str = "doubly_robust",
        least_ess: float = LEAST_ESS,
        progress: Callable[[str, float], object] = lambda told, done: None,
    ) -> OffPolicyReport:
        """What another router would have earned on the log's decisions, see docs/off-policy.md. It only reads.

        The other router begins as the log had taught it by then, is asked about each decision over who was eligible,
        and learns what came of it afterwards. The log is read on this thread.

        Args:
            strategies: Its chain, as ``Router`` takes it; None is that of its settings, or the one that serves.
            config: Its settings, or their file; None are those in force. The reward that judges is this router's.
            versions: Fitted versions by strategy, such as ``{"bert": 7}``; 0 is the strategy without a fit. Those
                that are not named have the version that serves.
            since: Behind which position of the log decisions judge: a position, a decision's id, a time, or how long
                ago (``"12h"``, ``"7d"``, ``"2w"``, a ``timedelta``); None takes all. A version is judged by what lies
                behind its fit alone.
            upto: Up to which; None is all.
            tenant: Whose decisions judge; ``""`` are those of tasks without one, None are all.
            task_type: Which ones judge; None takes all.
            estimator: ``doubly_robust``, ``inverse_propensity``, ``self_normalized`` or ``switch``.
            least_ess: Effective sample size below which the answer is "insufficient"; 0 never refuses.
            progress: Called with a few words and the share done, in [0, 1].

        Raises:
            InvalidInputError: if an argument is not understood, no decision was made in between, or all of it taught
                the version.
            InvalidConfigError: if the settings are not understood.
            UnknownStrategyError: if a strategy is not installed.
            UnknownVersionError: if there is no such version any more.
            StrategyError: if a strategy cannot be made a second time, get ready, or learn from this log.
        """
        return self._off_policy.judge(
            strategies,
            config,
            versions,
            since=since,
            upto=upto,
            tenant=tenant,
            task_type=task_type,
            estimator=estimator,
            least_ess=least_ess,
            progress=progress,
        )

    def settings(self, given: Mapping[str, Any]) -> ExperimentConfig:
        """What is configured, and what is given in its place.

        Raises:
            InvalidInputError: if they are no mapping.
            InvalidConfigError: if a setting is unknown or out of range.
        """
        try:
            return ExperimentConfig(**{**self._config.experiment.model_dump(), **mapping(given, "settings")})
        except ValidationError as error:
            raise InvalidConfigError(f"experiment: {describe(error)}") from None

    def _record(self, name: str) -> ExperimentRecord:
        known = {one.name: one for one in self.list()}
        if not isinstance(name, str) or name not in known:
            raise ExperimentError(f"there is no experiment {name!r:.60}; there are {sorted(known)}")
        return known[name]
