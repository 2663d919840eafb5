"""What another router would have earned on the log's decisions, asked about each before it learns from it.

Which decisions judge, and how, is written down in docs/off-policy.md; ``LEFT_OUT`` names those that do not.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.off_policy import ESTIMATORS, RoundsSoFar, policy_value
from router_sdk.evaluation.off_policy_report import OffPolicyReport, PolicyAnswer
from router_sdk.experiments.contender import Contender
from router_sdk.records.arguments import age, each, mapping, real
from router_sdk.routing.strategies import spec_name
from router_sdk.store.erasure import forgotten_among
from router_sdk.store.quarantine import position_of
from router_sdk.store.retention import archived_upto
from router_sdk.store.transaction import HEAD

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.engine import Connection
    from router_sdk.evaluation.off_policy import Rounds
    from router_sdk.records import Example
    from router_sdk.routing.agents import Members
    from router_sdk.routing.chain import Chain
    from router_sdk.routing.strategies import StrategySpec
    from router_sdk.store.quarantine import Position
    from router_sdk.store.tail import LogTail
    from router_sdk.training.fit import FitServices
    from router_sdk.training.registry import Registry

    Floats = np.ndarray[Any, np.dtype[np.float64]]

Told = Callable[[str, float], object]

WEEK = timedelta(days=7)
PIECE = 32
"""Log positions in which it is asked about all decisions, before it learns their outcomes."""
MOST_GROUPS = 100
"""Task types, and tenants, that are told apart: those with the most decisions."""
LEFT_OUT = {
    "no outcome": "nothing is known, or not yet, of what came of them",
    "observed": "somebody else decided, or another agent ran than was chosen: there is no propensity",
    "kept": "the choice of a step before went on: nothing was drawn",
    "shadow": "another decision was acted on",
    "forgotten": "their task was erased, so that nobody can be asked about it",
    "no propensity": "the log does not say with which probability they were made",
}
"""Decisions that judge nobody, and why."""
_REMEMBERED = 20

_DECISIONS = """
SELECT d.seq, d.decision_id, d.source, d.agent, d.tenant, d.task_type, p.session_id, d.propensity
FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq WHERE d.seq > ? AND d.seq <= ? ORDER BY d.seq"""
_REACH = "SELECT min(at), max(at) FROM decisions WHERE seq > ? AND seq <= ?"


class OffPolicy:
    """Judges other routers by this one's log; it only reads.

    Args:
        services: The log, the settings, the reward and the encoders.
        registry: Where fitted versions are read from.
        members: The agents.
        chain: What serves.
    """

    def __init__(self, services: FitServices, registry: Registry, members: Members, chain: Chain) -> None:
        self._services, self._registry, self._members, self._chain = services, registry, members, chain

    def judge(
        self,
        strategies: Sequence[StrategySpec] | None,
        config: RouterConfig | str | Path | None,
        versions: Mapping[str, int] | None,
        *,
        since: Position | timedelta | None,
        upto: Position | None,
        tenant: str | None,
        task_type: str | None,
        estimator: str,
        least_ess: float,
        progress: Told,
    ) -> OffPolicyReport:
        """See ``Experiments.off_policy_value``."""
        if not isinstance(estimator, str) or estimator not in ESTIMATORS:
            raise InvalidInputError(f"estimator: there is no {estimator!r:.60}; there are {sorted(ESTIMATORS)}")
        least_ess = real(least_ess, "least_ess")
        strategies = None if strategies is None else each(strategies, "strategies")
        versions = None if versions is None else mapping(versions, "versions")
        if not callable(progress):
            raise InvalidInputError(f"progress: expected a function of words and a share, got {progress!r:.60}")
        self._services.store.writer.flush()  # what was routed just now judges, too
        policy = _words(strategies, config, versions)
        config = _configured(config)
        begin, end = self._reach(since if (ago := age(since)) is None else ago, upto)
        contender = Contender(self._services, self._registry, self._members, self._chain, strategies, config, versions)
        with closing(contender):
            notes: list[str] = []
            if contender.fitted_upto > begin:
                begin, notes = contender.fitted_upto, [_fitted(contender, end)]
            notes += contender.begin(begin)
            notes += self._without_texts()
            judged = _Judged(self._services, contender, (begin, end), tenant, task_type)
            rounds = judged.rounds(progress)
            notes += contender.faults()
        return self._report(policy, judged, rounds, estimator, least_ess, notes)

    def _reach(self, since: Position | timedelta | None, upto: Position | None) -> tuple[int, int]:
        """Positions behind which, and up to which, decisions judge.

        Raises:
            InvalidInputError: if these are none, or none was made in between.
        """

        def work(connection: Connection) -> tuple[int, int]:
            (head,) = connection.execute(HEAD).fetchone()
            if isinstance(since, timedelta):
                moment = max(time.time() - since.total_seconds(), 0.0)
                begin = position_of(connection, datetime.fromtimestamp(moment).astimezone(), "since")
            else:
                begin = 0 if since is None else position_of(connection, since, "since")
            end = head if upto is None else position_of(connection, upto, "upto")
            begin = max(begin, archived_upto(connection))
            if connection.execute(_REACH, (begin, end)).fetchone()[0] is None:
                raise InvalidInputError(
                    f"the log holds no decision between the positions {begin} and {end}: give an earlier since, or 0 "
                    "for all of it"
                )
            return begin, end

        return self._services.store.reader.query(work)

    def _without_texts(self) -> list[str]:
        privacy = self._services.config.privacy
        if privacy == "full":
            return []
        kept = "are kept redacted" if privacy == "redacted" else "are not kept"
        return [
            f"texts {kept} (privacy {privacy!r}): where nothing that it needs was logged, it was asked without them"
        ]

    def _report(
        self, policy: str, judged: _Judged, rounds: Rounds, estimator: str, least_ess: float, notes: Sequence[str]
    ) -> OffPolicyReport:
        reach = self._services.store.reader.query(
            lambda connection: connection.execute(_REACH, judged.reach).fetchone()
        )
        total = sum(judged.contender.answered.values()) or 1
        return OffPolicyReport(
            policy,
            *judged.reach,
            reach[0],
            reach[1],
            PolicyAnswer.of(rounds, estimator, least_ess),
            {name: policy_value(rounds, name, least_ess=least_ess) for name in ESTIMATORS},
            tuple(
                PolicyAnswer.of(rounds.where(chosen), estimator, least_ess, task_type=name)
                for name, chosen in _groups(judged.task_types)
            ),
            tuple(
                PolicyAnswer.of(rounds.where(chosen), estimator, least_ess, tenant=name)
                for name, chosen in _groups([tenant or "" for tenant in judged.tenants])
            ),
            dict(judged.left_out),
            {name: count / total for name, count in judged.contender.answered.most_common()},
            tuple(notes),
        )


class _Judged:
    """The decisions of a part of the log, each with what the other router would have done."""

    def __init__(
        self,
        services: FitServices,
        contender: Contender,
        reach: tuple[int, int],
        tenant: str | None,
        task_type: str | None,
    ) -> None:
        self._services, self.contender, self.reach = services, contender, reach
        self._tenant, self._task_type = tenant, task_type
        self._so_far = RoundsSoFar()
        self._acted: OrderedDict[tuple[str | None, str], tuple[str, ...]] = OrderedDict()
        self.left_out: Counter[str] = Counter()
        self.task_types: list[str] = []
        self.tenants: list[str | None] = []

    def rounds(self, progress: Told) -> Rounds:
        """Ask, then teach, piece by piece."""
        begin, end = self.reach
        contender = self.contender
        started = min(contender.cursor, begin)
        whole = max(end - started, 1)
        while contender.cursor < begin:
            progress("learning what came before", (contender.cursor - started) / whole)
            contender.learn(begin)
        with closing(self._services.store.tail(self._services.reward)) as tail:
            cursor = begin
            while cursor < end:
                progress("asking", (cursor - started) / whole)
                piece = min(end, cursor + PIECE)
                self._ask(tail, cursor, piece)
                while contender.cursor < piece:
                    contender.learn(piece, judged=True)
                cursor = piece
        progress("done", 1.0)
        return self._so_far.rounds

    def _ask(self, tail: LogTail, cursor: int, piece: int) -> None:
        """Ask about the decisions of one piece of the log."""

        def work(connection: Connection) -> tuple[list[Any], set[str]]:
            found = connection.execute(_DECISIONS, (cursor, piece)).fetchall()
            return found, forgotten_among(connection, [row[1] for row in found])

        found, forgotten = self._services.store.reader.query(work)
        known = {example.decision_seq: example for example in tail.newest([row[0] for row in found])}
        for seq, decision_id, source, agent, tenant, task_type, session, propensity in found:
            history = self._history(tenant, session, agent if source == "routed" else None)
            if self._task_type not in (None, task_type) or self._tenant not in (None, tenant or ""):
                continue
            example = known.get(seq)
            reason = _reason(source, decision_id in forgotten, propensity, example)
            if example is None or reason is not None:
                self.left_out[reason or "no outcome"] += 1
                continue
            choice = self.contender.choose(example, history)
            self._so_far.add(example, choice.probabilities)
            self.contender.confirm(example, choice)
            self.task_types.append(task_type)
            self.tenants.append(tenant)

    def _history(self, tenant: str | None, session: str | None, agent: str | None) -> tuple[str, ...]:
        """Who had acted in a task's session before; the one who acts now is noted for the next."""
        if session is None:
            return ()
        key = (tenant, session)
        acted = self._acted.pop(key, ())
        self._acted[key] = acted if agent is None else (*acted, agent)[-_REMEMBERED:]
        return acted


def _reason(source: str, forgotten: bool, propensity: float | None, example: Example | None) -> str | None:
    """Why a decision judges nobody; None where it does."""
    if source in ("kept", "shadow"):
        return source
    if source != "routed" or (example is not None and example.source != "routed"):
        return "observed"
    if forgotten:
        return "forgotten"
    if example is None or example.reward is None:
        return "no outcome"
    if not propensity or (example.agent is not None and not example.probabilities):
        return "no propensity"
    return None


def _groups(names: Sequence[str]) -> list[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Each name with where it stands, the most frequent first."""
    column = np.array(names, dtype=object)
    return [(name, column == name) for name, _ in Counter(names).most_common(MOST_GROUPS)]


def _fitted(contender: Contender, end: int) -> str:
    """That its version was fitted with what the log says at first.

    Raises:
        InvalidInputError: if nothing is left to judge it by.
    """
    name, number = contender.newest
    if contender.fitted_upto >= end:
        raise InvalidInputError(
            f"version {number} of {name!r} was fitted with the log up to position {contender.fitted_upto}, and what is "
            f"asked for ends at {end}: nothing behind it judges it. Wait for new outcomes, or ask about an earlier one"
        )
    return (
        f"version {number} of {name!r} was fitted with the log up to position {contender.fitted_upto}: only what lies "
        "behind that judges it"
    )


def _configured(config: RouterConfig | str | Path | None) -> RouterConfig | None:
    from router_sdk.config import configure

    return None if config is None else configure(config, {})


def _words(
    strategies: Sequence[StrategySpec] | None,
    config: RouterConfig | str | Path | None,
    versions: Mapping[str, int] | None,
) -> str:
    """Who is asked about."""
    settings = Path(config).name if isinstance(config, (str, Path)) else "other settings"
    words = "what is configured" if config is None else settings
    if strategies is not None:
        words = " → ".join(map(spec_name, strategies)) + ("" if config is None else f" with {settings}")
    for name, number in (versions or {}).items():
        words += f", version {number} of {name}" if number else f", {name} without a fit"
    return words
