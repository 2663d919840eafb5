"""What a fit learns and what judges it: groups of examples, on one side or the other in this and every later fit.

What judges a candidate must be new to it and to what serves alike. So the side of an example is a function of its group
alone: of its session, or where there is none, of its text in whatever spelling. Texts that come in several groups have
a side of their own, and an example counts only where both sides are one; the others are learnt afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from zlib import crc32

from router_sdk.errors import TooFewExamplesError
from router_sdk.records import Example, TrainingData

MOST_HELD_OUT = 1_000
"""Newest decisions that are held out; older ones are trained on again."""
FOLDS = 10
"""Most parts of a cross-validation."""


@dataclass(frozen=True, slots=True)
class Division:
    """One way to judge: a candidate is made from ``data`` and judged on what that holds out.

    Attributes:
        data: Both sides.
        unlearn: Decisions that what serves has learnt and must forget before it is judged beside the candidate: those
            held out, and every other one of the same session or text.
        texts: Their ``context_hash``es, for what was learnt of them elsewhere.
    """

    data: TrainingData
    unlearn: Sequence[str]
    texts: Sequence[str]


def divide(
    whole: TrainingData, known: Sequence[Example], *, held_out: float, needed: int
) -> tuple[list[Division], list[Example]]:
    """Divide what can be learnt from.

    Where the held-out share is too small to judge anything by, all examples judge in turn: cross-validation in ten
    parts (Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", JRSS B 1974).

    Args:
        whole: All of it.
        known: Every example of the log, those among them of which nothing can be learnt.
        held_out: Share of the groups to keep apart, in [0, 1).
        needed: Examples that it takes to judge a candidate; 0 judges by whatever there is.

    Returns:
        One division, and what is to be learnt afterwards, oldest first; or several, and nothing.

    Raises:
        TooFewExamplesError: if nothing could judge a candidate.
    """
    sides = _sides(known, held_out)
    apart = [one for one in whole.examples if sides[one.decision_id] is True]
    if needed and len(apart) < 2 * needed:
        divisions = _cross_validation(whole, known)
        if not divisions:
            raise TooFewExamplesError("insufficient: all examples are of one session, or of one text")
        return divisions, []
    if len(apart) > MOST_HELD_OUT:
        _take_back(sides, apart[:-MOST_HELD_OUT], apart[-MOST_HELD_OUT:])
    data = replace(
        whole,
        examples=[one for one in whole.examples if sides[one.decision_id] is False],
        held_out=[one for one in whole.examples if sides[one.decision_id] is True],
    )
    unlearn = [one for one in known if sides[one.decision_id] is not False]
    left_over = [one for one in whole.examples if sides[one.decision_id] is not False]
    return [_division(data, unlearn)], sorted(left_over, key=attrgetter("seq"))


def _take_back(sides: dict[str, bool | None], older: Sequence[Example], newer: Sequence[Example]) -> None:
    """Learn from the older of what could be held out, but not where the newer is of the same session or text."""
    groups = {_group(one) for one in newer} | {f"text {one.context_hash}" for one in newer}
    for one in older:
        sides[one.decision_id] = None if {_group(one), f"text {one.context_hash}"} & groups else False


def _division(data: TrainingData, unlearn: Sequence[Example]) -> Division:
    texts = {one.context_hash for one in unlearn if one.context_hash is not None}
    return Division(data, [one.decision_id for one in unlearn], sorted(texts))


# -- groups and sides


def _group(example: Example) -> str:
    """Examples of one tenant's session belong together, and without a session those of one text, whoever says it."""
    session, tenant, text = example.task.session_id, example.task.tenant, example.context_hash
    if session is not None:
        return f"session {session}" if tenant is None else f"of {(tenant, session)!r}"
    return example.decision_id if text is None else f"text {text}"


def is_held_out(group: str, share: float) -> bool:
    """Whether a group belongs to the held-out share: the same answer in every process and every fit."""
    return crc32(group.encode()) % 10_000 < share * 10_000


def _sides(examples: Sequence[Example], share: float) -> dict[str, bool | None]:
    """For each decision whether it is held out; None where its text comes on the other side, too."""
    groups = {one.decision_id: _group(one) for one in examples}
    homes: dict[str, set[str]] = {}
    for one in examples:
        if one.context_hash is not None:
            homes.setdefault(one.context_hash, set()).add(groups[one.decision_id])
    sides: dict[str, bool | None] = {}
    for one in examples:
        side = is_held_out(groups[one.decision_id], share)
        text = one.context_hash
        straddles = text is not None and len(homes[text]) > 1 and is_held_out(f"text {text}", share) != side
        sides[one.decision_id] = None if straddles else side
    return sides


def _cross_validation(whole: TrainingData, known: Sequence[Example]) -> list[Division]:
    """The data with each part held out in turn; groups that share a text stay together."""
    joined = _joined(known)
    sizes = dict.fromkeys(range(FOLDS), 0)
    part_of: dict[str, int] = {}
    count = Counter(joined[one.decision_id] for one in whole.examples)
    for group, size in sorted(count.items(), key=lambda each: (-each[1], crc32(each[0].encode()))):
        smallest = min(sizes, key=lambda part: (sizes[part], part))  # the largest group first, into the smallest part
        part_of[group], sizes[smallest] = smallest, sizes[smallest] + size

    def part(example: Example) -> int | None:
        return part_of.get(joined[example.decision_id])

    return [
        _division(
            replace(
                whole,
                examples=[one for one in whole.examples if part(one) != number],
                held_out=[one for one in whole.examples if part(one) == number],
            ),
            [one for one in known if part(one) == number],
        )
        for number, size in sizes.items()
        if 0 < size < len(whole.examples)
    ]


def _joined(examples: Sequence[Example]) -> dict[str, str]:
    """For each decision the name of its group, where groups with a text in common are one (union-find)."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for one in examples:
        if one.context_hash is not None:
            parent[root(_group(one))] = root(f"text {one.context_hash}")
    return {one.decision_id: root(_group(one)) for one in examples}
