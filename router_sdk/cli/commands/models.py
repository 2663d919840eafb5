"""``router retrain``, ``versions``, ``promote`` and their like: what is fitted, what serves, how sure it must be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.commands.exchange import (
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
from router_sdk.cli.invocation import ActorOption, Invocation
from router_sdk.cli.model_tables import history_table, quarantine_table, version_table
from router_sdk.cli.tables import note, visible, word
from router_sdk.errors import FitError, InvalidInputError, UnknownVersionError
from router_sdk.evaluation.fit_page import render_fit_report
from router_sdk.private_files import may_be_written
from router_sdk.records import version_name
from router_sdk.spelling import counted
from router_sdk.training.trainer import not_trainable
from router_sdk.training.triggering import trainable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.evaluation.classification import Label
    from router_sdk.exchange.columns import ColumnMapping
    from router_sdk.exchange.observations import ImportReport
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
        fit = watched(invocation, router.models.retrain(strategy, **settings))
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
    tasks, wanted, agents = _generated(sessions, seed) if data is None else labelled(data, mapping)
    with invocation.router() as router:
        if not router.agents:
            for agent in agents:
                router.add_agent(agent)
        fit = watched(invocation, router.models.pretrain(tasks, wanted, strategy, wait=False, **_settings(set_)))
    _show(invocation, fit)


def warm_up(
    invocation: Invocation,
    folder: Annotated[
        Path, typer.Argument(help="The checkpoint: a folder with config.json, a tokenizer and safetensors.")
    ],
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="A JSONL or CSV file (.gz too) of tasks with a label or scores.")
    ],
    map_: MapOption = None,
    labels: LabelsOption = None,
    strategy: StrategyOption = None,
    set_: SettingsOption = None,
    pickled: Annotated[
        bool,
        typer.Option("--pickled", help="Its weights may be .bin or .pt: read as tensors alone, in a child process."),
    ] = False,
) -> None:
    """Make a first version from a checkpoint that was trained elsewhere, measured on labelled examples.

    They teach what stands for each agent, and what later fits must not forget; the figures on those that are held out
    are the baseline. Nothing is logged as something that happened here.
    """
    tasks, wanted, agents = labelled(data, mapping_of_data(map_, data, labels))
    settings = {**_settings(set_), **({"pickled_weights": True} if pickled else {})}
    with invocation.router() as router:
        if not router.agents:
            for agent in agents:
                router.add_agent(agent)
        fit = watched(invocation, router.models.warm_start(folder, tasks, wanted, strategy, wait=False, **settings))
    _show(invocation, fit)


def _generated(sessions: int, seed: int) -> tuple[list[Task], list[Label], Sequence[Agent]]:
    from router_sdk.demo.marketing_mix import generate_turns, marketing_mix_agents

    turns = list(generate_turns(sessions, seed=seed))
    return [turn.state.task() for turn in turns], [turn.wanted for turn in turns], marketing_mix_agents()


def labelled(path: Path, mapping: ColumnMapping | None) -> tuple[list[Task], list[Label], Sequence[Agent]]:
    """The tasks of a file that are not set aside for a test, their labels or scores, and the agents that it names."""
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


def watched(invocation: Invocation, fit: Fit) -> Fit:
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
            f"Fitted on {counted(version.samples, 'example')} in {seconds} s, "
            f"{word(version.metrics['held_out'])} held out.",
        ],
    )


def versions(
    invocation: Invocation,
    strategy: Annotated[str | None, typer.Argument(help="Of which strategy; all in the chain.")] = None,
) -> None:
    """Show the fitted versions: what they learnt from, what the gate said, which one served when; and quarantines."""
    with invocation.router(new=False, read_only=True) as router:
        found, left_out = router.models.versions(strategy), router.models.quarantines()
        served = {name: router.models.history(name) for name in sorted({one.strategy for one in found})}
    told = {
        "versions": [version.to_dict() for version in found],
        "history": {name: [entry._asdict() for entry in entries] for name, entries in served.items()},
        "quarantines": [one.to_dict() for one in left_out],
    }

    def tables() -> Iterator[RenderableType]:
        yield version_table(found)
        if any(served.values()):
            yield history_table(served, found)
        if left_out:
            yield quarantine_table(left_out)

    invocation.screen.show(told, tables)


def import_version(
    invocation: Invocation,
    folder: Annotated[Path, typer.Argument(help="What router.models.export_to wrote, in this store or another.")],
) -> None:
    """Register an exported version as a candidate: checked, judged by the gate, and not serving by itself.

    router promote lets it serve where the gate did, or with --force.
    """
    with invocation.router() as router:
        fit = watched(invocation, router.models.import_version(folder, wait=False))
    _show(invocation, fit)


def promote(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[int, typer.Argument(min=1, help="Which one.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For the history.")] = "by hand",
    force: Annotated[bool, typer.Option("--force", help="Although the gate refused it.")] = False,
    actor: ActorOption = None,
) -> None:
    """Let a version serve: in this store's routers within seconds, and until router unpin."""
    with invocation.router(new=False) as router:
        router.models.promote(strategy, version, reason=reason, force=force, actor=actor)
    invocation.screen.show(
        {"strategy": strategy, "version": version}, lambda: [f"Version {version} of {visible(strategy)} serves."]
    )


def rollback(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[
        int | None,
        typer.Argument(min=0, help="Which, of all that ever served; 0 is without any fit. By itself the one before."),
    ] = None,
    to_seq: Annotated[
        str | None,
        typer.Option(metavar="N", help="Position of the log, decision's id or time: what came since is quarantined."),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="For the history.")] = None,
    actor: ActorOption = None,
) -> None:
    """Let the version before serve again, or any that ever served, and pin it: see router unpin.

    With --to-seq the strategy also learns nothing of what came behind that position, until router lift; one that was
    never fitted goes back to there.
    """
    with invocation.router(new=False) as router:
        number = router.models.rollback(strategy, version, to_seq=to_seq, reason=reason, actor=actor)
        standing = router.status()["quarantines"] if to_seq is not None else []
    what = version_name(number).capitalize()
    told: dict[str, Any] = {"strategy": strategy, "version": number}
    said = [f"{what} of {visible(strategy)} serves again."]
    if standing:
        told["quarantine"] = standing[-1]["number"]
        said.append(f"It learns nothing of what came since, before router lift {standing[-1]['number']}.")
    invocation.screen.show(told, lambda: said)


def lift(
    invocation: Invocation,
    number: Annotated[int, typer.Argument(min=1, help="Which quarantine, see router versions.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For the history.")] = "by hand",
    actor: ActorOption = None,
) -> None:
    """Let what a quarantine left out of learning count again, as far as it is not archived."""
    with invocation.router(new=False) as router:
        router.models.lift(number, reason=reason, actor=actor)
    invocation.screen.show({"lifted": number}, lambda: [f"What quarantine {number} left out is learnt again."])


def report(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[int | None, typer.Argument(min=1, help="Which one; the newest.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes.")] = None,
) -> None:
    """Write a page about a fit: learning curves, confusion before and after, what was forgotten."""
    with invocation.router(new=False, read_only=True) as router:
        known = router.models.versions(strategy)
        if version is None and not known:
            raise UnknownVersionError(f"strategy {strategy!r} was never fitted; fit it with router retrain")
        found = router.models.report(strategy, version or known[-1].version)
    target = out or Path(f"{strategy}-{found.version}.html")
    try:
        may_be_written(target).write_text(render_fit_report(found), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"--out {target}: {error.strerror}") from error
    invocation.screen.show({**found.to_dict(), "page": str(target)}, lambda: [f"The page: {target}"])


def pin(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[int | None, typer.Argument(min=1, help="Which one is to serve; the one that serves.")] = None,
    actor: ActorOption = None,
) -> None:
    """Keep what serves, whatever fits come to, until router unpin, promote or rollback."""
    with invocation.router(new=False) as router:
        number = router.models.pin(strategy, version, actor=actor)
    name = visible(strategy)
    what = f"{name} as it is without any fit" if number is None else f"Version {number} of {name}"
    invocation.screen.show(
        {"strategy": strategy, "version": number, "pinned": True},
        lambda: [f"{what} serves, and stays.", note(f"No fit replaces it before router unpin {strategy}.")],
    )


def unpin(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    actor: ActorOption = None,
) -> None:
    """Let fits that pass the gate replace what serves again."""
    with invocation.router(new=False) as router:
        router.models.unpin(strategy, actor=actor)
    invocation.screen.show(
        {"strategy": strategy, "pinned": False},
        lambda: [f"A fit of {visible(strategy)} that passes the gate replaces what serves again."],
    )
