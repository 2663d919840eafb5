"""Who serves, why, and does it help: the three answers at the head of the page, in words and with what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from router_sdk.plugin import DEFAULT_TASK_TYPE, counted

_NOT_DECIDED = {"observed": "decided elsewhere", "kept": "kept from a step before"}
_FEW = 50
"""Rewards below which nothing is said of whether it helps."""
_LEADING = 0.15
"""Share of tasks from which on an agent is named first."""
_PART = 8
"""The curve's first and last part of so many are compared."""


def answers(
    activity: Mapping[str, Any], state: Mapping[str, Any], evidence: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The three answers, each with ``verdict, headline, text``; from the parts of the overview.

    Args:
        activity: What was decided lately, and what came of it.
        state: What serves.
        evidence: What each agent alone would have earned.
    """
    if "lately" not in activity:  # it could not be read so far, which does not say that nothing happened
        unread = _answer("none", "Cannot be told now", "What was decided cannot be read; it is tried again.")
        return dict.fromkeys(("serves", "why", "helps"), unread)
    return {
        "serves": who_serves(activity),
        "why": why(activity, state),
        "helps": does_it_help(activity, state, evidence),
    }


def who_serves(activity: Mapping[str, Any]) -> dict[str, Any]:
    """Which strategies choose, by the versions that did, and whom."""
    lately = activity.get("lately", {})
    if not lately.get("decisions"):
        return _answer("none", "Nobody yet", "No task has been routed so far.")
    choosers, agents = _shares(lately["strategies"]), _shares(lately["agents"])
    named: Counter[str] = Counter()
    for name, count in lately["strategies"].items():
        named.update(_by_version(name, count, lately.get("versions", {})))
    chosen = [f"{name} ({_share(part)})" for name, part in _shares(named)[:4]]
    leading = [name or "nobody" for name, share in agents[:3] if share >= _LEADING] or [agents[0][0] or "nobody"]
    more = len(agents) - len(leading)
    others = f" and {more} more" if more else ""
    first = choosers[0][0]
    deciding = list(_by_version(first, lately["strategies"][first], lately.get("versions", {})))
    chooser = deciding[0] if len(deciding) == 1 else _named(first)
    headline = f"{', '.join(leading) if more else _listed(leading)}{others}, chosen by {chooser}"
    parts = [f"{_share(part)} to {name or 'nobody, for no agent fits'}" for name, part in agents[:5]]
    parts[0] = parts[0].replace(" to ", " went to ", 1)
    text = f"Of the newest {counted(lately['decisions'], 'task')}, {_listed(parts)}. Chosen by {_listed(chosen)}."
    return _answer("serves", headline, text, strategy=first)


def why(activity: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Why the strategy that chooses most does: its place in the chain, what it learnt, and who stood aside."""
    lately, chain = activity.get("lately", {}), [one["name"] for one in state.get("strategies", ())]
    if not lately.get("decisions"):
        asked = f"Asked in this order: {', '.join(chain)}." if chain else ""
        return _answer("none", "Nothing to explain yet", asked)
    first = _shares(lately["strategies"])[0][0]
    if first == "uniform":
        text = "Tasks are spread evenly, until outcomes, or descriptions of the agents, tell them apart."
        return _answer("uniform", "Nobody in the chain knows better yet", text)
    if first in _NOT_DECIDED:
        return _answer("elsewhere", f"Most are {_NOT_DECIDED[first]}", "The router learns from them all the same.")
    served = next((one for one in state.get("models", ()) if one["strategy"] == first), None)
    serving = None if served is None else served["serving"]
    outcomes = state.get("statistics", {}).get("samples_processed", 0)
    learnt = f"It has learnt from {counted(outcomes, 'outcome') if outcomes else 'no outcome yet'}"
    if serving and serving["version"] is not None:
        chosen = "A person chose" if serving["pinned"] else "The checks passed"
        headline = f"{chosen} version {serving['version']} of {first}"
        text = f"It serves because: {serving['why']}. {learnt}. "
    elif serving:
        headline, text = f"{first} was rolled back", f"It serves unfitted, because: {serving['why']}. {learnt}. "
    elif outcomes:
        headline, text = f"{first} knows from outcomes who does what well", f"{learnt}. "
    else:
        headline, text = f"{first} goes by what it was told of the agents", f"{learnt}. "
    best = [f"{one['best']} earns {one['best_mean']:.2f} on {_kind(kind)}" for kind, one in _told_apart(activity)][:3]
    text += f"{_listed(best)}. " if best else ""
    return _answer("why", headline, text + _passed(state.get("passed", ()), chain, first))


def does_it_help(activity: Mapping[str, Any], state: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Whether tasks go better than with the best single agent; where the log cannot tell, whether than at first."""
    told = _in_reward(activity, evidence)
    saved = state.get("statistics", {}).get("savings", {}).get("best_single", {})
    if saved.get("saved_usd") is not None:
        told["text"] += f" {saved['words']}."
        if told["verdict"] == "yes":
            told["headline"] += _for_money(saved, told["baseline"]["agent"])
    return told


def _for_money(saved: Mapping[str, Any], agent: str) -> str:
    """What a better reward costs beside the same agent, where that is certain."""
    (low, high), share = saved["saved_usd_interval"], saved["saved_share"]
    if saved["agent"] != agent or not share or low <= 0.0 <= high:
        return ""
    return f", for {_share(abs(share))} {'less' if share > 0.0 else 'more'} money"


def _in_reward(activity: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    lately = activity.get("lately", {})
    if lately.get("rewarded", 0) < _FEW:
        known = lately.get("rewarded", 0)
        are = "is" if known == 1 else "are"
        text = f"{counted(known, 'outcome')} {are} known; from {_FEW} on something can be said."
        return _answer("unknown", "Too early to say", text)
    alone = [one for one in evidence.get("alone", ()) if one["insufficient"] is None]
    start, end = _ends(activity.get("points", ()))
    rose = f"Reward per task was {start['posterior']:.2f} at first and is {end['posterior']:.2f} now."
    if alone:
        return _against(alone[0], rose)
    told = _cannot_tell(evidence)
    gain = end["posterior"] - start["posterior"]
    if end["low"] > start["high"]:
        headline = f"Not known yet, but it is learning: {_signed(gain)} reward per task"
        return _answer("rising", headline, f"{rose} {told}")
    if end["high"] < start["low"]:
        headline = f"No: it is getting worse, {_signed(gain)} reward per task"
        return _answer("falling", headline, f"{rose} See Health for why.")
    return _answer("unknown", "Not known yet", f"{rose} {told}")


def _against(best: Mapping[str, Any], rose: str) -> dict[str, Any]:
    """The router beside the best single agent, by what the log's own propensities tell of it."""
    gain, agent = best["gain"], best["agent"]
    compared = (
        f"{best['earned']:.2f} reward per task, where {agent} alone, the best single agent, would have earned "
        f"{best['mean']:.2f}: a difference of {_signed(gain['low'])} to {_signed(gain['high'])} (95%, over "
        f"{counted(best['decisions'], 'outcome')}). {rose}"
    )
    figures = {"gain": gain, "baseline": {name: best[name] for name in ("agent", "mean", "low", "high")}}
    if gain["low"] > 0.0:
        return _answer("yes", f"Yes: {_signed(gain['mean'])} reward per task", compared, **figures)
    if gain["high"] < 0.0:
        return _answer("no", f"No: {agent} alone would do better", compared, **figures)
    word = "probably" if gain["mean"] > 0.0 else "not shown"
    headline = f"Not certain yet, {word}: {_signed(gain['mean'])} reward per task"
    return _answer("open", headline, compared, **figures)


def _cannot_tell(evidence: Mapping[str, Any]) -> str:
    """Why the router is not compared with a single agent yet."""
    alone = evidence.get("alone", ())
    if not alone:
        return "Whether any agent alone would do better cannot be told yet."
    why = alone[0]["insufficient"].removeprefix("insufficient: ").replace("this policy", "that")
    return f"Whether {alone[0]['agent']} alone would do better cannot be told yet: {why}."


def _ends(points: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """The posterior of the curve's first and last part, each from the points that have rewards."""
    told = [one for one in points if one["rewarded"]]
    part = max(1, len(told) // _PART)
    return _pooled(told[:part]), _pooled(told[-part:])


def _pooled(points: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    count = sum(one["rewarded"] for one in points)
    mean = sum(one["posterior"] * one["rewarded"] for one in points) / count
    half = 1.96 * (max(mean * (1.0 - mean), 0.0) / (count + 3.0)) ** 0.5
    return {"posterior": mean, "low": mean - half, "high": mean + half}


def _told_apart(activity: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Named types of task on which somebody is best, those with the most outcomes first."""
    kinds = activity.get("by_task_type", {})
    return [(kind, one) for kind, one in kinds.items() if one["best"] is not None and len(kinds) > 1]


def _passed(passed: Sequence[Mapping[str, Any]], chain: Sequence[str], first: str) -> str:
    before = chain[: chain.index(first)] if first in chain else []
    told = []
    for name in before:
        reasons = [one for one in passed if one["strategy"] == name]
        if reasons:
            times = sum(one["decisions"] for one in reasons)
            told.append(f"{name} stood aside {counted(times, 'time')} ({reasons[0]['reason']})")
    return f"Asked before it, {_listed(told)}." if told else "" if before else "It is asked first."


def _shares(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    whole = sum(counts.values())
    return [(name, count / whole) for name, count in sorted(counts.items(), key=lambda one: -one[1])]


def _by_version(strategy: str, count: int, versions: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """A strategy's decisions, by the version that each was made with; an arm of an experiment is one name."""
    told = {} if "@" in strategy else versions.get(strategy, {})
    named = {f"{strategy} version {version}": each for version, each in told.items()}
    rest = count - sum(told.values())
    return {**named, f"{strategy} unfitted" if named else _named(strategy): rest} if rest else named


def _named(strategy: str) -> str:
    if strategy == "uniform":
        return "chance"
    name, _, arm = strategy.partition("@")
    if arm:
        return f"{name} in the arm {arm.rpartition('.')[2]}"
    return _NOT_DECIDED.get(strategy, strategy)


def _share(value: float) -> str:
    return "under 1%" if 0.0 < value < 0.01 else f"{value:.0%}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _kind(task_type: str) -> str:
    return "tasks without a type" if task_type == DEFAULT_TASK_TYPE else task_type


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _answer(verdict: str, headline: str, text: str, **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "headline": headline, "text": text.strip(), **more}
