"""The configuration that ``router init`` writes: commented in TOML and YAML, bare in JSON, the same in all three."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from router_sdk.config import RouterConfig
from router_sdk.plugins import FIRST_PARTY

Form = Literal["toml", "yaml", "json"]

_HEAD = """\
Configuration of router-sdk. The command line reads this file where it is called router.toml, .yaml, .yml or .json and
stands in the current folder (or with --config FILE); in Python it is Router(config=FILE). Unknown keys are errors.
What is commented out shows the default. A command-line option or keyword argument comes before a ROUTER_* environment
variable, and that before this file."""

_ABOUT = {
    "store": "The log: one SQLite file on a local disk, shared by all threads and processes of this machine.",
    "strategies": "The chain: the first strategy that does not abstain decides. What learns stands before the rules,\n"
    "and takes over as soon as it has seen outcomes enough.",
    "epsilon": "Each eligible agent keeps at least epsilon / k probability, so that the log can be evaluated later.",
    "privacy": 'What is kept of a task\'s text: "full", "redacted" (without what looks personal), "hmac" or "none".',
    "batch_events": "An update of what is learnt starts at so many outcomes, or when one has waited so many seconds.",
    "batch_seconds": "",
}
_AGENTS = """\
Who can be chosen. This list is the eligible set of every router that reads this file; delete it to follow
the store instead, where `router agents add` and `router agents remove` keep it."""
_STRATEGY = "Settings of each strategy, under its name."


class Entry(NamedTuple):
    """A key with its value; one that is only shown is a comment."""

    key: str
    value: Any
    shown: bool = False
    remark: str = ""


_SAMPLES = (
    (
        Entry("name", "billing"),
        Entry("description", "Invoices, refunds, payment methods"),
        Entry("examples", ["I was charged twice", "Where is my refund?"]),
        Entry("capabilities", ["refunds"], True, 'a task that requires "refunds" goes only to agents that list it'),
        Entry("cost_usd", 0.002, True, "expected, per call"),
        Entry("latency_ms", 800, True, "expected, per call"),
        Entry("success_rate", 0.8, True, "what you believe before there are outcomes"),
    ),
    (
        Entry("name", "technical"),
        Entry("description", "Errors, crashes, installation, connection problems"),
        Entry("examples", ["The app crashes when I open it", "I cannot log in"]),
    ),
    (Entry("name", "general"), Entry("description", "Everything else")),
)


def settings_file(
    store: str, agents: Sequence[str], form: Form = "toml", installed: Sequence[str] = ("thompson", "heuristic")
) -> str:
    """A configuration that loads as it is.

    Args:
        store: Path of the store.
        agents: Names of the agents; sample agents where there are none.
        form: How it is written.
        installed: Strategies that there are; those of ours are the chain.
    """
    chain = [name for name in FIRST_PARTY if name in installed]
    others = sorted(set(installed).difference(chain))
    head = [
        Entry("store", store),
        Entry(
            "strategies", chain or list(FIRST_PARTY), not chain, f"also installed: {', '.join(others)}" * bool(others)
        ),
        *(Entry(name, RouterConfig.model_fields[name].default, True) for name in list(_ABOUT)[2:]),
    ]
    members = [_member(name) for name in agents] or _SAMPLES
    names = [str(member[0].value) for member in members]
    strategies = {name: made(names[0], names[-1]) for name, made in _SETTINGS.items() if name in chain}
    if form == "json":
        told: dict[str, Any] = {**_plain(head), "agents": [_plain(member) for member in members]}
        told["strategy"] = {name: plain for name, entries in strategies.items() if (plain := _plain(entries))}
        return json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    write = _toml if form == "toml" else _yaml
    return "\n".join([*_comment(_HEAD), *write(head, members, strategies)]) + "\n"


def _member(name: str) -> tuple[Entry, ...]:
    return (
        Entry("name", name),
        Entry("description", "What it is good at, in a sentence or two", True),
        Entry("examples", ["A text that it should get"], True),
    )


def _heuristic(first: str, last: str) -> tuple[Entry, ...]:
    rules = [
        {"keywords": ["refund", "invoice"], "agent": first},
        {"when": "amount > 1000", "agent": first, "hard": True},
    ]
    return (Entry("default_agent", last), Entry("rules", rules, True, "hard: nobody else may be chosen"))


def _thompson(first: str, last: str) -> tuple[Entry, ...]:
    return (
        Entry("min_evidence", 5.0, True, "observations of a task type below which it abstains"),
        Entry("half_life_s", 2_419_200.0, True, "after which an observation counts half, in seconds"),
    )


_SETTINGS: Mapping[str, Callable[[str, str], tuple[Entry, ...]]] = {"heuristic": _heuristic, "thompson": _thompson}

Members = Sequence[Sequence[Entry]]
Strategies = Mapping[str, Sequence[Entry]]


def _plain(entries: Sequence[Entry]) -> dict[str, Any]:
    return {entry.key: entry.value for entry in entries if not entry.shown}


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in text.splitlines())


def _lines(entry: Entry, spell: Callable[[Entry], list[str]]) -> Iterator[str]:
    """An entry as ``spell`` writes it, with its remark, and as a comment where it is only shown."""
    lines = spell(entry)
    if entry.remark:
        lines[0] += f"   # {entry.remark}"
    return (f"# {line}" if entry.shown else line for line in lines)


def _headed(head: Sequence[Entry], spell: Callable[[Entry], list[str]]) -> Iterator[str]:
    for entry in head:
        if _ABOUT[entry.key]:
            yield ""
            yield from _comment(_ABOUT[entry.key])
        yield from _lines(entry, spell)


def _toml(head: Sequence[Entry], members: Members, strategies: Strategies) -> Iterator[str]:
    yield from _headed(head, _toml_entry)
    yield ""
    yield from _comment(_AGENTS)
    for member in members:
        yield "[[agents]]"
        yield from (line for entry in member for line in _lines(entry, _toml_entry))
        yield ""
    if strategies:
        yield from _comment(_STRATEGY)
    for name, entries in strategies.items():
        yield f"[strategy.{name}]"
        yield from (line for entry in entries for line in _lines(entry, _toml_entry))
        yield ""


def _toml_entry(entry: Entry) -> list[str]:
    if _is_table(entry.value):
        tables = (", ".join(f"{key} = {_json(value)}" for key, value in one.items()) for one in entry.value)
        return [f"{entry.key} = [", *(f"    {{ {table} }}," for table in tables), "]"]
    return [f"{entry.key} = {_json(entry.value)}"]


def _yaml(head: Sequence[Entry], members: Members, strategies: Strategies) -> Iterator[str]:
    yield from _headed(head, _yaml_entry)
    yield ""
    yield from _comment(_AGENTS)
    yield "agents:"
    for member in members:
        lines = (line for entry in member for line in _lines(entry, _yaml_entry))
        yield from (f"  - {line}" if place == 0 else f"    {line}" for place, line in enumerate(lines))
    if strategies:
        yield ""
        yield from _comment(_STRATEGY)
        yield "strategy:" if any(map(_plain, strategies.values())) else "# strategy:"
    for name, entries in strategies.items():
        yield f"  {name}:" if _plain(entries) else f"  # {name}:"  # with nothing under it, it would be null
        yield from (f"    {line}" for entry in entries for line in _lines(entry, _yaml_entry))


def _yaml_entry(entry: Entry) -> list[str]:
    if _is_table(entry.value):
        return [f"{entry.key}:", *(f"  - {_json(one)}" for one in entry.value)]
    return [f"{entry.key}: {_json(entry.value)}"]


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _json(value: object) -> str:
    """JSON's texts, numbers and lists are TOML's and YAML's, too."""
    return json.dumps(value, ensure_ascii=False)
