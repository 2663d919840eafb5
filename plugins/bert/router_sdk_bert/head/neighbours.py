"""Stored vectors, the nearest of them to a task, and what these say of each agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk_bert.head.rows import NOBODY, Facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COARSE = 48
"""Columns of a coarse vector."""
ASIDE = np.float32(0.2)
"""Cosine that is assumed between what the projection leaves out of two vectors."""
FEW = 2_000
"""Rows up to which every one is compared exactly."""
SHORTLIST = 6
"""Rows that are compared exactly, for each that is asked for."""
LOT = 16
"""Rows of which the best is looked at first."""
DROPPED = np.float32(-9.0)
"""Cosine of rows that count for nothing."""
WIDTHS = np.array([[0.03], [0.15]])
"""Widths, in cosine, within which neighbours count alike: narrow for clean outcomes, wide for noisy ones."""
DOUBT = 0.2
"""What is not known of an agent, as a share of what its neighbours say."""
LEAST = np.finfo(np.float64).tiny


class Fading(NamedTuple):
    """How rows count for less with time.

    Attributes:
        at: When each came, in seconds, shape ``(n,)``.
        latest: When the newest of all did.
        half_life_s: Time after which a row counts half.
    """

    at: NDArray[np.float64]
    latest: float
    half_life_s: float

    def shares(self, places: Any) -> NDArray[np.float32]:
        """What chosen rows still count for, in the shape of ``places``."""
        shares: NDArray[np.float32] = np.exp2((self.at[places] - self.latest) / self.half_life_s).astype(np.float32)
        return shares


@dataclass(slots=True, frozen=True, eq=False)
class VectorBlock:
    """Vectors that can be searched.

    Attributes:
        vectors: Shape ``(n, d)``, float32, each of length 1.
        coarse: What ``coarse_of`` makes of them, shape ``(n, c + 1)``, or None where there are few.
        density: Mean distance of each row to its own surroundings, shape ``(n,)``.
        facts: What is known of each.
        fading: How its weights fade; None where they do not.
        dropped: Places of the rows that count for nothing.
    """

    vectors: NDArray[np.float32]
    coarse: NDArray[np.float32] | None
    density: NDArray[np.float32]
    facts: Facts
    fading: Fading | None = None
    dropped: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", np.flatnonzero(self.facts.weight <= 0.0))

    def __len__(self) -> int:
        return len(self.vectors)

    def described(self, places: NDArray[np.intp]) -> tuple[Any, ...]:
        """The facts of chosen rows as of now, and their density."""
        facts = self.facts.take(places)
        weight = facts.weight if self.fading is None else facts.weight * self.fading.shares(places)
        return *facts[:-1], weight, self.density[places]

    def scan(self, coarse: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Estimates of its rows' cosines; None where all are to be compared exactly."""
        if coarse is None or self.coarse is None or len(self.vectors) <= FEW:
            return None
        rough: NDArray[np.float32] = self.coarse @ coarse if coarse.ndim == 1 else coarse @ self.coarse.T
        if len(self.dropped):
            rough[..., self.dropped] = DROPPED
        return rough


@dataclass(slots=True, frozen=True, eq=False)
class VectorMemory:
    """Blocks that are searched together; their rows are counted through.

    Making one costs next to nothing, however many rows there are: of those that are found alone is anything read.

    Attributes:
        blocks: The blocks, in order.
    """

    blocks: tuple[VectorBlock, ...]

    def scan(self, coarse: NDArray[np.float32] | None) -> list[NDArray[np.float32] | None]:
        """Estimates of the cosines of each block's rows; None for a block whose rows are all compared exactly.

        Args:
            coarse: What ``coarse_of`` makes of one vector, shape ``(c + 1,)``, or of several, shape ``(m, c + 1)``, by
                the projection that the blocks' own were made by; None where there is none.

        Returns:
            For each block None or shape ``(n,)``, or ``(m, n)`` for several.
        """
        return [block.scan(coarse) for block in self.blocks]

    def described(self, cosines: NDArray[np.float32], places: NDArray[np.intp]) -> Neighbours:
        """Rows with what is known of each, in the shape of ``places``."""
        start, lowest, highest = 0, places.min(), places.max()
        held: list[tuple[int, VectorBlock]] = []
        for block in self.blocks:
            if lowest < start + len(block) and start <= highest:
                held.append((start, block))
            start += len(block)
        (start, block), *others = held
        found = block.described(places - start if not others else np.minimum(places - start, len(block) - 1))
        for start, block in others:
            inside = np.minimum(np.maximum(places - start, 0), len(block) - 1)
            found = tuple(map(partial(np.where, places < start), found, block.described(inside)))
        *facts, density = found
        return Neighbours(cosines, Facts(*facts), density, places)


class Neighbours(NamedTuple):
    """The rows nearest to one vector, nearest first, or to each of several.

    Attributes:
        cosines: Shape ``(k,)``, or ``(m, k)``.
        facts: What is known of each.
        density: Mean distance of each to its own surroundings.
        places: Where each is, counted through all blocks.
    """

    cosines: NDArray[np.float32]
    facts: Facts
    density: NDArray[np.float32]
    places: NDArray[np.intp]

    def of(self, row: int) -> Neighbours:
        """Those of one of several vectors."""
        return Neighbours(self.cosines[row], self.facts.take(row), self.density[row], self.places[row])


def _highest(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the highest scores in their own order, and of all that are level with the lowest of those."""
    if count >= len(scores):
        return np.arange(len(scores))
    lots, places = len(scores) // LOT, None
    if lots >= count:
        # So many lots whose best is as high have each a row that is: lower ones are left out at a fraction of the cost.
        best = scores[: lots * LOT].reshape(LOT, lots).max(axis=0)
        best.partition(-count)
        places = (scores >= best[-count]).nonzero()[0]
        scores = scores[places]
    # Three times as fast as an argpartition.
    ordered = scores.copy()
    ordered.partition(-count)
    highest: NDArray[np.intp] = (scores >= ordered[-count]).nonzero()[0]
    return highest if places is None else places[highest]


def coarse_of(vectors: NDArray[np.float32], projection: NDArray[np.float32]) -> NDArray[np.float32]:
    """A projection, and in one more column what it leaves out, so that coarse products estimate cosines.

    Args:
        vectors: Shape ``(n, d)`` or ``(d,)``, of length 1.
        projection: Shape ``(d, c)``, with orthogonal columns of length 1.

    Returns:
        Shape ``(n, c + 1)`` or ``(c + 1,)``.
    """
    found = np.empty((*vectors.shape[:-1], projection.shape[1] + 1), dtype=np.float32)
    inside = np.matmul(vectors, projection, out=found[..., :-1])
    found[..., -1] = left_out(np.square(inside).sum(axis=-1))
    return found


def left_out(inside: Any) -> Any:
    """The last number of coarse vectors whose others' squares sum to this."""
    return np.sqrt(ASIDE * np.maximum(1.0 - inside, 0.0))


def _candidates(
    block: VectorBlock, vector: NDArray[np.float32], rough: NDArray[np.float32] | None, count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Places of rows among which the nearest are, in the block's order, and their cosines."""
    if rough is None:
        scores = block.vectors @ vector
        if len(block.dropped):
            scores[block.dropped] = DROPPED
        places = _highest(scores, count)
        return places, scores if len(places) == len(scores) else scores[places]
    places = _highest(rough, SHORTLIST * count)
    scores = block.vectors.take(places, axis=0) @ vector
    if len(block.dropped):
        scores[rough[places] == DROPPED] = DROPPED
    return places, scores


def nearest(
    stored: VectorMemory, vector: NDArray[np.float32], scanned: Sequence[NDArray[np.float32] | None], count: int
) -> Neighbours | None:
    """The nearest rows, the first of those that are equally near; None where all blocks are empty.

    Args:
        stored: Where to look.
        vector: Shape ``(d,)``, of length 1.
        scanned: What ``stored.scan`` says of the vector.
        count: How many are wanted.
    """
    found = _nearest(stored, vector, scanned, count)
    return None if found is None else stored.described(*found)


def nearest_to_each(
    stored: VectorMemory, vectors: NDArray[np.float32], scanned: Sequence[NDArray[np.float32] | None], count: int
) -> Neighbours | None:
    """The same of several vectors, shape ``(m, d)``; None where there are none, or not as many for each."""
    found: list[tuple[NDArray[np.float32], NDArray[np.intp]]] = []
    for row, vector in enumerate(vectors):
        one = _nearest(stored, vector, [None if rough is None else rough[row] for rough in scanned], count)
        if one is None or len(one[1]) != len((found or [one])[0][1]):
            return None
        found.append(one)
    return stored.described(np.stack([cosines for cosines, _ in found]), np.stack([places for _, places in found]))


def _nearest(
    stored: VectorMemory, vector: NDArray[np.float32], scanned: Sequence[NDArray[np.float32] | None], count: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]] | None:
    """Cosines and places of the nearest rows."""
    start, places, cosines = 0, [], []
    for block, rough in zip(stored.blocks, scanned, strict=True):
        rows = len(block.vectors)
        if len(block.dropped) < rows:
            found, scores = _candidates(block, vector, rough, count)
            places.append(found + start if start else found)
            cosines.append(scores)
        start += rows
    if not places:
        return None
    scores = np.concatenate(cosines)
    order = (-scores).argsort(kind="stable")[:count]
    chosen, where = scores[order], np.concatenate(places)[order]
    if chosen[-1] <= DROPPED:
        kept = chosen > DROPPED
        chosen, where = chosen[kept], where[kept]
    return chosen, where


def nearest_of_many(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], weight: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Cosines and places of the nearest rows for many vectors at once, each of shape ``(m, k)``, in no order."""
    count = min(count, len(vectors))
    cosines = np.empty((len(queries), count), dtype=np.float32)
    places = np.empty((len(queries), count), dtype=np.intp)
    for start in range(0, len(queries), 256):
        scores = queries[start : start + 256] @ vectors.T
        scores[:, weight <= 0.0] = DROPPED
        found = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
        places[start : start + 256] = found
        cosines[start : start + 256] = np.take_along_axis(scores, found, axis=1)
    return cosines, places


class Votes(NamedTuple):
    """What speaks for and against each agent, by width; for several tasks with one axis more in front.

    Attributes:
        good: Shares of the neighbours' weight, shape ``(2, k)``.
        bad: The same.
        mass: That weight, in outcomes at no distance, shape ``(2, 1)``.
    """

    good: NDArray[np.float64]
    bad: NDArray[np.float64]
    mass: NDArray[np.float64]


def count_votes(cosines: NDArray[np.float32], facts: Facts, codes: NDArray[np.intp] | NDArray[np.int32]) -> Votes:
    """Weigh a task's neighbours by nearness and let each vote.

    Args:
        cosines: Of ``n`` neighbours, shape ``(n,)``, or ``(m, n)`` for several tasks.
        facts: What is known of them.
        codes: Of the ``k`` agents in question. Of a code of -1 nothing is known at all.
    """
    right = facts.right[..., None] == codes
    good = right * facts.credit[..., None]
    bad = (right < (codes >= NOBODY)) * (facts.credit * facts.rivalry)[..., None]
    if np.count_nonzero(facts.blame):
        bad += (facts.wrong[..., None] == codes) * facts.blame[..., None]
    share = np.exp((cosines[..., None, :] - 1.0) / WIDTHS)
    share *= facts.weight[..., None, :]
    mass = np.add.reduce(share, axis=-1, keepdims=True)
    share /= np.maximum(mass, LEAST)
    return Votes(share @ good, share @ bad, mass)


def evidence(votes: Votes, *, exclusive: bool) -> NDArray[np.float64]:
    """Log shares (exclusive) or log odds (independent) of the agents, by width, shape ``(2, k)``.

    An agent that the neighbours do not mention stands at the prior: one in as many as there are, or even odds.
    """
    good, bad, _ = votes
    if not exclusive:
        odds = (good + DOUBT / 2.0) / (bad + DOUBT / 2.0)
    else:
        odds = (good + DOUBT / max(good.shape[-1], 1)) / (good + bad + DOUBT)
    return np.log(odds, out=odds)
