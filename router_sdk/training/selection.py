"""From the log to what a fit may see: filtered, without duplicates, a part of it held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from router_sdk.records import AgentSet, Example, TrainingData

if TYPE_CHECKING:
    from router_sdk.store.tail import LogTail

MOST_EXAMPLES = 50_000
"""Newest decisions that a fit is given."""
MOST_HELD_OUT = 1_000
"""Newest decisions that are held out; older ones are trained on again."""

_PIECE = 2_048


def training_data(
    tail: LogTail,
    agents: AgentSet,
    upto: int,
    *,
    fresh_after: int = 0,
    held_out: float = 0.2,
    synthetic: bool = False,
) -> TrainingData:
    """Read the log up to a position.

    Left out are decisions of which nothing is known that could be learnt from, decisions whose session was
    forgotten, and of equal tasks with equal labels all but the newest.

    Args:
        tail: The log.
        agents: Whom to fit for.
        upto: Position in the log.
        fresh_after: Position that the fit before reached.
        held_out: Share to keep apart, in [0, 1); chosen by a hash of the decision's id, so that a decision is held
            out of every fit or of none.
        synthetic: Whether the log holds made-up examples.
    """
    newest: dict[str, Example] = {}
    cursor = 0
    while cursor < upto:
        batch = tail.read(cursor, upto, _PIECE)
        for example in batch.examples:
            newest.pop(example.decision_id, None)
            newest[example.decision_id] = example
        for name in batch.fresh_agents:
            newest = {key: example for key, example in newest.items() if example.agent != name}
        for decision_id in batch.forgotten:
            newest.pop(decision_id, None)
        while len(newest) > MOST_EXAMPLES:
            del newest[next(iter(newest))]
        cursor = batch.upto
    usable = [example for example in newest.values() if example.labelled or example.reward is not None]
    usable = sorted(_without_duplicates(usable), key=lambda example: example.decision_seq)
    kept_apart = [example for example in usable if is_held_out(example.decision_id, held_out)][-MOST_HELD_OUT:]
    apart = {example.decision_id for example in kept_apart}
    return TrainingData(
        examples=[example for example in usable if example.decision_id not in apart],
        agents=agents,
        upto=upto,
        held_out=kept_apart,
        fresh_after=fresh_after,
        synthetic=synthetic,
    )


def is_held_out(decision_id: str, share: float) -> bool:
    """Whether a decision belongs to the held-out share: the same answer in every process and every fit."""
    return crc32(decision_id.encode()) % 10_000 < share * 10_000


def _without_duplicates(examples: Sequence[Example]) -> list[Example]:
    """Of labelled examples with the same task and the same label, the newest; rewards are evidence each."""
    seen: set[tuple[str, str, str | None]] = set()
    kept = []
    for example in reversed(examples):
        if example.labelled and (task := example.task).text:
            key = (task.text, json.dumps(task.features, sort_keys=True), example.label)
            if key in seen:
                continue
            seen.add(key)
        kept.append(example)
    return kept
