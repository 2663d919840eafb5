"""``router.experiments``: what another router would have earned, and is it better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from router_sdk.evaluation.off_policy import LEAST_ESS
from router_sdk.experiments.off_policy import WEEK, OffPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.config import RouterConfig
    from router_sdk.evaluation.off_policy_report import OffPolicyReport
    from router_sdk.routing.strategies import StrategySpec
    from router_sdk.store.quarantine import Position


class Experiments:
    """Other routers, judged by the log.

    Args:
        off_policy: Who judges.
    """

    def __init__(self, off_policy: OffPolicy) -> None:
        self._off_policy = off_policy

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
        progress: Callable[[str, float], object] = lambda words, done: None,
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
                ago; None takes all. A version is judged by what lies behind its fit alone.
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
