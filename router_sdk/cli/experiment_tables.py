"""What tables say of experiments: a list, one of them, and what runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router_sdk.cli.tables import NOTHING, moment, note, pairs, share, table, visible, word
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

_LOOKS = 8
"""Of a sequence over time that is shown."""


def experiment_list(found: Sequence[Mapping[str, Any]]) -> Sequence[RenderableType]:
    """Every experiment there was."""
    if not found:
        return [note("There was none. router experiments start --help says how one begins.")]
    rows = [
        [one["name"], one["status"], moment(one["started_at"]), word(one["winner"]), visible(one["reason"] or NOTHING)]
        for one in found
    ]
    return [table("Experiments", ["name", "status", "started", "winner", "why"], rows, wide="why")]


def shown_experiment(told: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What is known of an experiment: what it came to, its arms, each challenger, what must not get worse."""
    analysis = told["analysis"]
    head = {"Status": told["status"], "Started": moment(told["started_at"])}
    head["Started"] += "" if told["actor"] is None else f" by {told['actor']}"
    if told["ended_at"] is not None:
        serves = {None: "", False: ", not served by itself", True: ", serves"}[told["winner"] and told["serves"]]
        head |= {"Ended": moment(told["ended_at"]), "Winner": word(told["winner"]) + serves, "Why": told["reason"]}
    elif analysis is not None:
        head["Waits for"] = analysis["verdict"]["reason"]
    yield pairs(((name, visible(words)) for name, words in head.items()), f"Experiment {told['name']}")
    yield _arms(told)
    if analysis is not None:
        yield _comparisons(analysis, running=told["ended_at"] is None)
        yield from _guardrails(analysis)
        for words in analysis["notes"]:
            yield note(words)


def experiment_details(told: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What the page says beyond that: over time, by metric, task type and agent, every guardrail, units by arm."""
    analysis = told["analysis"]
    if analysis is None:
        return
    yield from (_over_time(arm, path) for arm, path in told["sequences"].items() if path["hours"])
    several = len(analysis["comparisons"]) > 1
    rows: list[list[str]] = []
    rails: list[list[str]] = []
    for one in analysis["comparisons"]:
        about = f"{one['arm']}: " if several else ""
        gaps = {**one["metrics"], **{f"quality, {kind}": gap for kind, gap in one["task_types"].items()}}
        known = [[visible(f"{about}{name}"), _interval(gap)] for name, gap in gaps.items()]
        rows += [row for row in known if row[1] != NOTHING]
        rails += [
            [visible(about) + _rail(rail), _interval(rail["difference"]), f"{rail['tolerance']:g}", rail["state"]]
            for rail in one["guardrails"]
        ]
    if rows:
        yield table("By metric, and by task type", ["", "better by"], rows)
    if rails:
        yield table("Guardrails", ["of", "by", ">tolerated", ""], rails, wide="of")
    yield from _chosen(analysis["arms"])
    ratio, names = analysis["sample_ratio"], [arm["name"] for arm in analysis["arms"]]
    rows = [
        [visible(name), f"{came:,}", f"{wanted:,.0f}"]
        for name, came, wanted in zip(names, ratio["observed"], ratio["expected"], strict=True)
    ]
    yield table("Units by arm", ["arm", ">came", ">expected"], rows)
    yield note(f"That units come in shares that differ so much by chance has p = {ratio['p_value']:.2g}.")


def _over_time(arm: str, path: Mapping[str, Sequence[float | None]]) -> RenderableType:
    """A few looks of a sequence, from where it says something, the last one among them."""
    last = len(path["hours"]) - 1
    known = [at for at in range(last) if (path["low"][at] or -1.0) > -1.0 and (path["high"][at] or 1.0) < 1.0]
    first = min(known, default=last)
    places = sorted({first + round((last - first) * step / (_LOOKS - 1)) for step in range(_LOOKS)})
    rows = [
        [f"{path['hours'][at]:.3g}", _interval({name: path[name][at] for name in ("mean", "low", "high")})]
        for at in places
    ]
    return table(f"{visible(arm)} over time", [">hours", "better by"], rows)


def _chosen(arms: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Share of each arm's decisions that each agent got."""
    agents = sorted({agent for arm in arms for agent in arm["agents"]})
    rows = [["no agent fits" if agent == "null" else visible(agent)] for agent in agents]
    for arm in arms:
        whole = sum(arm["agents"].values())
        for row, agent in zip(rows, agents, strict=True):
            row.append(share(arm["agents"].get(agent, 0) / whole) if whole else NOTHING)
    if rows:
        yield table("Who was chosen", ["agent", *(f">{visible(arm['name'])}" for arm in arms)], rows)


def _arms(told: Mapping[str, Any]) -> RenderableType:
    figures = {} if told["analysis"] is None else {arm["name"]: arm for arm in told["analysis"]["arms"]}
    rows = []
    for arm in told["arms"]:
        known = figures.get(arm["name"], {})
        mean = known.get("mean", {}).get("mean")
        rows.append(
            [
                arm["name"],
                "shadow" if arm["share"] is None else share(arm["share"]),
                word(arm["decisions"]),
                word(known.get("closed")),
                NOTHING if not known.get("closed") else word(mean),
                _kind(arm),
            ]
        )
    return table("Arms", ["arm", ">share", ">decisions", ">closed", ">mean", "what it is"], rows, wide="what it is")


def _guardrails(analysis: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Those that are raised, and how many there are."""
    rails = [(one["arm"], rail) for one in analysis["comparisons"] for rail in one["guardrails"]]
    raised = [
        [arm, _rail(rail), _interval(rail["difference"]), f"{rail['tolerance']:g}"]
        for arm, rail in rails
        if rail["state"] == "raised"
    ]
    if raised:
        yield table("Guardrails that are raised", ["challenger", "of", "by", ">tolerated"], raised, wide="of")
    few = sum(rail["state"] == "insufficient" for _, rail in rails)
    yield note(f"Of {len(rails)} guardrails {len(raised)} are raised; of {few} too few units say anything.")


def _comparisons(analysis: Mapping[str, Any], *, running: bool) -> RenderableType:
    rows = []
    for one in analysis["comparisons"]:
        needed = one["remaining"] if running else None
        lost = analysis["verdict"]["lost"].get(one["arm"])
        waits = NOTHING
        if lost is not None:
            waits = lost
        elif needed is not None:
            hours = "" if needed["hours"] is None else f", about {counted(math.ceil(needed['hours']), 'hour')}"
            waits = f"{counted(needed['units'], 'more unit')}{hours}"
        better = NOTHING if one["improvement"] is None else f"{one['improvement']:+.1%}"
        rows.append([one["arm"], _interval(one["difference"]), better, visible(waits)])
    headings = ["challenger", "better by", ">in all", "what it waits for" if running else "why it lost"]
    return table("Against the champion", headings, rows, wide=headings[-1])


def _interval(told: Mapping[str, Any]) -> str:
    if told["mean"] is None or told["low"] is None or told["high"] is None:
        return NOTHING
    return f"{told['mean']:+.3f} ({told['low']:+.3f} to {told['high']:+.3f})"


def _rail(rail: Mapping[str, Any]) -> str:
    words = {"reported": "how many units report", "agent": "tasks of"}
    return visible(f"{words.get(rail['kind'], '')} {rail['name']}".strip())


def experiment_tables(running: Sequence[Mapping[str, Any]], challengers: Mapping[str, int]) -> Iterator[RenderableType]:
    """The experiments that run, or whose chain serves, for ``router status``."""
    for one in running:
        if one["serves"]:
            words = "is what is configured" if one["configured"] else "serves all; change the configuration to it"
            told = {"Won": f"the chain of {one['winner']}, which {words}", "Why": one["reason"]}
        else:
            shares = ", ".join(f"{name} {share(each)}" for name, each in one["shares"].items())
            told = {"Shares": shares, "Waits for": one["waits"] or "its shadows only propose"}
            if one["units_needed"] is not None:
                hours = "" if one["hours_needed"] is None else f", about {one['hours_needed']:,.0f} hours"
                told["Needs"] = f"{one['units_needed']:,} more units{hours} at today's traffic"
        if one["behind"]:
            told["Behind"] = "; ".join(f"{name}: {why}" for name, why in one["behind"].items())
        yield pairs(((name, visible(words)) for name, words in told.items()), f"Experiment {one['name']}")
    for strategy, number in challengers.items():
        yield note(f"Version {number} of {strategy} passed the gate, and waits: router promote {strategy} {number}")


def _kind(arm: Mapping[str, Any]) -> str:
    if "learning" not in arm:
        return "what serves without the experiment"
    if arm["version"] is not None:
        words = "what serves, with {} at version {}".format(*arm["version"])
    else:
        words = "the chain " + ", ".join(name for name, _ in arm["strategies"])
    words += "" if arm["learning"] else ", learning off"
    if arm["shadow"] and arm["agreement"] is not None:
        words += f"; it favours whom what serves favours in {share(arm['agreement'])}"
    return words
