"""Which of some examples to take, for a fit as for an export: filters, no duplicates, balance, and not too many.

What is chosen follows from the examples and a seed alone, in whatever process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from router_sdk.records import Example

Prefer = Literal["newest", "uncertain"]

NEUTRAL = 0.5
"""Doubt where nobody here decided, so that nothing says how sure anybody was."""
LEAST_DOUBT = 0.05
"""Added to every doubt, so that what was sure and right is drawn now and then."""


class Mark(NamedTuple):
    """What it takes to choose among examples, small enough to be held of a whole log.

    Attributes:
        place: Position of the decision in the log.
        decision_id: Which decision.
        seen: Position of the example itself.
        labelled: Whether a label is known.
        label: The label; with ``labelled``, None means that nobody fits.
        same: Equal for equal tasks; None where nothing of the task is kept.
        doubt: How unsure the decision was, or how much its favourite disappointed, in [0, 1].
    """

    place: int
    decision_id: str
    seen: int
    labelled: bool
    label: str | None
    same: str | None
    doubt: float


class Curation(NamedTuple):
    """What to take; as it is made, everything.

    Attributes:
        min_reward: Leave out what was rewarded less.
        min_quality: Leave out what has less quality.
        min_feedback: Leave out what users said worse of.
        unknown: Whether an example passes of which the least value is set and nothing is known.
        dedupe: Of labelled examples with equal tasks and equal labels, take the newest; rewards are evidence each.
        balance: Most labelled examples of an agent, in multiples of the median over the agents.
        replay_ratio: Largest share of examples that are no later than ``fresh_after``.
        fresh_after: Position in the log.
        most: Most examples.
        prefer: Which to keep where some must go: the newest, or a weighted random sample by ``Mark.doubt``.
        seed: Of that sample.
    """

    min_reward: float | None = None
    min_quality: float | None = None
    min_feedback: float | None = None
    unknown: bool = True
    dedupe: bool = False
    balance: float | None = None
    replay_ratio: float | None = None
    fresh_after: int = 0
    most: int | None = None
    prefer: Prefer = "newest"
    seed: int = 0

    @property
    def filters(self) -> bool:
        """Whether an example may be left out for what it says itself."""
        return self[:3] != (None, None, None)

    @property
    def chooses(self) -> bool:
        """Whether it takes all examples to say which are taken."""
        return self.dedupe or (self.balance, self.replay_ratio, self.most) != (None, None, None)

    def passes(self, example: Example) -> bool:
        """Whether an example says enough by itself."""
        known = (example.reward, example.signals.quality, example.signals.feedback)
        return all(
            least is None or (self.unknown if value is None else value >= least)
            for value, least in zip(known, self[:3], strict=True)
        )

    def of(self, examples: Sequence[Example]) -> list[Example]:
        """Those that are taken, in their order."""
        if not self.chooses:
            return [one for one in examples if self.passes(one)] if self.filters else list(examples)
        places = self.places(examples)
        return [one for one in examples if one.decision_seq in places]

    def places(self, examples: Iterable[Example]) -> set[int]:
        """Positions of the decisions that are taken; the examples are read once, oldest first, and not held."""
        marks = [self._mark(one) for one in examples if self.passes(one)]
        if self.dedupe:
            marks = without_duplicates(marks)
        if self.replay_ratio is not None:
            marks = self._replayed(marks, self.replay_ratio)
        if self.balance is not None:
            marks = self._balanced(marks, self.balance)
        if self.most is not None:
            marks = self.kept(marks, self.most)
        return {mark.place for mark in marks}

    def _mark(self, example: Example) -> Mark:
        same = example.dedupe_hash if example.labelled and example.task.text else None
        told = (example.decision_seq, example.decision_id, example.seq, example.labelled, example.label, same)
        return Mark(*told, doubt_of(example) if self.prefer == "uncertain" else NEUTRAL)

    def _replayed(self, marks: Sequence[Mark], share: float) -> list[Mark]:
        """All that is fresh, and so much of the rest; all of it, where nothing is fresh."""
        fresh = [mark for mark in marks if mark.seen > self.fresh_after]
        old = [mark for mark in marks if mark.seen <= self.fresh_after]
        if fresh:
            old = self.kept(old, math.floor(share / (1.0 - share) * len(fresh)))
        return sorted((*old, *fresh), key=attrgetter("place"))

    def _balanced(self, marks: Sequence[Mark], times: float) -> list[Mark]:
        """No label more often than so many times the median."""
        count = Counter(mark.label for mark in marks if mark.labelled)
        if not count:
            return list(marks)
        most = max(1, math.floor(times * median(count.values())))
        taken = [mark for mark in marks if not mark.labelled]
        for label in count:
            taken += self.kept([mark for mark in marks if mark.labelled and mark.label == label], most)
        return sorted(taken, key=attrgetter("place"))

    def kept(self, marks: Sequence[Mark], most: int) -> list[Mark]:
        """So many of them, in their order.

        By doubt it is a weighted sample without replacement: of each, ``u ** (1 / weight)``, and the largest stay
        (Efraimidis & Spirakis, "Weighted Random Sampling with a Reservoir", IPL 2006). ``u`` follows from the seed and
        the decision's id.
        """
        if len(marks) <= most:
            return list(marks)
        if self.prefer == "newest":
            return list(marks[len(marks) - most :])
        return sorted(sorted(marks, key=self._rank)[:most], key=attrgetter("place"))

    def _rank(self, mark: Mark) -> tuple[float, str]:
        digest = blake2b(mark.decision_id.encode(), digest_size=8, key=str(self.seed).encode()[:16]).digest()
        uniform = ((int.from_bytes(digest) >> 11) + 1) / 2.0**53  # in (0, 1]
        return -math.log(uniform) / (mark.doubt + LEAST_DOUBT), mark.decision_id


def without_duplicates(marks: Sequence[Mark]) -> list[Mark]:
    """Of labelled ones with the same task and the same label, the newest."""
    seen: set[tuple[str, str | None]] = set()
    kept = []
    for mark in reversed(marks):
        if mark.labelled and mark.same is not None:
            if (mark.same, mark.label) in seen:
                continue
            seen.add((mark.same, mark.label))
        kept.append(mark)
    return kept[::-1]


def doubt_of(example: Example) -> float:
    """How unsure a decision was, or how much its favourite disappointed, whichever is more, in [0, 1].

    The former is what the favourite's forecast lacked to 1, for uncertainty sampling (Lewis & Gale, "A Sequential
    Algorithm for Training Text Classifiers", SIGIR 1994); the latter is 1 where a label names somebody else, and what
    the favourite's reward lacks to 1 where it acted.
    """
    chances = example.probabilities
    if not chances:
        return NEUTRAL
    favourite = max(chances, key=lambda name: chances[name])
    forecast = example.forecast
    unsure = 1.0 - (chances[favourite] if forecast is None else forecast.confidence)
    if example.labelled:
        return max(unsure, float(example.label != favourite))
    if example.agent == favourite and example.reward is not None:
        return max(unsure, 1.0 - example.reward)
    return min(1.0, max(0.0, unsure))
