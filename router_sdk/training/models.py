"""``router.models``: fits, the versions that came of them, and which of them serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from router_sdk.errors import InvalidInputError, NotTrainableError
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, ExportSettings
from router_sdk.exchange.observations import observations, paired
from router_sdk.records.arguments import flag, name, place, whole, words, words_if_any
from router_sdk.training.brought import Exported, External, TrainFunction
from router_sdk.training.datasets import Dataset
from router_sdk.training.pretraining import Labelled, Vectors, checkpoint_folder
from router_sdk.training.promoting import BY_HAND
from router_sdk.training.tracking import Tracked, TrackingOptions, log_version
from router_sdk.training.triggering import TriggerCheck, trainable

if TYPE_CHECKING:
    from router_sdk.evaluation.classification import Label
    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.evaluation.thresholds import Threshold
    from router_sdk.recording import Recorder
    from router_sdk.records import ModelVersion, TaskLike
    from router_sdk.routing.chain import Chain
    from router_sdk.store.quarantine import Position, Quarantine
    from router_sdk.store.registry import Champion
    from router_sdk.training.fit import Fit
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry
    from router_sdk.training.thresholds import ThresholdTuner
    from router_sdk.training.trainer import Trainer


class Models:
    """The fitted versions of a router's strategies.

    Args:
        chain: The strategies.
        registry: Their versions.
        trainer: Who fits.
        promoter: Who lets a version serve.
        recorder: Makes decisions of examples that are no part of the log.
        vectors: What the strategies' encoders make of a text.
        flush: Returns once all that was recorded is learnt.
        tuner: Looks for thresholds.
    """

    def __init__(
        self,
        chain: Chain,
        registry: Registry,
        trainer: Trainer,
        promoter: Promoter,
        recorder: Recorder,
        vectors: Vectors,
        flush: Callable[[], None],
        tuner: ThresholdTuner,
    ) -> None:
        self._chain, self._registry, self._trainer, self._promoter = chain, registry, trainer, promoter
        self._recorder, self._vectors, self._flush, self._tuner = recorder, vectors, flush, tuner

    # -- fits

    def retrain(
        self, strategy: str | None = None, /, *, wait: bool = False, reason: str = BY_HAND, **settings: Any
    ) -> Fit:
        """Fit a new version in the background; it serves once it has passed the gate.

        While another one runs it waits for its turn, and is the same one where it is asked for again meanwhile.

        Args:
            strategy: Which; None takes the first in the chain that has a fit.
            wait: Return when the fit has ended.
            reason: Why, for the history.
            **settings: What of its configuration to override, such as ``epochs``, ``learning_rate``, ``batch_size``.

        Returns:
            The fit: how far it is, how it ended, and a way to stop it.

        Raises:
            NotTrainableError: if nothing in the chain has a fit, or with ``tenancy="separate"``.
            InvalidConfigError: if a setting is unknown or out of range.
            FitError: if 16 fits wait already, or with ``wait`` if it failed.
        """
        reason = words(reason, "reason")
        self._flush()
        fit = self._trainer.retrain(strategy, settings, reason=reason)
        return fit.wait() if wait else fit

    def pretrain(
        self,
        X: Sequence[TaskLike],  # noqa: N803
        y: Sequence[Label],
        strategy: str | None = None,
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
            strategy: Which; None takes the first in the chain that has a fit.
            wait: Return when the fit has ended.
            **settings: What of the strategy's configuration to override.

        Raises:
            InvalidInputError: if there is no example.
        """
        observed = list(observations(paired(X, y)))
        if not observed:
            raise InvalidInputError("pretrain: there is no example to learn from")
        source = Labelled(observed, self._recorder, self._vectors)
        fit = self._trainer.retrain(strategy, settings, source, "pre-training")
        return fit.wait() if wait else fit

    def warm_start(
        self,
        folder: str | Path,
        X: Sequence[TaskLike],  # noqa: N803
        y: Sequence[Label],
        strategy: str | None = None,
        /,
        *,
        wait: bool = True,
        **settings: Any,
    ) -> Fit:
        """Make a first version from a checkpoint that somebody else trained, and measure it on labelled examples.

        Its weights stay as they are. The examples teach what stands for each agent, and give the Fisher information by
        which later fits hold it, and its ``baseline``. It passes the same gate as a pre-training; where a fitted
        version serves already, ``promote`` lets it serve. Arguments are as for ``pretrain``; ``folder`` is what
        ``save_pretrained`` wrote. Weights that were pickled (``.bin``, ``.pt``) need a setting of the strategy, for
        ``bert`` ``pickled_weights=True``.

        Raises:
            InvalidInputError: if it is no folder, or there is no example.
            NotTrainableError: if the strategy starts from no checkpoint.
            FitError: with ``wait``, if the checkpoint cannot be read.
        """
        start = checkpoint_folder(place(folder, "folder"))
        stage = self._trainer.stage(strategy)
        if not stage.strategy.warm_starts:
            raise NotTrainableError(f"{stage.name} starts from no checkpoint; router-sdk-bert brings one that does")
        source = Labelled(list(observations(paired(X, y))), self._recorder, self._vectors, start)
        fit = self._trainer.retrain(stage.name, settings, source, f"warm start from {start.name}")
        return fit.wait() if wait else fit

    def baseline(self, strategy: str) -> dict[str, Any] | None:
        """What a strategy's newest warm start was measured to be, on held-out labelled examples; None without one.

        It has ``version, at, warm_start`` (the folder's name) and ``accuracy, value, log_loss, ece, macro_f1`` …
        """
        return self._registry.baseline(self._chain.stage(strategy).name)

    def tune_thresholds(self, *, cost_of_handing_on: float = 0.0, newest: int = 5_000) -> list[Threshold]:
        """The ``confidence_threshold`` of each strategy with which the chain would have earned most, off the log.

        Each strategy is taught the log again, and asked about each of the newest tasks before it learns of its outcome.
        Nothing is changed: what is found can be put into the configuration. The last in the chain always answers.

        Args:
            cost_of_handing_on: In wrong answers. By default nothing: the next one is asked within the same request.
            newest: Outcomes that judge.

        Returns:
            For each strategy but the last what was found, or why nothing was: ``Threshold.value`` is then None.

        Raises:
            InvalidInputError: if a number is out of range.
            StrategyError: if a strategy cannot be made again.
        """
        self._flush()
        return self._tuner.tune(cost_of_handing_on=cost_of_handing_on, newest=newest)

    def check_and_retrain(
        self,
        train_fn: TrainFunction,
        strategy: str | None = None,
        /,
        *,
        format: ExportFormat = "jsonl",
        force: bool = False,
        wait: bool = True,
        **options: Unpack[ExportSettings],
    ) -> Fit | None:
        """Where a trigger says that it is time, have a function of yours train a version; it passes the same gate.

        It is called on a thread of its own with the path of a file that holds what a fit would be trained on, without
        what judges, as ``RouterConfig.training`` says. It returns ``{"model_path": folder, "metrics": {...}}``: a
        state that the strategy can load, which is copied, and figures that are kept with the version. The file is
        deleted when it returns. Where the fit is stopped, or a session forgotten, what it returns is thrown away.

        Args:
            train_fn: The function.
            strategy: Whose version; None takes the first in the chain that has a fit.
            format: Of the file, see ``router.examples.export``.
            force: Without asking the triggers.
            wait: Return when the fit has ended.
            **options: What of the examples goes into the file, see ``ExportSettings``.

        Returns:
            The fit; None where no trigger says that it is time.

        Raises:
            NotTrainableError: if nothing in the chain has a fit, or the strategy has no state, or with
                ``tenancy="separate"``.
            InvalidInputError: if the format is unknown, or options contradict.
            FitError: if 16 fits wait already, or with ``wait`` if it failed: the function raised or returned
                something else, or the state does not load. Nothing of it is left.
        """
        if not callable(train_fn):
            raise InvalidInputError(f"train_fn: expected a function of a file's path, got {train_fn!r:.60}")
        chosen = ExportOptions.of("", **options)
        chosen.check(format)
        self._flush()
        stage = self._trainer.stage(strategy, brought=True)
        told = self._trainer.triggering.check(stage)
        reason = "train_fn, by hand" if force else None if told.waits else told.due
        if reason is None:
            return None
        fit = self._trainer.retrain(stage.name, {}, External(train_fn, format, chosen), reason)
        return fit.wait() if wait else fit

    @property
    def newest_fit(self) -> Fit | None:
        """The fit that was started last in this process, running or ended."""
        return self._trainer.turns.newest

    # -- when

    def check_triggers(self, strategy: str | None = None) -> list[TriggerCheck]:
        """What each trigger measures now, from which value it is time, and why not yet.

        Args:
            strategy: Of which; None checks all in the chain that have a fit.

        Raises:
            UnknownStrategyError: if the chain has none of that name.
        """
        stages = self._chain.stages if strategy is None else [self._chain.stage(strategy)]
        return [self._trainer.triggering.check(stage) for stage in stages if trainable(stage.strategy)]

    def fits(self, strategy: str, *, after: int = 0, limit: int = 20) -> list[dict[str, Any]]:
        """Attempts to fit that have ended, newest first, by any process on the log.

        Args:
            strategy: Whose.
            after: Those that came after the one with this ``id``.
            limit: The most.

        Returns:
            Of each ``id, at, status`` (``succeeded``, ``refused``, ``failed`` or ``stopped``), ``reason`` (why it was
            begun), ``error`` (what became of it, where it did not come to serve), ``model_version``, ``samples``,
            ``metrics_before`` and ``metrics_after`` on the held-out examples, and ``duration_ms``.
        """
        return self._registry.fits(name(strategy, "strategy"), whole(after, "after"), whole(limit, "limit"))

    def status(self) -> list[dict[str, Any]]:
        """Of each strategy that has a fit: what serves since when and why, what was refused last, and the triggers."""
        told = []
        for check in self.check_triggers():
            strategy, served = check.strategy, self._registry.champion(check.strategy)
            made: dict[int | None, ModelVersion] = {one.version: one for one in self._registry.versions(strategy)}
            why = _why(made.get(served.version), served.reason)
            refused = next((one for one in self.fits(strategy, limit=100) if one["status"] == "refused"), None)
            if refused is not None:
                said = (refused["error"] or "").removeprefix("refused: ").removeprefix("held: ")
                refused = {**refused, "why": _why(made.get(refused["model_version"]), said)}
            told.append(
                {
                    "strategy": strategy,
                    "serving": {**served._asdict(), "why": why} if served.token else None,
                    "refused": refused,
                    "baseline": self.baseline(strategy),
                    "parameters": self._registry.norms(strategy),
                    "triggers": check.to_dict(),
                }
            )
        return told

    # -- versions

    def versions(self, strategy: str | None = None) -> list[ModelVersion]:
        """Fitted versions, oldest first; of one strategy, or of all in the chain.

        Raises:
            UnknownStrategyError: if the chain has none of that name.
        """
        stages = self._chain.stages if strategy is None else [self._chain.stage(strategy)]
        return [version for stage in stages for version in self._registry.versions(stage.name)]

    def history(self, strategy: str) -> list[Champion]:
        """What served when, who said so, and why, newest first: nobody edits it.

        Raises:
            UnknownStrategyError: if the chain has none of that name.
        """
        return self._registry.history(self._chain.stage(strategy).name)

    def report(self, strategy: str, version: int) -> FitReport:
        """What the fit of a version measured: curves, confusion before and after, forgetting.

        Raises:
            UnknownVersionError: if there is none of that number.
            CorruptArtifactError: if the report is lost.
        """
        return self._registry.report(self._version(strategy, version))

    def export_to(self, strategy: str, version: int, target: str | Path) -> Path:
        """Copy a version's files to a folder, with ``version.json`` and ``report.json`` beside them.

        ``forget`` does not reach into it.

        Args:
            strategy: Whose.
            version: Which.
            target: A folder that does not exist yet, or is empty.

        Returns:
            The folder.

        Raises:
            UnknownVersionError: if there is none of that number, or its files were given up.
            CorruptArtifactError: if a file is missing or does not match its checksum.
            InvalidInputError: if the target is something else.
        """
        return self._registry.export(self._version(strategy, version), place(target, "target"))

    def log_to_mlflow(self, strategy: str, version: int, **options: Unpack[TrackingOptions]) -> Tracked:
        """Log a version to MLflow, see ``training.tracking.log_version``; ``forget`` does not reach into it.

        Raises:
            UnknownVersionError: if there is none of that number, or its files were given up.
            InvalidConfigError: if MLflow is not installed.
            InvalidInputError: if MLflow refuses it, or cannot be reached.
        """
        found = self._version(strategy, version)
        return log_version(found, partial(self._registry.export, found), **options)

    def import_version(self, folder: str | Path, /, *, wait: bool = True) -> Fit:
        """Register a version that ``export_to`` wrote, here or elsewhere, as a candidate; it does not serve by itself.

        Its files are compared with their checksums, and it is judged on what this log holds out: ``promote`` lets it
        serve where the gate did, or with ``force``. Then it learns what it has not learnt of this log.

        Args:
            folder: What ``export_to`` wrote.
            wait: Return when it is judged.

        Returns:
            The fit that judges it; its ``version`` is the candidate.

        Raises:
            InvalidInputError: if it is no folder.
            CorruptArtifactError: if a file is missing, added or changed, or it is no version.
            UnknownStrategyError: if the chain has no strategy of that name.
            FitError: if 16 fits wait already, or with ``wait`` if it does not load.
        """
        path = place(folder, "folder")
        exported = Exported.read(path, self._registry.log)
        self._flush()
        fit = self._trainer.retrain(exported.strategy, {}, exported, f"imported from {path.name}")
        return fit.wait() if wait else fit

    def _version(self, strategy: str, version: int) -> ModelVersion:
        return self._registry.version(name(strategy, "strategy"), whole(version, "version", 1))

    def dataset(self, strategy: str, version: int) -> Dataset:
        """What a version was trained on: counts, settings, and the examples themselves, to be read or exported.

        Raises:
            UnknownVersionError: if there is none of that number, or it was not noted what it was trained on.
            CorruptArtifactError: if what was noted cannot be read.
        """
        found = self._version(strategy, version)
        return Dataset(found, self._registry.dataset(found), self._recorder.store, self._recorder.reward)

    def category_distribution(self, strategy: str | None = None) -> dict[str | None, int]:
        """How many examples a strategy remembers of each agent, in the state that serves; None is "no agent fits".

        Args:
            strategy: Which; None takes the first in the chain that has a fit.

        Raises:
            UnknownStrategyError: if the chain has none of that name.
            NotTrainableError: if none is named, and nothing in the chain has a fit.
        """
        self._flush()
        stage = self._trainer.stage(None) if strategy is None else self._chain.stage(strategy)
        return dict(stage.strategy.category_distribution())

    # -- which one serves

    def promote(
        self,
        strategy: str,
        version: int,
        *,
        reason: str = BY_HAND,
        force: bool = False,
        pin: bool = True,
        actor: str | None = None,
    ) -> ModelVersion:
        """Let a version serve, between two requests, until a person says otherwise.

        Args:
            strategy: Whose.
            version: Which.
            reason: For the history.
            force: Although the gate refused it.
            pin: False lets the next fit that passes the gate replace it.
            actor: Who says so, for the history.

        Raises:
            UnknownVersionError: if there is none of that number, or its files were given up.
            GateRefusedError: if the gate refused it.
            CorruptArtifactError: if its files are damaged; what serves goes on.
            NotTrainableError: if each tenant has a state of its own, and nothing else serves.
        """
        chosen = name(strategy, "strategy"), whole(version, "version", 1)
        force, pin = flag(force, "force"), flag(pin, "pin")
        told = words(reason, "reason")
        return self._promoter.promote(*chosen, reason=told, force=force, pin=pin, actor=words_if_any(actor, "actor"))

    def rollback(
        self,
        strategy: str,
        version: int | None = None,
        *,
        to_seq: Position | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int | None:
        """Let a version serve again that served before, and return its number; None is the strategy without any fit.

        It stays until a person says otherwise: no fit replaces it before ``unpin``.

        Args:
            strategy: Whose.
            version: Which, of all that ever served; 0 is the strategy without any fit, None what served before.
            to_seq: Position up to which it shall know the log: what came since is quarantined for it, which is all that
                is done for one that was never fitted.
            reason: Why, for the history.
            actor: Who says so.

        Raises:
            UnknownVersionError: if what serves was never fitted, or the version never served, or its files are gone.
            GateRefusedError: if the version is in quarantine.
            InvalidInputError: if it serves already, nothing came behind ``to_seq``, or that is no position.
        """
        chosen = name(strategy, "strategy"), None if version is None else whole(version, "version")
        why = words_if_any(reason, "reason")
        number = self._promoter.rollback(*chosen, to_seq, reason=why, actor=words_if_any(actor, "actor"))
        if to_seq is not None:
            self._flush()
        return number

    def pin(self, strategy: str, version: int | None = None, *, actor: str | None = None) -> int | None:
        """Keep what serves, whatever fits come to, until ``unpin``, ``promote`` or ``rollback``.

        Args:
            strategy: Whose.
            version: Which version is to serve and stay; None keeps the one that serves.
            actor: Who says so, for the history.

        Returns:
            The version that serves; None is the strategy without any fit.

        Raises:
            UnknownVersionError: if there is none of that number.
            NotTrainableError: if no fit could ever replace what serves.
        """
        number = None if version is None else whole(version, "version", 1)
        return self._promoter.pin(name(strategy, "strategy"), number, words_if_any(actor, "actor"))

    def unpin(self, strategy: str, *, actor: str | None = None) -> None:
        """Let fits that pass the gate replace what serves again, because an ``actor`` says so.

        Raises:
            NotTrainableError: if no fit could ever replace it.
        """
        self._promoter.unpin(strategy, words_if_any(actor, "actor"))

    # -- what teaches nothing

    def quarantine(
        self,
        strategy: str | None = None,
        *,
        from_seq: Position,
        to_seq: Position | None = None,
        reason: str,
        actor: str | None = None,
    ) -> int:
        """Let outcomes behind one position of the log, and up to another, teach nothing, as if never recorded.

        What was learnt of them goes: here when this returns, in other processes on the store within two seconds. Each
        begins at its newest snapshot from before, and learns the rest of the log aside, while requests are served by
        what there was. Fits leave them out. Reports, calibration, who of a chain answers, off-policy evaluation and
        exports keep them. What a fitted version was made from stays in it, and ``status()`` says so.

        Args:
            strategy: Who is to learn nothing of them; None is every strategy.
            from_seq: A position in the log, the id of a decision (its position), or a time (that of the last outcome
                by then), as a ``datetime`` or in ISO 8601.
            to_seq: The same; None is the end of the log.
            reason: Why, in up to 1,000 characters.
            actor: Who says so.

        Returns:
            Its number, for ``lift``; that of the one in force where the same was said before.

        Raises:
            InvalidInputError: if a position is none, or nothing lies in between.
            UnknownDecisionError: if the log holds no decision of an id.
            UnknownStrategyError: if the chain has no such strategy.
        """
        number = self._promoter.quarantines.add(strategy, from_seq, to_seq, reason=reason, actor=actor)
        self._flush()
        return number

    def lift(self, number: int, *, reason: str = "by hand", actor: str | None = None) -> None:
        """Let what a quarantine left out count again. It is learnt from the log, as far as that is not archived.

        Raises:
            InvalidInputError: if there is none of that number in force.
        """
        self._promoter.quarantines.lift(number, reason=reason, actor=actor)
        self._flush()

    def quarantines(self) -> list[Quarantine]:
        """Every quarantine there was, oldest first; ``lifted_at`` is None of those in force."""
        return self._promoter.quarantines.all()


def _why(made: ModelVersion | None, said: str) -> str:
    """What was noted of a version, in words where that is what its gate said."""
    return said if made is None else made.in_words(said)
