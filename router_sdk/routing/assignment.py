"""Which arm of an experiment a unit comes to: by a hash, so that it always comes to the same one.

A unit is a tenant's session, or a decision without one. Its place in [0, 1) is a keyed hash of the session, or the
first random digits of the decision's id; each arm holds pieces of that interval. Where shares change, as little as
possible changes hands, and through the champion: no unit goes from one challenger to another unless one had to give it
up.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_sdk.records import Task
    from router_sdk.routing.chain import Chain

_SESSIONS = 10_000
"""Sessions in flight that keep their arm although shares change, those that began last."""
_WHOLE = 2**32
"""Places that units come to: shares are rounded to so many."""

Pieces = tuple[tuple[int, str], ...]
"""Which arm holds what: where each piece ends, and whose it is, in order; they begin at 0 and end at 2^32."""


Assigned = tuple["Chain", str | None, float | None]
"""What decides about one task: who proposes, ``EXPERIMENT/ARM``, and the chance with which a unit comes to that arm, in
(0, 1]. Both are None where no experiment takes part."""


class Sessions:
    """The arms of the newest sessions of this process, bounded."""

    def __init__(self) -> None:
        self.known: OrderedDict[tuple[str | None, str], tuple[str, float]] = OrderedDict()
        self.lock = threading.RLock()

    def keep(self, key: tuple[str | None, str], arm: str, probability: float) -> tuple[str, float]:
        """Note a session's arm; that of whoever was faster stands."""
        with self.lock:
            found = self.known.setdefault(key, (arm, probability))
            if len(self.known) > _SESSIONS:
                self.known.popitem(last=False)
            return found

    def forget(self, tenant: str | None, session_id: str) -> None:
        """Drop one session of a tenant."""
        with self.lock:
            self.known.pop((tenant, session_id), None)

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()


class Assignment:
    """The arms of one experiment, and who comes to which. Immutable; replaced as a whole.

    Args:
        experiment: Its name: another experiment divides the same sessions otherwise.
        chains: Each arm's chain, by its name.
        instead: Who proposes in the place of an arm that cannot be served here; that is no part of the experiment.
        pieces: Which arm holds what.
        sessions: Sessions in flight.
    """

    __slots__ = ("_arms", "_assigned", "_ends", "_instead", "_keyed", "_names", "_sessions", "_shares")

    def __init__(
        self, experiment: str, chains: Mapping[str, Chain], instead: Chain, pieces: Pieces, sessions: Sessions
    ) -> None:
        self._keyed, self._sessions = blake2b(digest_size=4, key=experiment.encode()), sessions
        self._shares = {name: places / _WHOLE for name, places in shares_of(pieces).items()}
        self._arms: dict[str, Assigned] = {
            name: (chain, f"{experiment}/{name}", self._shares.get(name)) for name, chain in chains.items()
        }
        self._instead: Assigned = (instead, None, None)
        self._names = [name for _, name in pieces]
        self._assigned = [self._arms.get(name, self._instead) for name in self._names]
        self._ends = [f"{end:08x}" for end, _ in pieces[:-1]]  # as the digits of a place sort

    def of(self, task: Task, decision_id: str) -> Assigned:
        """Who decides about a task. On every request's way: a decision's id is random already, and needs no hash."""
        session_id = task.session_id
        if session_id is None:
            return self._assigned[bisect_right(self._ends, decision_id[12:20])]
        key = (task.tenant, session_id)
        found = self._sessions.known.get(key)
        if found is None:
            unit = self._keyed.copy()  # which takes two thirds of the time that a new one does
            unit.update(f"{task.tenant or ''}\x00{session_id}".encode(errors="replace"))
            arm = self._names[bisect_right(self._ends, unit.hexdigest())]
            found = self._sessions.keep(key, arm, self._shares[arm])
        arm, probability = found
        assigned = self._arms.get(arm, self._instead)  # sessions remember arms that hold no piece any more, too
        if assigned[1] is None or assigned[2] == probability:
            return assigned
        return (assigned[0], assigned[1], probability)


def pieces_of(steps: Iterable[Mapping[str, float]], champion: str) -> Pieces:
    """Which arm holds what after the shares were set, and changed step by step.

    Args:
        steps: Each arm's share, in [0, 1]; those of one step sum to 1.
        champion: Whom challengers take from, and give back to.
    """
    pieces: Pieces = ((_WHOLE, champion),)
    for shares in steps:
        wanted = {name: round(share * _WHOLE) for name, share in shares.items() if name != champion}
        for grows in (False, True):  # first all give back
            for name in sorted(wanted.keys() | {name for _, name in pieces if name != champion}):
                more = wanted.get(name, 0) - shares_of(pieces).get(name, 0)
                if more > 0 and grows:
                    pieces = _given(pieces, champion, name, more)
                elif more < 0 and not grows:
                    pieces = _given(pieces, name, champion, -more)
    return pieces


def shares_of(pieces: Pieces) -> dict[str, int]:
    """How many of the 2^32 places each arm holds."""
    held: dict[str, int] = {}
    for (begin, _), (end, name) in pairwise(((0, ""), *pieces)):
        held[name] = held.get(name, 0) + end - begin
    return held


def _given(pieces: Pieces, giver: str, taker: str, places: int) -> Pieces:
    """The first places of one arm are another's from now on."""
    cut: list[tuple[int, str]] = []
    begin = 0
    for end, name in pieces:
        if name == giver and places > 0:
            part = min(places, end - begin)
            places -= part
            cut.append((begin + part, taker))
            begin += part
        if begin < end:
            cut.append((end, name))
        begin = end
    return _joined(cut)


def _joined(cut: Sequence[tuple[int, str]]) -> Pieces:
    """Neighbours of one arm are one piece."""
    follow = [*(name for _, name in cut[1:]), None]
    return tuple(piece for piece, behind in zip(cut, follow, strict=True) if piece[1] != behind)
