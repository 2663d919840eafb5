"""``Router.savings``: which baseline a name stands for, and what of the log says how much it costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.savings import Savings, against, best_single, cells_of, dearest
from router_sdk.store.registry import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from router_sdk.exchange.history import History
    from router_sdk.learning.performance import Performance
    from router_sdk.records import Example
    from router_sdk.routing.chain import Stage
    from router_sdk.store.registry import Champion

AGENTS = {"best_single": best_single, "dearest": dearest}
"""Baselines that are one agent for everything."""
PREVIOUS = "previous_champion"


def savings(
    baseline: str,
    performance: Performance,
    examples: History,
    history: Callable[[str], Sequence[Champion]],
    stages: Iterable[Stage],
) -> Savings:
    """What was spent against a baseline, see ``Router.savings``.

    Args:
        baseline: Its name.
        performance: What each agent cost and earned, by kind of task.
        examples: The log.
        history: What served when, newest first, of a strategy.
        stages: The chain, whose strategies have one.

    Raises:
        InvalidInputError: if there is no such baseline.
    """
    if baseline == PREVIOUS:
        return _since_the_previous_champion(examples, [history(stage.name) for stage in stages])
    cells = performance.costs()
    names = {agent for agent, _ in cells if agent}
    if not isinstance(baseline, str) or (baseline not in AGENTS and baseline not in names):
        raise InvalidInputError(
            f"baseline: there is no {baseline!r:.60}; there are {[*AGENTS, PREVIOUS]}, and each agent with outcomes"
        )
    agent = AGENTS[baseline](cells) if baseline in AGENTS else baseline
    return against(baseline, agent, cells, {key: cell for key, cell in cells.items() if key[0] == agent})


def _since_the_previous_champion(examples: History, histories: Iterable[Sequence[Champion]]) -> Savings:
    """What was spent since a version took over, against what was while the one before served."""
    reigns = [found for history in histories if (found := _reigns(history)) is not None]
    if not reigns:
        return replace(against(PREVIOUS, None, {}, {}), words="no version ever took over from another")
    since, upto = max(reigns, key=lambda found: found[1])
    before, after = examples.between(since - 1, upto - 1), examples.between(upto - 1)
    return against(PREVIOUS, None, cells_of(_executions(after)), cells_of(_executions(before)))


def _reigns(history: Sequence[Champion]) -> tuple[int, int] | None:
    """From where on the version before the present one served, and the present one; None where there was none."""
    changed = [
        one
        for one, before in zip_longest(history, history[1:], fillvalue=NEVER)
        if one.version != before.version and one.seq is not None
    ]
    if not changed:
        return None
    return (changed[1].seq or 0 if len(changed) > 1 else 0), changed[0].seq or 0


def _executions(examples: Iterable[Example]) -> Iterator[tuple[str, str, float | None, float | None]]:
    for one in examples:
        if one.source == "routed":
            yield one.agent or "", one.task_type, one.reward, one.signals.cost_usd
