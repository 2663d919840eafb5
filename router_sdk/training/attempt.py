"""One attempt at a fit: what serves is copied, the work is done elsewhere, the result is read.

An attempt that was interrupted, by a stop or by the end of the process, leaves its folder: the next one with the
same settings on the same version goes on there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import CorruptArtifactError, FitError, FitStoppedError
from router_sdk.exchange.existing import read_examples, taught_rows
from router_sdk.private_files import make_private, private_folder, write_private
from router_sdk.rewards import RewardMark, reward_name
from router_sdk.store.artifacts import entry, files_in
from router_sdk.store.datasets import dataset_of_json
from router_sdk.store.engines import reading
from router_sdk.store.pretraining import copy_pretraining, note_taught
from router_sdk.store.quarantine import Ranges, below, quarantined
from router_sdk.store.registry import forgotten_after
from router_sdk.store.transaction import HEAD
from router_sdk.training.brought import Brought
from router_sdk.training.fit import (
    BASE,
    DATASET,
    REPORT,
    REQUEST,
    SCRATCH,
    VERSION,
    FitRequest,
    portable_reward,
    read_report,
)
from router_sdk.training.perform import perform
from router_sdk.training.pretraining import Labelled
from router_sdk.training.registry import twin
from router_sdk.training.selection import CASES, selected
from router_sdk.training.synthetic import cases_around_errors, examples_of, write_cases
from router_sdk.training.worker import fit_in_child

if TYPE_CHECKING:
    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.records import AgentSet
    from router_sdk.routing.chain import Stage
    from router_sdk.store.datasets import DatasetRow
    from router_sdk.strategy import Strategy
    from router_sdk.training.fit import Fit, FitServices

Source = Labelled | Brought

SOURCE = "source.db"
"""The store of made-up examples, in the attempt's folder."""
_WANTED = "wanted.json"


class Attempt:
    """One attempt.

    Args:
        services: What it shares with others.
        stage: What serves.
        behind: Who is asked after it.
        settings: What of its configuration to override.
        agents: Whom to fit for.
        fresh_after: Position in the log that the fit before reached.
        needed: Examples that the gate needs to judge a candidate.
        source: Writes made-up examples into a store of their own and returns the position up to which to read there;
            then the attempt starts from the strategy as it is without any fit, or from a checkpoint. Or brings a
            candidate that somebody else makes.

    Attributes:
        kind: ``"fit"``, ``"pretrain"`` with a ``source``, or that of what is ``brought``.
        metrics: What is known of the candidate beside its report, as JSON values.
        began: Position in this router's log from which on a session that is forgotten may be remembered by the result.
    """

    def __init__(
        self,
        services: FitServices,
        stage: Stage,
        behind: Sequence[Stage],
        settings: Mapping[str, Any],
        agents: AgentSet,
        fresh_after: int,
        needed: int,
        source: Source | None = None,
    ) -> None:
        self._services, self._stage, self._behind, self._settings = services, stage, behind, settings
        self._brought = source if isinstance(source, Brought) else None
        self.kind = self._brought.kind if self._brought is not None else "fit" if source is None else "pretrain"
        self._start = source.start if isinstance(source, Labelled) else None
        self.metrics: dict[str, Any] = {} if self._start is None else {"warm_start": self._start.name}
        self.began: int = services.store.reader.query(lambda connection: connection.execute(HEAD).fetchone()[0])
        self._folder = entry(services.store.folder / "fits", f"{stage.name}-{self.kind}")
        reward = RewardMark(services.reward).text
        other = set() if self.kind == "fit" else {"existing", "existing_ratio"}
        training = services.config.training.model_dump(mode="json", exclude_defaults=True, exclude=other)
        wanted = {
            "settings": dict(settings),
            "parent": stage.model_version,
            "reward": reward,
            "training": training,
            **services.config.gate.tasks,
        }
        self._note_existing(agents)
        left_over = self._left_over(wanted) if self.kind == "fit" else None
        if left_over is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            private_folder(self._folder / BASE)
            if source is None or isinstance(source, Brought):
                where, upto = services.store.engine.location, self._copied()
                unread = self._quarantined(upto)
            else:
                self._copy_unfitted(agents)
                where, unread = str(self._folder / SOURCE), ()
                upto = source(Path(where))
            left_over = self._write_request(agents, fresh_after, needed, (where, upto, unread), wanted)
        self._request = left_over
        if self.kind == "fit" and services.config.training.synthetic_ratio and not (self._folder / CASES).exists():
            self._make_up_cases(agents)
        if self.kind != "pretrain":
            self.began = self.upto

    @property
    def upto(self) -> int:
        """Position in this router's log up to which the version will have learnt."""
        if self._brought is not None and self._brought.upto is not None:
            return self._brought.upto
        return 0 if self.kind == "pretrain" else self._request.upto

    @property
    def left_out(self) -> Ranges:
        """Positions up to there that it learns nothing of."""
        return self._request.left_out

    def waits_for_a_person(self, serving: int | None) -> bool:
        """Whether it serves by a person's word alone: it was not made for the place of what serves."""
        return self.kind == "import" or (self._start is not None and serving is not None)

    def run(self, fit: Fit) -> FitReport:
        """Do the work, in a child process where everything can be named there, else on this thread.

        Raises:
            FitError: if it failed; nothing is left of it.
            FitStoppedError: if it was told to stop; what it checkpointed is left for the next attempt. Or if some of
                what it worked on was quarantined meanwhile; the next one begins anew.
        """
        for leftover in (SCRATCH, VERSION):
            shutil.rmtree(self._folder / leftover, ignore_errors=True)
        try:
            if self._brought is not None:
                made, self.metrics = self._brought.bring(self._request, self._folder, self._services, fit)
                self._request = replace(self._request, made=str(made), learns=self._brought.learns)
                self._request.write(self._folder / REQUEST)
            if self._in_child():
                fit_in_child(self._folder, self._request.device, fit)
                report = read_report(self._folder / REPORT)
            else:
                report = self._here(fit)
            if self.kind != "pretrain" and self._quarantined(self.upto) != self.left_out:
                raise FitStoppedError("some of what it was fitted on is quarantined by now, or counts again")
            return report if self._brought is None else self._brought.judged(report)
        except BaseException as error:
            if self._brought is not None or not isinstance(error, FitStoppedError):
                shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def dataset(self) -> DatasetRow | None:
        """What the version was trained on; of an imported one that is not known here."""
        if self.kind == "import":
            return None
        return dataset_of_json((self._folder / DATASET).read_text(encoding="utf-8"))

    def note_pretraining(self) -> None:
        """Log of which decisions a pre-training was: they can be forgotten, and told from what happens later."""
        if self.kind == "pretrain":
            copy_pretraining(self._services.store.writer, self._folder / SOURCE)

    def hand_over(self, folder: Path) -> None:
        """Move the version's files to where they shall stand."""
        private_folder(folder.parent)
        (self._folder / VERSION).rename(folder)

    def tidy(self) -> None:
        """Nothing of it is needed any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _note_existing(self, agents: AgentSet) -> None:
        """Log which examples of the file beside the log may be remembered, so that they can be forgotten."""
        path = self._services.config.training.existing
        if path is not None and self.kind == "fit":
            read = read_examples(path, agents, self._services.reward)
            note_taught(self._services.store.writer, taught_rows(read))

    def _make_up_cases(self, agents: AgentSet) -> None:
        """Write cases around errors for the fit, and log that they may be remembered, so that they can be forgotten."""
        with reading(self._services.store.engine.location) as connection:
            chosen = selected(self._request, connection, agents, self._services.reward).whole.examples
            cases = cases_around_errors(chosen, agents)
            of = {one.decision_id: one.task for one in chosen}
            made = [(of[error], one) for error, one in examples_of(cases, agents)]
        taught = [(one.decision_id, task.session_id, one.context_hash, task.tenant) for task, one in made]
        note_taught(self._services.store.writer, taught)
        write_cases(cases, self._folder / CASES)

    # -- what is copied

    def _copied(self) -> int:
        """Copy what serves, without what it has not yet forgotten, and return how far it has learnt.

        Who forgets a session looks for such copies once that is logged; so whoever copies looks afterwards.
        """
        self._services.learner.drain()  # what serves holds nothing of what is quarantined by now
        upto: int = self._services.learner.submit(self._copy_serving).result()
        missed = self._services.store.reader.query(lambda connection: forgotten_after(connection, upto))
        if missed:
            copy = twin(self._stage.strategy)
            copy.load(self._folder / BASE)
            copy.forget_examples([decision_id for ids in missed.values() for decision_id in ids])
            shutil.rmtree(self._folder / BASE)
            copy.save(private_folder(self._folder / BASE))
            copy.close()
        return upto

    def _left_over(self, wanted: Mapping[str, Any]) -> FitRequest | None:
        """What an attempt like this one was told before it was interrupted; None where there was none."""
        try:
            if json.loads((self._folder / _WANTED).read_text(encoding="utf-8")) != wanted:
                return None
            request = FitRequest.read(self._folder / REQUEST)
            files_in(self._folder)  # none of them leads elsewhere
        except (OSError, ValueError, TypeError, RecursionError, CorruptArtifactError):
            return None
        strategy, log = self._stage.strategy, self._services.store.engine.location
        told = (request.strategy, request.folder, request.store, request.caches)
        here = (
            strategy.name,
            *map(str, (self._folder, log, strategy.services.folder)),
        )
        same = told == here and (self.kind != "fit" or request.left_out == self._quarantined(request.upto))
        return request if same and (self._folder / BASE).is_dir() else None

    def _quarantined(self, upto: int) -> Ranges:
        """What the strategy is to leave out of the log up to a position."""
        query = self._services.store.reader.query
        return below(query(lambda connection: quarantined(connection, self._stage.name)), upto)

    def _copy_serving(self) -> int:
        with self._services.learner.folding.lock:
            self._stage.strategy.save(self._folder / BASE)
            return self._services.learner.folding[self._stage.name].cursor

    def _copy_unfitted(self, agents: AgentSet) -> None:
        fresh = twin(self._stage.strategy)
        fresh.prepare(agents)
        fresh.save(self._folder / BASE)

    def _write_request(
        self,
        agents: AgentSet,
        fresh_after: int,
        needed: int,
        source: tuple[str, int, Ranges],
        wanted: Mapping[str, Any],
    ) -> FitRequest:
        config, strategy = self._services.config, self._stage.strategy
        request = FitRequest(
            strategy=strategy.name,
            settings=strategy.config.model_dump(mode="json", exclude_unset=True),
            overrides=dict(self._settings),
            encoders=config.encoder,
            store=source[0],
            reward=self._named_reward() or {},
            agents=[agent.model_dump(mode="json") for agent in agents],
            upto=source[1],
            fresh_after=fresh_after,
            held_out=config.held_out,
            needed=needed if self._brought is None else 0,  # it is judged as it is, and not once for each part
            folder=str(self._folder),
            caches=str(strategy.services.folder),
            device=config.device,
            seed=config.seed or 0,
            synthetic=self.kind == "pretrain",
            behind=[_described(stage.strategy) for stage in self._behind],
            **config.gate.tasks,
            fitted=self.kind != "pretrain" and self._stage.model_version is not None,
            training=wanted["training"],
            left_out=source[2],
            start=None if self._start is None else str(self._start),
        )
        request.write(self._folder / REQUEST)
        for path in self._folder.rglob("*"):
            make_private(path)
        write_private(self._folder / _WANTED, json.dumps(wanted))  # last: now it can be resumed
        return request

    # -- where the work is done

    def _in_child(self) -> bool:
        executor = self._services.config.fit_executor
        if executor == "process" and self._named_reward() is None:
            raise FitError(
                f"fit_executor='process': a child process knows no reward {reward_name(self._services.reward)!r}; let "
                "a plugin register it and name it in the configuration, or use fit_executor='auto'"
            )
        if executor != "auto":
            return executor == "process"
        known = self._services.plugins.installed(self._stage.name)
        return known is type(self._stage.strategy) and self._named_reward() is not None

    def _named_reward(self) -> str | Mapping[str, Any] | None:
        return portable_reward(self._services.reward, self._services.config.reward, self._services.plugins)

    def _here(self, fit: Fit) -> FitReport:
        strategy = twin(self._stage.strategy)
        services = self._services
        behind = [twin(stage.strategy) for stage in self._behind]
        told = (services.reward, services.encoders, fit.progress, behind, fit.stopped)
        return perform(self._request, strategy, *told)


def _described(strategy: Strategy) -> tuple[str, dict[str, Any], str]:
    settings = strategy.config.model_dump(mode="json", exclude_unset=True)
    return strategy.name, settings, str(strategy.services.folder)
