"""Off-policy evaluation in columns: many decisions at once, each looked at once, in memory that does not grow.

A policy is asked about a whole piece of a log, and then the reward model learns what the log had said of it by the next
one. So the model knows earlier pieces alone, which keeps the estimates as unbiased as the row by row way of
``off_policy.RoundsSoFar``. What is kept is ``Moments``, and for sessions a sketch: sessions are thrown into so many
buckets with a random sign each, and the mean of the buckets' products is that of the sessions' (Alon, Matias & Szegedy,
STOC 1996), here within a percent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.evaluation.moments import Moments, Rounds, columns
from router_sdk.evaluation.reward_model import HELD, PRIOR_MEAN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.intp]

NOBODY = ""
"""Stands for "no agent fits" among the agents."""
_SIGN = np.uint64(1 << 63)


class Vocabulary:
    """Numbers for names, from 0, in the order in which they come."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._codes: dict[str, int] = {}
        self.codes(list(names))

    def codes(self, names: Sequence[str]) -> Codes:
        """The number of each name; new ones get the next."""
        return np.array([self._codes.setdefault(name, len(self._codes)) for name in names], dtype=np.intp)

    @property
    def names(self) -> list[str]:
        """The names by their numbers."""
        return list(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some decisions with a reward and a propensity, in the order of the log.

    Attributes:
        position: Of each in the log, shape ``(n,)``, as are all but the last two.
        known: Position of the newest that was said of it.
        reward: In [0, 1].
        propensity: With which who acted was chosen, in (0, 1].
        agent: Who acted, as a number of the vocabulary of agents.
        task_type: As a number of that of task types.
        tenant: As a number of that of tenants.
        session: A number that all decisions of a session have in common, and hardly any others.
        alone: Which are of no session.
        begins: Where each one's agents begin in the last two, and where the last one's end, shape ``(n + 1,)``.
        eligible: Who could be chosen, as numbers, of all decisions one after the other, shape ``(m,)``.
        drawn: With which probability each of these, shape ``(m,)``.
    """

    position: NDArray[np.int64]
    known: NDArray[np.int64]
    reward: Floats
    propensity: Floats
    agent: Codes
    task_type: Codes
    tenant: Codes
    session: NDArray[np.uint64]
    alone: NDArray[np.bool_]
    begins: Codes
    eligible: Codes
    drawn: Floats

    @property
    def rows(self) -> Codes:
        """Of which decision each eligible agent is, shape ``(m,)``."""
        return np.repeat(np.arange(len(self.reward)), np.diff(self.begins))

    def added(self, values: Floats) -> Floats:
        """What each decision's agents come to, shape ``(n,)``; ``values`` has the shape ``(m,)``."""
        found: Floats = np.bincount(self.rows, values, len(self.reward)).astype(np.float64)
        return found


class Policy(ABC):
    """Who would be chosen, of many decisions at once."""

    words: str

    @abstractmethod
    def weights(self, piece: Piece, expected: Floats) -> Floats:
        """How much each eligible agent is wanted, at least 0, shape ``(m,)``; where nobody is, it abstains.

        Args:
            piece: The decisions.
            expected: What the reward model expects of each eligible agent, shape ``(m,)``.
        """


class Uniform(Policy):
    """Everybody alike."""

    words = "everybody alike"

    def weights(self, piece: Piece, expected: Floats) -> Floats:
        """One for each."""
        return np.ones(len(piece.eligible))


class Greedy(Policy):
    """Whoever earned most with tasks of the type before, by the reward model."""

    words = "whoever earned most with the type of task before"

    def weights(self, piece: Piece, expected: Floats) -> Floats:
        """One for the best, shared where several are."""
        best = np.full(len(piece.reward), -np.inf)
        np.maximum.at(best, piece.rows, expected)
        return (expected >= best[piece.rows]).astype(np.float64)


class Table(Policy):
    """Fixed probabilities by type of task.

    Args:
        table: By type of task, of each agent; ``"*"`` stands for all other types.
        agents: The vocabulary.
        task_types: The vocabulary.
        words: What it is called.
    """

    def __init__(
        self, table: Mapping[str, Mapping[str, float]], agents: Vocabulary, task_types: Vocabulary, words: str
    ) -> None:
        self._table, self._agents, self._task_types, self.words = table, agents, task_types, words

    def weights(self, piece: Piece, expected: Floats) -> Floats:
        """What stands in the table."""
        names, types = self._agents.names, self._task_types.names
        rows = [self._table.get(name, self._table.get("*", {})) for name in types]
        wanted = np.array([[row.get(name, 0.0) for name in names] for row in rows]).reshape(len(types), len(names))
        return wanted[piece.task_type[piece.rows], piece.eligible]


class _Means:
    """The reward model of ``reward_model`` as arrays by numbers: what each agent earns with each type of task."""

    def __init__(self) -> None:
        self._count, self._total = np.zeros((0, 0)), np.zeros((0, 0))
        self._waiting = np.empty((0, 4))

    def expect(self, task_types: int, agents: int) -> Floats:
        """Shape ``(task_types, agents)``."""
        self._grow(task_types, agents)
        overall = (self._total.sum() + HELD * PRIOR_MEAN) / (self._count.sum() + HELD)
        above = (self._total.sum(0) + HELD * overall) / (self._count.sum(0) + HELD)
        found: Floats = (self._total + HELD * above) / (self._count + HELD)
        return found

    def _grow(self, *shape: int) -> None:
        for name in ("_count", "_total"):
            held = getattr(self, name)
            more = [(0, max(wanted - there, 0)) for wanted, there in zip(shape, held.shape, strict=True)]
            setattr(self, name, np.pad(held, more))

    def learn(self, piece: Piece) -> None:
        """Remember a piece's outcomes until the log has them."""
        told = np.stack([piece.known, piece.task_type, piece.agent, piece.reward], axis=1)  # all of them are exact
        self._waiting = np.concatenate([self._waiting, told])

    def until(self, position: int) -> None:
        """Take in what the log had said before a position."""
        ripe = self._waiting[:, 0] < position
        if ripe.any():
            task_type, agent = self._waiting[ripe, 1:3].astype(np.intp).T
            self._grow(int(task_type.max()) + 1, int(agent.max()) + 1)
            np.add.at(self._count, (task_type, agent), 1.0)
            np.add.at(self._total, (task_type, agent), self._waiting[ripe, 3])
            self._waiting = self._waiting[~ripe]


class _Sketched:
    """Moments of a log that comes in pieces."""

    def __init__(self, buckets: int) -> None:
        self._moments = Moments()
        self._sums = np.zeros((buckets, 6))

    def add(self, rounds: Rounds, told: Floats, session: NDArray[np.uint64], alone: NDArray[np.bool_]) -> None:
        """Take in some rounds, of which ``told`` are the ``columns``."""
        found = Moments.of(rounds, told)
        single = told[alone]
        self._moments += replace(found, grouped=single.T @ single)
        together, values = session[~alone], told[~alone]
        if len(together):
            signed = values * np.where(together & _SIGN, 1.0, -1.0)[:, None]
            bucket = (together % np.uint64(len(self._sums))).astype(np.intp)
            for place in range(6):
                self._sums[:, place] += np.bincount(bucket, signed[:, place], len(self._sums))

    @property
    def moments(self) -> Moments:
        """Of all of them."""
        return replace(self._moments, grouped=self._moments.grouped + self._sums.T @ self._sums)


class ColumnarEvaluation:
    """One policy, on a log that comes in pieces.

    Args:
        policy: Who would be chosen; where it abstains, it is taken for what was logged.
        agents: The vocabulary of agents.
        task_types: That of task types.
        told_apart: Numbers of the task types, and of the tenants, that have moments of their own.
    """

    _BUCKETS, _OF_A_GROUP = 1 << 18, 1 << 12

    def __init__(
        self, policy: Policy, agents: Vocabulary, task_types: Vocabulary, told_apart: tuple[Codes, Codes]
    ) -> None:
        self._policy, self._agents, self._task_types = policy, agents, task_types
        self._means = _Means()
        self._all = _Sketched(self._BUCKETS)
        self._groups = [{int(code): _Sketched(self._OF_A_GROUP) for code in codes} for codes in told_apart]

    def add(self, piece: Piece) -> None:
        """Take in the next piece."""
        if not len(piece.reward):
            return
        self._means.until(int(piece.position[0]))
        rounds = self._rounds(piece)
        told = columns(rounds)
        self._all.add(rounds, told, piece.session, piece.alone)
        for groups, codes in zip(self._groups, (piece.task_type, piece.tenant), strict=True):
            order = np.argsort(codes, kind="stable")
            found, begins = np.unique(codes[order], return_index=True)
            for code, chosen in zip(found.tolist(), np.split(order, begins[1:]), strict=True):
                if code in groups:
                    groups[code].add(rounds.where(chosen), told[chosen], piece.session[chosen], piece.alone[chosen])
        self._means.learn(piece)

    def _rounds(self, piece: Piece) -> Rounds:
        rows, types = piece.rows, len(self._task_types)
        expected = self._means.expect(types, len(self._agents))
        of_each = expected[piece.task_type[rows], piece.eligible]
        wanted = self._policy.weights(piece, of_each)
        total = piece.added(wanted)
        abstains = total <= 0.0
        share = np.where(abstains[rows], piece.drawn, wanted / np.where(abstains, 1.0, total)[rows])
        possible = piece.drawn > 0.0
        acted = piece.eligible == piece.agent[rows]
        expected_acted = expected[piece.task_type, piece.agent]
        nobody = abstains & (np.diff(piece.begins) == 0)  # "no agent fits", and nobody else was there
        return Rounds(
            piece.reward,
            piece.propensity,
            np.where(abstains, piece.propensity, np.minimum(piece.added(np.where(acted, share, 0.0)), 1.0)),
            np.where(nobody, expected_acted, np.minimum(piece.added(share * of_each), 1.0)),
            expected_acted,
            np.where(
                nobody, 1.0, piece.added(np.where(possible, share * share / np.where(possible, piece.drawn, 1.0), 0.0))
            ),
            np.where(nobody, 0.0, np.clip(1.0 - piece.added(np.where(possible, share, 0.0)), 0.0, 1.0)),
        )

    @property
    def overall(self) -> Moments:
        """Over all decisions."""
        return self._all.moments

    @property
    def groups(self) -> tuple[dict[int, Moments], dict[int, Moments]]:
        """By task type, and by tenant, as numbers."""
        task_types, tenants = ({code: one.moments for code, one in groups.items()} for groups in self._groups)
        return task_types, tenants
