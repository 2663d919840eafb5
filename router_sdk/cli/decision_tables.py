"""A decision, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from router_sdk.cli.tables import note, pairs, share, table, visible, word

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.tree import Tree

    from router_sdk.records import Decision

_SHOWN = 10


def decision_tables(decision: Decision, *, explain: bool) -> Iterator[RenderableType]:
    """Who gets it, who said so, and what else was possible."""
    from rich.text import Text

    answered = decision.strategy
    if decision.confidence is not None:
        answered += f", {share(decision.confidence)} confident of {_favourite(decision)}"
    told = {
        "decision": decision.decision_id,
        "answered by": answered,
        "drawn with": f"probability {word(decision.propensity)}{', to explore' if decision.explored else ''}",
        "passed over": "; ".join(f"{step.strategy} ({step.reason})" for step in decision.skipped) or "nobody",
    }
    if decision.excluded:
        told["not eligible"] = _excluded(decision)
    yield Text(visible(decision.agent or "no agent fits"), style="bold green")
    yield pairs((name, visible(value)) for name, value in told.items())
    rows = [
        [name, word(decision.probabilities[name]), word((decision.scores or {}).get(name))]
        for name in decision.ranking[:_SHOWN]
    ]
    if len(decision.ranking) > 1:
        yield table("Ranking", ["agent", ">probability", ">score"], rows)
        if len(decision.ranking) > _SHOWN:
            yield note(f"and {len(decision.ranking) - _SHOWN:,} more")
    if explain:
        yield _tree("evidence", decision.explain()["evidence"])
    yield note(f"When you know how it went: router record {decision.decision_id} --success (or --failure)")


def _excluded(decision: Decision) -> str:
    """Who was not eligible, and why."""
    told = [f"{name} ({reason})" for name, reason in islice(decision.excluded.items(), _SHOWN)]
    more = len(decision.excluded) - _SHOWN
    return "; ".join(told) + (f" and {more:,} more" if more > 0 else "")


def _favourite(decision: Decision) -> str:
    position = decision.distribution.favourite
    return "no agent" if position < 0 else decision.distribution.agents.names[position]


def _tree(name: str, value: Any) -> Tree:
    """Nested values as a tree."""
    from rich.text import Text
    from rich.tree import Tree

    def grow(tree: Tree, key: str, item: Any) -> None:
        if isinstance(item, Mapping) and item:
            branch = tree.add(Text(key))
            for inner, held in item.items():
                grow(branch, str(inner), held)
        elif isinstance(item, (list, tuple)) and any(isinstance(held, Mapping) for held in item):
            for place, held in enumerate(item, start=1):
                grow(tree, f"{key} {place}", held)
        else:
            tree.add(Text.assemble((f"{visible(key)}: ", "dim"), word(item)))

    root = Tree(Text(name, style="bold"))
    for key, item in value.items():
        grow(root, str(key), item)
    return root
