"""``router retrain`` and ``router pretrain``: a new version, while you watch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.commands.importing import (
    LabelsOption,
    MapOption,
    NewAgentsOption,
    RangeOption,
    bring_in,
    check_refused,
    file_to_import,
    import_words,
    mapping_of_data,
    told_mapping,
)
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import visible, word
from router_sdk.errors import FitError, InvalidInputError
from router_sdk.training.trainer import not_trainable, trainable

if TYPE_CHECKING:
    from router_sdk.evaluation.classification import Label
    from router_sdk.exchange.importing import ImportReport
    from router_sdk.exchange.mapping import ColumnMapping
    from router_sdk.records import Agent, Task
    from router_sdk.training.fit import Fit

_LOOK_S = 0.2

StrategyOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which strategy; the first in the chain that has a fit.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a setting for this fit, such as epochs=3; several times."
    ),
]


def retrain(
    invocation: Invocation,
    strategy: StrategyOption = None,
    set_: SettingsOption = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="Import this file first, as router import does.")
    ] = None,
    map_: MapOption = None,
    labels: LabelsOption = None,
    score_range: RangeOption = None,
    new_agents: NewAgentsOption = False,
) -> None:
    """Fit a new version from the log. It serves once it has passed the gate.

    Routers that have the store open serve it within seconds, between two requests.
    """
    settings, mapping = _settings(set_), told_mapping(map_, labels, score_range)
    if from_ is None and (mapping or new_agents):
        raise InvalidInputError("--map, --labels, --score-range and --new-agents are about a file; name it with --from")
    source = None if from_ is None else file_to_import(from_)
    report = None
    with invocation.router(new=source is not None) as router:
        if source is not None:
            names = [one["name"] for one in router.status()["strategies"]] if strategy is None else [strategy]
            if not any(trainable(router.strategy(name)) for name in names):
                raise not_trainable(strategy or names)  # before anything is imported
            report = bring_in(invocation, router, source, mapping, new_agents=new_agents)
        fit = _watched(invocation, router.retrain(strategy, **settings))
    _show(invocation, fit, report)
    if report is not None:
        check_refused(report)


def pretrain(
    invocation: Invocation,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSONL or CSV file (.gz too) of tasks with a label or per-agent scores."),
    ] = None,
    map_: MapOption = None,
    labels: LabelsOption = None,
    sessions: Annotated[
        int, typer.Option(min=20, metavar="N", help="Without a file: generated sessions of the marketing-mix scenario.")
    ] = 3_000,
    strategy: StrategyOption = None,
    set_: SettingsOption = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the generated sessions.")] = 0,
) -> None:
    """Fit a first version before anything happened, from generated sessions or from a file.

    What it learns from is not logged as something that happened here. Agents that the file or the scenario names are
    added to the store, where neither the configuration nor the store has any.
    """
    mapping = mapping_of_data(map_, data, labels)
    tasks, wanted, agents = _generated(sessions, seed) if data is None else _read(data, mapping)
    with invocation.router() as router:
        if not router.agents:
            for agent in agents:
                router.add_agent(agent)
        fit = _watched(invocation, router.pretrain(tasks, wanted, strategy, wait=False, **_settings(set_)))
    _show(invocation, fit)


def _generated(sessions: int, seed: int) -> tuple[list[Task], list[Label], Sequence[Agent]]:
    from router_sdk.demo.marketing_mix import generate_turns, marketing_mix_agents

    turns = list(generate_turns(sessions, seed=seed))
    return [turn.state.task() for turn in turns], [turn.wanted for turn in turns], marketing_mix_agents()


def _read(path: Path, mapping: ColumnMapping | None) -> tuple[list[Task], list[Label], Sequence[Agent]]:
    from router_sdk.demo.datasets import is_train, read_dataset

    found = read_dataset(path, mapping=mapping)
    rows = [row.item for row in found.rows if is_train(row.split)]
    labels: list[Label] = [dict(item.rewards) if found.columns.has_scores else item.best for item in rows]
    return [item.task for item in rows], labels, found.agents


def _settings(given: Sequence[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` pairs; a value that is JSON is taken as such."""
    found: dict[str, Any] = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals):
            raise InvalidInputError(f"--set {pair!r}: write KEY=VALUE, such as epochs=3")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _watched(invocation: Invocation, fit: Fit) -> Fit:
    """Show how far it is until it has ended.

    Raises:
        FitError: if it failed.
    """
    with invocation.screen.progress("starting") as tell:
        try:
            while True:
                try:
                    return fit.wait(_LOOK_S)
                except TimeoutError:
                    tell(fit.words, fit.share)
        except KeyboardInterrupt:
            fit.stop()
            raise


def _show(invocation: Invocation, fit: Fit, imported: ImportReport | None = None) -> None:
    version = fit.version
    if version is None:
        raise FitError(fit.words)
    report: dict[str, Any] = {"state": fit.state, "reason": fit.words, "version": version.to_dict()}
    if imported is not None:
        report["imported"] = asdict(imported)
    seconds = word(round(version.metrics.get("duration_s", 0.0)))
    invocation.screen.show(
        report,
        lambda: [
            *([] if imported is None else import_words(invocation, imported)),
            f"Version {version.version} of {visible(version.strategy)}: {fit.state}.",
            f"{visible(fit.words)}",
            f"Fitted on {word(version.samples)} examples in {seconds} s, {word(version.metrics['held_out'])} held out.",
        ],
    )
