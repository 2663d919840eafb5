"""``router tune-thresholds``: below which confidence each strategy should hand a task on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import NOTHING, note, share, table, visible, word
from router_sdk.errors import InvalidConfigError, InvalidInputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.cli.config_file import ConfigFile, Keys
    from router_sdk.evaluation.thresholds import Threshold

_UNCHANGED = "Nothing was written."
_SETTING = "confidence_threshold"


def tune_thresholds(
    invocation: Invocation,
    cost_of_handing_on: Annotated[
        float, typer.Option(min=0.0, metavar="N", help="What it costs that the next one is asked, in wrong answers.")
    ] = 0.0,
    newest: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest outcomes judge.")] = 5_000,
    apply: Annotated[
        bool, typer.Option("--apply", help="Put what is found into the configuration file; shows the difference first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --apply: write it without asking.")] = False,
) -> None:
    """Find below which confidence each strategy should hand on, off the log. Without --apply it changes nothing.

    It teaches each strategy the log again, and asks it about each task before it learns what came of it.
    """
    file = _file(invocation, yes=yes) if apply else None
    with invocation.router(new=False) as router:
        found = router.models.tune_thresholds(cost_of_handing_on=cost_of_handing_on, newest=newest)
        now = {one["name"]: one for one in router.status()["strategies"]}
    wanted = {one.strategy: {_SETTING: one.value} for one in found if one.value is not None}
    told = [
        {**one.to_dict(), "now": now[one.strategy][_SETTING], "now_from": now[one.strategy][f"{_SETTING}_from"]}
        for one in found
    ]
    answer = {"thresholds": told, "strategy": wanted}
    screen = invocation.screen
    if file is None:
        screen.show(answer, lambda: [*_thresholds(told, found), *_to_put_in(found)])
        return
    changes: dict[Keys, float] = {
        ("strategy", one.strategy, _SETTING): one.value
        for one in found
        if one.value is not None and one.value != now[one.strategy][_SETTING]
    }
    text = file.edited(changes)
    screen.summary(lambda: [*_thresholds(told, found), *_difference(file, text)])
    written = bool(changes) and (yes or _agreed(file))
    if written:
        file.write(text)
    applied = {"config": str(file.path), "written": written, "diff": file.diff(text)}
    said = f"Wrote {file.path}; routers that run take it when they are started again." if written else _UNCHANGED
    screen.show({**answer, "applied": applied}, lambda: [note(said)])


def _file(invocation: Invocation, *, yes: bool) -> ConfigFile:
    """The file to write to, asked for before the work is done.

    Raises:
        InvalidInputError: if there is none, or nobody can be asked.
        InvalidConfigError: if it cannot be read, or what it says of a threshold is not what holds.
    """
    from router_sdk.cli.config_file import ConfigFile

    if invocation.as_json and not yes:
        raise InvalidInputError("--apply asks before it writes, and with --json nobody is asked: add --yes")
    path = invocation.config_path
    if path is None:
        raise InvalidInputError(
            "--apply: there is no configuration file here; name one with --config, or see router init"
        )
    file = ConfigFile.open(path)
    in_force = invocation.config.strategy
    in_file = file.settings().get("strategy", {})
    for name, settings in in_force.items():
        if settings.get(_SETTING) != in_file.get(name, {}).get(_SETTING):
            raise InvalidConfigError(
                f"--apply: ROUTER_STRATEGY sets {_SETTING} of {name} to {settings.get(_SETTING)}, and comes before "
                f"{file.path.name}: change it there, or take it out"
            )
    return file


def _agreed(file: ConfigFile) -> bool:
    """Whether somebody says yes.

    Raises:
        InvalidInputError: if nobody answers.
    """
    try:
        return typer.confirm(f"Write {file.path}?", err=True)
    except typer.Abort:
        raise InvalidInputError("nobody answered, and nothing was written; --yes writes without asking") from None


def _difference(file: ConfigFile, text: str) -> Sequence[RenderableType]:
    lines = file.diff(text)
    return [note("\n".join(lines))] if lines else []


def _to_put_in(found: Sequence[Threshold]) -> Sequence[RenderableType]:
    settings = [f"[strategy.{one.strategy}]\n{_SETTING} = {one.value:g}" for one in found if one.value]
    return [note(f"For the configuration file, or with --apply:\n{each}") for each in settings]


def _thresholds(told: Sequence[dict[str, Any]], found: Sequence[Threshold]) -> Sequence[RenderableType]:
    if not found:
        return [note("One strategy alone hands nothing on.")]
    rows = [
        [
            visible(one.strategy),
            f"{word(row['now'])} ({row['now_from']})",
            NOTHING if one.value is None else word(one.value),
            share(one.handed_on),
            f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f})" if one.value else NOTHING,
            visible(one.reason),
        ]
        for row, one in zip(told, found, strict=True)
    ]
    headings = ["strategy", ">now", ">best", ">hands on", ">reward per task", "why"]
    return [table("Below which confidence a strategy should hand on", headings, rows, wide="why", last=("strategy",))]
