"""What serves of each strategy that has a fit, since when and why; what was refused; what the triggers say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from router_sdk.cli.tables import NOTHING, moment, note, pairs, table, visible, word
from router_sdk.records import version_name
from router_sdk.spelling import counted
from router_sdk.store.registry import CHAMPION

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.records import ModelVersion
    from router_sdk.store.quarantine import Quarantine
    from router_sdk.store.registry import Champion


def serving_tables(models: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """The story of each strategy at a glance, as ``Router.models.status`` tells it."""
    for one in models:
        told = {"Serves": serves(one["serving"])}
        if one["baseline"] is not None:
            told["Baseline"] = baseline(one["baseline"])
        if one["refused"] is not None:
            held = (one["refused"]["error"] or "").startswith("held")
            told["Held back last" if held else "Refused last"] = refused(one["refused"])
        if one["parameters"]["norms"]:
            told["Parameters"] = norms(one["parameters"])
        told["Next fit"] = next_fit(one["triggers"])
        yield pairs(told.items(), f"What serves of {visible(one['strategy'])}")


def trigger_tables(models: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Each strategy's story, and each trigger with what it measured."""
    for one in models:
        yield from serving_tables([one])
        check = one["triggers"]
        rows = [
            [
                visible(said["trigger"]),
                _measured(said["value"], said["unit"]),
                _measured(said["threshold"], said["unit"]),
                visible(("due: " if said["due"] and said["trigger"] != "cooldown" else "") + said["reason"]),
            ]
            for said in [*check["readings"], check["cooldown"]]
        ]
        rows += [[visible(name), NOTHING, NOTHING, f"off: {visible(how)}"] for name, how in check["off"].items()]
        headings = ["trigger", ">is", ">due from", "why, or why not yet"]
        yield table(f"When {visible(one['strategy'])} is fitted again", headings, rows, wide="why, or why not yet")
    if not models:
        yield note("Nothing in the chain has a fit; router-sdk-bert brings a strategy that is fitted.")


def serves(entry: Mapping[str, Any] | None) -> str:
    """What serves, since when, and why."""
    if entry is None:
        return f"{version_name(None)}: nothing was ever promoted"
    pinned = f", pinned by {visible(entry['actor'] or 'a person')}" if entry["pinned"] else ""
    return f"{version_name(entry['version'])} since {moment(entry['at'])}{pinned}: {visible(entry['why'])}"


def baseline(measured: Mapping[str, Any]) -> str:
    """What the newest warm start was measured to be."""
    right = "" if measured["accuracy"] is None else f"{measured['accuracy']:.1%} right, "
    words = f"{right}reward {word(measured['value'])} on held-out examples"
    return f"version {measured['version']}, warm start from {visible(measured['warm_start'])}: {words}"


def norms(parameters: Mapping[str, Any]) -> str:
    """How long the parameters of the newest versions are, and whether that goes anywhere."""
    *_, newest = parameters["norms"].values()
    versions = counted(len(parameters["norms"]), "version")
    return f"norm {word(newest)}, {parameters['trend']} over {versions} that passed the gate"


def refused(event: Mapping[str, Any]) -> str:
    """What was refused, when, and why."""
    what = "before any fit" if event["model_version"] is None else f"version {event['model_version']}"
    begun = f" (fitted for: {visible(event['reason'])})" if event["reason"] else ""
    return f"{what} of {moment(event['at'])}{begun}: {visible(event['why'])}"


def next_fit(check: Mapping[str, Any]) -> str:
    """The trigger that is due, or the nearest, and what else is in the way."""
    nearest = next((said for said in check["readings"] if said["trigger"] == check["next"]), None)
    if check["due"] is not None:
        words = f"due: {visible(check['due'])}"
    elif nearest is None:
        words = "no trigger measures anything yet"
    else:
        words = f"{visible(nearest['trigger'])}: {visible(nearest['reason'])}"
    return words + (f"; {visible(check['waits'])}" if check["waits"] else "")


def _measured(value: float | None, unit: str) -> str:
    if value is None:
        return NOTHING
    if unit == "s":
        return f"{value:,.0f} s"
    if unit == "hours":
        return f"{value:.1f} h"
    return f"{value:,.0f}" if unit else f"{value:.3f}"


def version_table(found: Sequence[ModelVersion]) -> RenderableType:
    """The fitted versions of one strategy or more."""
    if not found:
        return note("Nothing was fitted yet: router retrain, or router pretrain before anything happened.")
    return table(
        "Fitted versions",
        ["strategy", ">version", "made", ">examples", "status", "gate"],
        (
            [
                visible(version.strategy),
                word(version.version),
                f"{version.kind} {datetime.fromtimestamp(version.at):%d %b %H:%M}",
                word(version.samples),
                ", ".join([version.status, *(alias for alias in version.aliases if alias != CHAMPION)]),
                visible(_gate(version)),
            ]
            for version in found
        ),
        wide="gate",
        last=("strategy",),
    )


def _gate(version: ModelVersion) -> str:
    """What the gate said, and why the fit was begun."""
    begun = "" if version.trigger is None else f" (fitted for: {version.trigger})"
    return f"{'' if version.passed else 'refused: '}{version.why}{begun}"


def history_table(served: Mapping[str, Sequence[Champion]], found: Sequence[ModelVersion]) -> RenderableType:
    """What served from when on, who said so, and why, newest first.

    Args:
        served: By strategy.
        found: The fitted versions.
    """
    made = {(version.strategy, version.version): version for version in found}

    def why(strategy: str, entry: Champion) -> str:
        version = None if entry.version is None else made.get((strategy, entry.version))
        return entry.reason if version is None else version.in_words(entry.reason)

    rows = [
        [
            visible(strategy),
            "without any fit" if entry.version is None else word(entry.version),
            moment(entry.at),
            visible(entry.actor or NOTHING),
            visible(why(strategy, entry)),
        ]
        for strategy, entries in served.items()
        for entry in entries
    ]
    return table("What served", ["strategy", ">version", "since", "by", "why"], rows, wide="why", last=("strategy",))


def quarantine_table(found: Sequence[Quarantine]) -> RenderableType:
    """What teaches nothing, or did not for a while."""
    return table(
        "What teaches nothing, or did not for a while",
        [">number", "strategy", ">behind", ">up to", "since", "lifted", "why"],
        (
            [
                str(one.number),
                visible(one.strategy or "all"),
                str(one.from_seq),
                str(one.upto_seq),
                moment(one.at),
                NOTHING if one.lifted_at is None else moment(one.lifted_at),
                visible(one.reason),
            ]
            for one in found
        ),
        wide="why",
        last=("strategy", "lifted"),
    )
