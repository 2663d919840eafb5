"""The public face: one object that decides, learns and tells."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self, Unpack

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.classification import Evaluation, Label, judge
from router_sdk.evaluation.fit_report import FitReport
from router_sdk.exchange.asking import most_telling
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, ExportSettings, export_examples
from router_sdk.exchange.history import History
from router_sdk.exchange.importing import ImportReport, MappingLike, Observation
from router_sdk.exchange.intake import Tell
from router_sdk.exchange.labels import observations, paired
from router_sdk.learning.performance import AgentPerformance
from router_sdk.learning.verification import verify_replay
from router_sdk.pretraining import pretrain
from router_sdk.records import Decision, ModelVersion
from router_sdk.records.plain import plain
from router_sdk.serving import Ranked, Serving, TaskLike
from router_sdk.store.activity import answered, learning_events, passed
from router_sdk.store.backup import BackupReport, backup
from router_sdk.store.identity import check_key, check_tenant, check_time
from router_sdk.store.journal import dead_letters, learning_totals
from router_sdk.strategy import Strategy
from router_sdk.training.fit import Fit

__all__ = ["Ranked", "Router"]


class Router(Serving):
    """Decides which agent gets which task, and gets better at it from what happened.

    Thread-safe. Use it as a context manager, or call ``close``.

    Args:
        agents: Who can be chosen: ``Agent`` records, names, or mappings of an agent's fields. None follows
            what the store knows.
        strategies: The chain; the first that does not abstain decides. Names, ``(name, settings)`` pairs,
            ``Strategy`` classes or objects, each object for one router. None takes those of bert, thompson and
            heuristic that are installed.
        store: SQLite file on a local disk, or ``":memory:"``; the default is ``router.db``.
        config: A ``RouterConfig``, or the path of a TOML, YAML or JSON file.
        reward: Turns outcomes into rewards; the default is ``OutcomeReward()``.
        plugins: Objects with hook implementations, beside the installed plugins.
        **settings: Any field of ``RouterConfig``; comes before ``config`` and the environment.

    Raises:
        InvalidConfigError: if a setting is unknown or out of range.
        InvalidAgentError: if an agent is malformed.
        UnknownStrategyError: if a strategy is not installed.
        StoreUnavailableError: if the store cannot be opened.
    """

    # -- reports

    @property
    def examples(self) -> History:
        """The joined examples, oldest first, read when asked for: ``router.examples[-5:]``."""
        return History(self._engine.store, self._engine.reward)

    def ask_about(self, n: int = 10) -> list[Decision]:
        """Recent decisions without an outcome, those first whose outcome would teach most.

        ``n`` says how many, and must be at least 1.
        """
        if n < 1:
            raise InvalidInputError(f"n: must be at least 1, got {n}")
        self._writer.flush()
        return most_telling(self._engine.store, n)

    def statistics(self) -> dict[str, Any]:
        """Totals over this log, as far as this process has learnt it.

        Keys: ``total_examples, label_distribution`` (labels by agent), ``no_agent_fits`` (labels that say so),
        ``feedback_rate`` (share of examples with explicit feedback), ``avg_quality_score, positive_feedback_rate,
        current_model_score`` (mean reward of the last 100 outcomes), ``improvement_rate`` (relative to the 100 before),
        ``samples_processed`` (outcomes that were learnt, each once), ``taught_nothing`` (examples of which nothing says
        how they went); of updates ``total_updates, successful_updates, failed_updates, avg_update_time_ms``; of fits
        ``retrain_count`` (their version came to serve), ``encoder_retrain_count`` (and had moved an encoder),
        ``refused_fits, failed_fits, avg_fit_time_ms`` and
        ``next_retrain_in``.
        """
        totals = self._engine.store.reader.query(learning_totals)
        return {**self._engine.performance.statistics(), **totals, "next_retrain_in": self._engine.trainer.next_in}

    def agent_performance(self, *, task_type: str | None = None, top_k: int | None = None) -> list[AgentPerformance]:
        """Reports of this process's agents, best first, with score, rank, and what the strategies expect of each.

        Args:
            task_type: Count this type only.
            top_k: How many to recommend; None reports on all.
        """
        names = self._engine.members.roster.everyone.names
        expected: dict[str, Mapping[str, float]] = {}
        for stage in reversed(self._engine.chain.stages):  # so that the first in the chain has the last word
            expected.update(stage.expected())
        return self._engine.performance.agents(names, task_type, expected)[:top_k]

    def status(self, *, last: int = 5) -> dict[str, Any]:
        """Everything that ``router status`` shows, as JSON values.

        Args:
            last: How many of the newest updates and dead letters.
        """
        reader = self._engine.store.reader
        return {
            **self._engine.status(),
            "answered": reader.query(answered),
            "passed": reader.query(passed),
            "performance": [one.to_dict() for one in self.agent_performance()],
            "statistics": self.statistics(),
            "learning_events": reader.query(lambda connection: learning_events(connection, plain(last))),
            "dead_letters": self.dead_letters(last),
        }

    def dead_letter(self, kind: str, reason: str, *, body: str | None = None) -> None:
        """Keep what could not be understood or delivered, with the reason; privacy applies to both."""
        self._engine.store.refuse([(kind, None, reason, body)])

    def dead_letters(self, limit: int = 100) -> list[Mapping[str, Any]]:
        """What was refused in batches, and why, newest first."""
        return self._engine.store.reader.query(lambda connection: dead_letters(connection, plain(limit)))

    def strategy(self, name: str) -> Strategy:
        """The strategy of that name that serves now, for what only it can do.

        Raises:
            UnknownStrategyError: if the chain has none.
        """
        return self._engine.chain.stage(name).strategy

    # -- fitted versions

    def retrain(self, name: str | None = None, /, *, wait: bool = False, **settings: Any) -> Fit:
        """Fit a new version in the background; it serves once it has passed the gate.

        Args:
            name: Which strategy; None takes the first in the chain that has a fit.
            wait: Return when the fit has ended.
            **settings: What of its configuration to override, such as ``epochs``, ``learning_rate``, ``batch_size``.

        Returns:
            The fit: how far it is, how it ended, and a way to stop it.

        Raises:
            NotTrainableError: if nothing in the chain has a fit, or with ``tenancy="separate"``.
            InvalidConfigError: if a setting is unknown or out of range.
            FitError: if another fit is running, or with ``wait`` if it failed.
        """
        self.flush()
        fit = self._engine.trainer.retrain(name, settings)
        return fit.wait() if wait else fit

    def pretrain(
        self,
        X: Sequence[TaskLike],  # noqa: N803
        y: Sequence[Label],
        name: str | None = None,
        /,
        *,
        wait: bool = True,
        **settings: Any,
    ) -> Fit:
        """Fit a first version from made-up or historical examples, without logging them as what happened here.

        It passes the same gate as any fit, against the strategy as it is without any.

        Args:
            X: Tasks, or texts.
            y: For each the right agent's name, None for "no agent fits", or a score in [0, 1] per agent.
            name: Which strategy; None takes the first in the chain that has a fit.
            wait: Return when the fit has ended.
            **settings: What of the strategy's configuration to override.
        """
        return pretrain(self._engine, list(observations(paired(X, y))), name, settings, wait=wait)

    @property
    def newest_fit(self) -> Fit | None:
        """The fit that was started last in this process, running or ended."""
        return self._engine.trainer.fit

    def versions(self, strategy: str | None = None) -> list[ModelVersion]:
        """Fitted versions, oldest first; of one strategy, or of all in the chain."""
        names = [stage.name for stage in self._engine.chain.stages if strategy in (None, stage.name)]
        if not names:
            self._engine.chain.stage(str(strategy))
        return [version for name in names for version in self._engine.registry.versions(name)]

    def fit_report(self, strategy: str, version: int) -> FitReport:
        """What the fit of a version measured: curves, confusion before and after, forgetting.

        Raises:
            UnknownVersionError: if there is none of that number.
            CorruptArtifactError: if the report is lost.
        """
        return self._engine.registry.report(self._engine.registry.version(strategy, version))

    def promote(
        self, strategy: str, version: int, *, reason: str = "by hand", force: bool = False, pin: bool = True
    ) -> ModelVersion:
        """Let a version serve, between two requests, until a person says otherwise.

        Args:
            strategy: Whose.
            version: Which.
            reason: For the history.
            force: Although the gate refused it.
            pin: False lets the next fit that passes the gate replace it.

        Raises:
            UnknownVersionError: if there is none of that number, or its files were given up.
            GateRefusedError: if the gate refused it.
            CorruptArtifactError: if its files are damaged; what serves goes on.
        """
        return self._engine.promoter.promote(strategy, version, reason=reason, force=force, pin=pin)

    def rollback(self, strategy: str) -> int | None:
        """Let the version before serve again, and return its number; None is the strategy without any fit.

        It stays until a person says otherwise: no fit replaces it before ``unpin``.
        """
        return self._engine.promoter.rollback(strategy)

    def pin(self, strategy: str, version: int | None = None) -> int | None:
        """Keep what serves, whatever fits come to, until ``unpin``, ``promote`` or ``rollback``.

        Args:
            strategy: Whose.
            version: Which version is to serve and stay; None keeps the one that serves.

        Returns:
            The version that serves; None is the strategy without any fit.

        Raises:
            UnknownVersionError: if there is none of that number.
        """
        return self._engine.promoter.pin(strategy, version)

    def unpin(self, strategy: str) -> None:
        """Let fits that pass the gate replace what serves again."""
        self._engine.promoter.unpin(strategy)

    # -- files and labels

    def export_examples(
        self,
        path: str | Path,
        *,
        format: ExportFormat = "jsonl",
        **options: Unpack[ExportSettings],
    ) -> int:
        """Write the examples to a file, whole or not at all, and return how many.

        Args:
            path: Where to.
            format: ``jsonl`` or ``csv`` with all that the log holds, which ``import_examples`` reads without loss, or
                pairs of text and response as ``chatml``, ``alpaca``, ``completion``.
            **options: What goes out, see ``ExportSettings``: ``min_reward``, ``min_quality_score``,
                ``min_user_feedback``, ``deduplicate``, ``include_existing_data``, ``existing_data_path``,
                ``unanswered``.

        Raises:
            InvalidInputError: if the format is unknown, a file cannot be read or written, or options contradict.
        """
        self._writer.flush()
        told = ExportOptions.of(path, **options)
        return export_examples(self.examples, Path(path), format, told, self._engine.store.exports)

    def import_examples(
        self,
        path: str | Path,
        *,
        mapping: MappingLike | None = None,
        new_agents: bool = False,
        tell: Tell = lambda words, done: None,
    ) -> ImportReport:
        """Log each line of a file: an exported one as what it was, any other as an observed decision.

        The file is JSON lines, a JSON array or CSV (``.gz`` too). An exported line brings its decision and every part
        of its outcome, each once, however often it is imported. A line of another file has a task's fields, ``agent``
        or ``label``, and an outcome's fields; ``mapping`` says where they stand: ``{"text": ["title", "details"],
        "label": "tree", "label_level": "first"}``. A bad line is a dead letter.

        Args:
            path: The file.
            mapping: What the columns of a foreign file mean, see ``ColumnMapping``.
            new_agents: Whether names that nobody knows become agents; else their lines are refused.
            tell: Told how far it is: words, and the share done or None.

        Raises:
            InvalidInputError: if the file cannot be read, or has not the mapping's columns.
            StoreUnavailableError: if the log cannot be written.
        """
        return self._engine.intake.import_file(Path(path), mapping, new_agents=new_agents, tell=tell)

    def _check_observation(self, observed: Observation) -> None:
        task, agent, outcome = observed
        decision = self._engine.observation(task, agent)
        if outcome is not None:
            self._engine.entry(decision, outcome)

    def fit(self, X: Sequence[TaskLike], y: Sequence[Label], *, new_agents: bool = False) -> Self:  # noqa: N803
        """Log labelled tasks, and learn from them before this returns.

        Args:
            X: Tasks, or texts.
            y: For each the right agent's name, None for "no agent fits", or a score in [0, 1] per agent.
            new_agents: Whether names that nobody knows become agents.
        """
        observed = list(observations(paired(X, y)))
        self._engine.intake.welcome((agent for _, agent, _ in observed), new_agents=new_agents)
        for item in observed:
            self._check_observation(item)
        self.observe_batch(observed)
        self.flush()
        return self

    def evaluate(self, X: Sequence[TaskLike], y: Sequence[Label]) -> Evaluation:  # noqa: N803
        """Compare the favourites with labels or scores, see ``fit``; nothing is logged, learnt or explored."""
        pairs = paired(X, y)
        drawn = [self._engine.deciding.decide(task, remember=False).distribution for task, _ in pairs]
        chosen = [found.agents.names[found.favourite] if found.weights else None for found in drawn]
        names = self._engine.members.roster.everyone.names
        return judge(chosen, [label for _, label in pairs], names, [found.confidence for found in drawn])

    def snapshot(self) -> None:
        """Save the learnt state now, so that the next start has less to replay."""
        self.flush()
        self._engine.learner.snapshot()

    def archive(self, before: float | None = None, *, older_than: timedelta | None = None) -> int:
        """Move old decisions, and their outcomes, to a compressed file.

        What was learnt from them is snapshotted first and stays. Afterwards the past can only be replayed from
        there: a strategy whose settings change starts from what is left.

        Args:
            before: Those that were made before a time, in seconds since the epoch.
            older_than: Or those of a greater age; give one of the two.

        Returns:
            How many decisions were moved to the ``archive`` folder beside the store.

        Raises:
            InvalidInputError: if the time is none, or the age is none or negative.
        """
        if older_than is not None and not (isinstance(older_than, timedelta) and older_than >= timedelta(0)):
            raise InvalidInputError(f"older_than: expected a timedelta of at least 0, got {older_than!r:.60}")
        if older_than is not None and before is None:
            before = time.time() - older_than.total_seconds()
        elif before is None or older_than is not None:
            raise InvalidInputError("archive: give a time as before, or an age as older_than, one of the two")
        return self._engine.upkeep.archive(check_time(before, "before"))[0]

    def backup(self, target: str | Path, *, verify: bool = True) -> BackupReport:
        """Copy the log, the versions and what was learnt to a folder, as they are now, while others go on writing.

        ``router restore`` puts them back. A backup holds the texts that the store holds, and ``forget`` does not reach
        into it.

        Args:
            target: A folder that does not exist yet, or is empty.
            verify: Replay the copied log, and compare what it gives with what was learnt.

        Raises:
            InvalidInputError: if the target is something else.
            StoreUnavailableError: if something cannot be read or written; nothing is left of the backup then.
            CorruptArtifactError: if the copy is not what it should be.
        """
        self._writer.flush()
        replay = partial(verify_replay, reward=self.reward)
        return backup(self._engine.store, Path(target), replay if verify else None)

    def forget(self, session_id: str, *, tenant: str | None = None) -> int:
        """Erase what a session said: texts, features, vectors, responses and its id, from the files' raw bytes.

        Probabilities, rewards and labels stay; sums and fitted weights are not unlearnt.

        Args:
            session_id: Which.
            tenant: Whose session; None is that of tasks without a tenant.

        Returns:
            How many decisions were touched.

        Raises:
            StoreUnavailableError: if a reader keeps old pages, or another process is at work on the store's files; the
                log itself is erased then, and the rest is done as soon as it can be.
        """
        return self._engine.upkeep.forget(check_key(session_id, "session_id"), check_tenant(tenant))
