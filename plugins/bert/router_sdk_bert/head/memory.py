"""The stored outcomes: appended, dropped by weight, and moved together at a refit, so that readers never wait."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from router_sdk.numerics.state_file import array_of
from router_sdk_bert.head.herding import Group, Groups
from router_sdk_bert.head.linear import Reward
from router_sdk_bert.head.neighbours import Fading, VectorBlock
from router_sdk_bert.head.rows import NOBODY, UNKNOWN, Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.rows import Names, Row

FIRST = 64
"""Rows for which there is room at first."""
MOST_RAISED = 8.0
"""Most that a row about a changed agent counts for: it gets as many tasks as before, though few rows say which."""
ALIKE = 0.98
"""Cosine from which two texts are taken to ask the same."""
CORRECTED = 0.6
"""What a row still counts for when a newer label says otherwise of the same text; after two it is no neighbour."""
TRUSTED = 0.5
"""Trust below which a row is no neighbour to anybody."""

ANY, NOT_NEGATIVE, SHARE = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)
RANGES = {"credit": SHARE, "blame": SHARE, "trust": SHARE, "weight": NOT_NEGATIVE}
"""Of the columns that have one."""
COLUMNS: dict[str, type] = {
    "about": np.int32,
    "right": np.int32,
    "credit": np.float32,
    "wrong": np.int32,
    "blame": np.float32,
    "weight": np.float32,
    "trust": np.float32,
    "density": np.float32,
    "at": np.float64,
    "seq": np.int64,
    "mark": np.uint32,
    "alive": np.bool_,
}


Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0)]


class MemoryFacts(BaseModel):
    """What stands beside the arrays on disk; agents by their codes.

    Attributes:
        ids: Decision of each row.
        latest: Newest arrival, or None where there are no rows.
        groups: Places of the rows about each agent, and how many it ever had.
        lost: What the rows counted for that an agent lost when it changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    ids: tuple[str, ...]
    latest: float | None
    groups: dict[int, tuple[tuple[Count, ...], Count]]
    lost: dict[int, Amount]


class Memory:
    """Rows of arrays. Places that are in use are never written again but for ``alive`` and ``trust``.

    Args:
        size: Most rows alive.
        names: Codes of the agents.

    Attributes:
        ids: Decision of each place.
        vectors: Shape ``(room, d)``; None before the first row.
        coarse: What ``coarse_of`` makes of them, or None.
        columns: All else, each of shape ``(room,)``.
        used: Places in use, alive or not.
        groups: Who has how many rows alive.
        latest: Newest arrival, in seconds since the epoch.
        lost: What the rows counted for that an agent lost when it changed, by its code.
    """

    def __init__(self, size: int, names: Names) -> None:
        self._size, self._names = size, names
        self.ids: list[str] = []
        self.vectors: NDArray[np.float32] | None = None
        self.coarse: NDArray[np.float32] | None = None
        self.columns: dict[str, NDArray[Any]] = {key: np.zeros(0, dtype=kind) for key, kind in COLUMNS.items()}
        self.used = 0
        self.groups = Groups()
        self.latest = float("-inf")
        self.lost: dict[int, float] = {}
        self._place_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._place_of)

    def add(self, row: Row, coarse: NDArray[np.float32] | None, density: float) -> int:
        """Append a row; one of the same decision is dropped, and beyond the size one of the largest group.

        Returns:
            Its place.
        """
        before = self._place_of.get(row.decision_id)
        at = row.at if before is None else float(self.columns["at"][before])
        if before is not None:
            self.drop(before)
        self._make_room(len(row.vector), coarse)
        place = self.used
        assert self.vectors is not None
        self.vectors[place] = row.vector
        if self.coarse is not None and coarse is not None:
            self.coarse[place] = coarse
        told = self._told(row, at, density)
        for key, value in told.items():
            self.columns[key][place] = value
        self.ids.append(row.decision_id)
        self.used += 1
        self._place_of[row.decision_id] = place
        self.groups.add(int(told["about"]), place, row.vector)
        self.latest = max(self.latest, at)
        if len(self) > self._size:
            self.drop(self.groups.dispensable(self.vectors, self._names.listed()))
        return place

    def _told(self, row: Row, at: float, density: float) -> dict[str, float]:
        """What goes into each column."""
        verdict = row.verdict(exclusive=False)
        acted = UNKNOWN if row.agent is None else self._names.code(row.agent)
        right = self._names.code(row.label) if row.labelled else acted
        return {
            "about": right,
            "right": right,
            "credit": verdict.credit,
            "wrong": UNKNOWN if verdict.wrong is None else self._names.code(verdict.wrong),
            "blame": verdict.blame,
            "weight": row.weight,
            "trust": 1.0,
            "density": density,
            "at": at,
            "seq": row.seq,
            "mark": zlib.crc32(row.decision_id.encode()),
            "alive": True,
        }

    def place_of(self, decision_id: str) -> int | None:
        """Where a decision's row is, if it is alive."""
        return self._place_of.get(decision_id)

    def drop(self, place: int) -> None:
        """Forget one row."""
        assert self.vectors is not None
        self.columns["alive"][place] = False
        del self._place_of[self.ids[place]]
        self.groups.remove(self.group_of(place), place, self.vectors[place])

    def group_of(self, place: int) -> int:
        """Code of the agent that a row is about: who was right, else who acted."""
        return int(self.columns["about"][place])

    def _make_room(self, dimension: int, coarse: NDArray[np.float32] | None) -> None:
        room = len(self.columns["at"])
        if self.vectors is None:
            self.vectors = np.zeros((room, dimension), dtype=np.float32)
        if self.used < room:
            return
        # Whoever reads the old arrays keeps them.
        more = max(FIRST, room)
        self.vectors = np.concatenate((self.vectors, np.zeros((more, dimension), dtype=np.float32)))
        if self.coarse is not None:
            self.coarse = np.concatenate((self.coarse, np.zeros((more, self.coarse.shape[1]), dtype=np.float32)))
        self.columns = {key: np.concatenate((old, np.zeros(more, old.dtype))) for key, old in self.columns.items()}

    def compact(self) -> None:
        """Move the rows that are alive together, into new arrays."""
        if self.vectors is None:
            return
        kept = np.flatnonzero(self.columns["alive"][: self.used])
        self.ids = [self.ids[place] for place in kept]
        self.vectors = self.vectors[kept]
        self.coarse = None if self.coarse is None else self.coarse[kept]
        self.columns = {key: column[kept] for key, column in self.columns.items()}
        self.used = len(kept)
        self._place_of = {decision_id: place for place, decision_id in enumerate(self.ids)}
        self.groups.move({int(old): new for new, old in enumerate(kept)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that ``restore`` needs besides ``facts``."""
        arrays: dict[str, NDArray[Any]] = {f"memory.{key}": column[: self.used] for key, column in self.columns.items()}
        if self.vectors is not None:
            arrays["memory.vectors"] = self.vectors[: self.used]
        if self.coarse is not None:
            arrays["memory.coarse"] = self.coarse[: self.used]
        for code, group in self.groups.by_code.items():
            if group.held is not None and group.seen is not None:
                arrays[f"group.{code}"] = np.stack((group.held, group.seen))
        return arrays

    def facts(self) -> dict[str, Any]:
        """What goes into ``MemoryFacts``."""
        return {
            "ids": tuple(self.ids),
            "latest": self.latest if self.used else None,
            "groups": {code: (tuple(group.places), group.count) for code, group in self.groups.by_code.items()},
            "lost": self.lost,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]], facts: MemoryFacts, dimension: int | None) -> None:
        """Take up what was read from disk.

        Args:
            arrays: What ``arrays`` gave.
            facts: What ``facts`` gave.
            dimension: Of the vectors; None where there are none.

        Raises:
            KeyError: if an array is missing.
            ValueError: if they do not belong together.
        """
        used, codes = len(facts.ids), (UNKNOWN, len(self._names) - 1)
        ranges: dict[str, tuple[float, float]] = {**RANGES, "about": codes, "right": codes, "wrong": codes}
        if facts.latest is not None:
            self.latest = facts.latest
            ranges["at"] = (-math.inf, facts.latest)
        self.columns = {
            key: array_of(arrays, f"memory.{key}", kind, (used,), ranges.get(key, ANY)) for key, kind in COLUMNS.items()
        }
        if used and facts.latest is None:
            raise ValueError("nothing says when the newest row came")
        if "memory.vectors" in arrays or used:
            self.vectors = array_of(arrays, "memory.vectors", np.float32, (used, dimension))
        if "memory.coarse" in arrays:
            self.coarse = array_of(arrays, "memory.coarse", np.float32, (used, None))
        self.lost = dict(facts.lost)
        for code, (places, count) in facts.groups.items():
            held = seen = None
            if count < len(places):
                raise ValueError("a group holds more than it has seen")
            if f"group.{code}" in arrays or places:
                held, seen = (sums.copy() for sums in array_of(arrays, f"group.{code}", np.float64, (2, dimension)))
            self.groups.by_code[code] = Group(dict.fromkeys(places), held, seen, count)
        self._take_up(facts.ids)

    def _take_up(self, ids: Sequence[str]) -> None:
        if self.vectors is not None and len(self.vectors) != len(ids):
            raise ValueError("columns differ in length")
        self.ids, self.used = list(ids), len(ids)
        alive, about = self.columns["alive"], self.columns["about"]
        self._place_of = {decision_id: place for place, decision_id in enumerate(ids) if alive[place]}
        grouped = {place: code for code, group in self.groups.by_code.items() for place in group.places}
        if grouped != {place: int(about[place]) for place in self._place_of.values()} or len(grouped) != alive.sum():
            raise ValueError("the groups are not those of the rows alive")

    def weights(self, half_life_s: float | None) -> NDArray[np.float32]:
        """What each place counts for now, shape ``(used,)``.

        Args:
            half_life_s: Log time after which a row counts half; None for what they count for before they fade.
        """
        column = {key: self.columns[key][: self.used] for key in ("weight", "trust", "alive")}
        weight: NDArray[np.float32] = column["weight"] * column["trust"] * column["alive"]
        for code, mass in self.lost.items():
            own = (column["trust"] >= TRUSTED) & (self.columns["about"][: self.used] == code)
            held = float(weight[own].sum(dtype=np.float64))
            if 0.0 < held < mass:
                weight[own] *= np.float32(min(mass / held, MOST_RAISED))
        fading = self._fading(half_life_s)
        if fading is not None:
            weight *= fading.shares(slice(None))
        return weight

    def _fading(self, half_life_s: float | None) -> Fading | None:
        if half_life_s is None or not self.used:
            return None
        return Fading(self.columns["at"][: self.used], self.latest, half_life_s)

    def told(self, weight: NDArray[np.float32], *, exclusive: bool) -> Facts:
        """What the first rows say, as many as there are weights.

        Args:
            weight: What each counts for.
            exclusive: Whether a success of one agent says that the others would have failed; then a label says it all.
        """
        upto = len(weight)
        right, credit, wrong, blame = (self.columns[key][:upto] for key in ("right", "credit", "wrong", "blame"))
        if exclusive:
            blame = np.where(right == wrong, blame, np.float32(0.0))
        rivalry = np.broadcast_to(np.float32(exclusive), upto)
        return Facts(right, credit, wrong, blame, rivalry, weight)

    def block(self, half_life_s: float | None, *, exclusive: bool) -> VectorBlock:
        """Those who speak for a task, for requests; it stays as it is while rows are added.

        A row that is hardly trusted, and near, would drown those that are trusted and further off, so it is left out.
        """
        weight = self.weights(None) * (self.columns["trust"][: self.used] >= TRUSTED)
        vectors = np.zeros((0, 0), dtype=np.float32) if self.vectors is None else self.vectors[: self.used]
        coarse = None if self.coarse is None else self.coarse[: self.used]
        facts, density = self.told(weight, exclusive=exclusive), self.columns["density"][: self.used]
        return VectorBlock(vectors, coarse, density, facts, self._fading(half_life_s))

    def distrust(self, code: int, before: int, kept: float) -> None:
        """Let all rows about an agent from before a position count for at most ``kept`` rows together."""
        alive, trust = self.columns["alive"][: self.used], self.columns["trust"].copy()
        about = self.columns["about"][: self.used] == code
        old = about & alive & (self.columns["seq"][: self.used] < before)
        mass = float((self.columns["weight"][: self.used] * trust[: self.used])[old].sum(dtype=np.float64))
        if mass > kept:
            trust[: self.used][old] *= np.float32(kept / mass)
            self.columns["trust"] = trust
            self.lost[code] = mass

    def correct(self, row: Row) -> None:
        """Let rows of the same text that say something else than a newer label count for less."""
        if self.vectors is None or not row.labelled:
            return
        others = self.columns["right"][: self.used] != self._names.code(row.label)
        alike = others & (self.vectors[: self.used] @ row.vector >= ALIKE)
        if alike.any():
            self.columns["trust"][: self.used][alike] *= np.float32(CORRECTED)

    def rewards(self) -> Iterator[tuple[list[Reward], NDArray[np.float32]]]:
        """What each row that is alive says of whose reward, and its vector, oldest first."""
        names = [None, *self._names.listed()]
        for place in np.flatnonzero(self.columns["alive"][: self.used]).tolist():
            right, wrong = int(self.columns["right"][place]), int(self.columns["wrong"][place])
            told: dict[str, float] = {}
            if wrong > NOBODY:
                told[str(names[wrong])] = 1.0 - float(self.columns["blame"][place])
            if right > NOBODY:
                told[str(names[right])] = float(self.columns["credit"][place])
            assert self.vectors is not None
            yield [Reward(name, None, told[name]) for name in sorted(told)], self.vectors[place]

    def category_distribution(self) -> dict[str | None, int]:
        """How many rows alive are about each agent, by name; None is nobody."""
        names = {code: name for name, code in self._names.known().items()}
        found: Counter[str | None] = Counter()
        for code, group in self.groups.by_code.items():
            found[names.get(code)] += len(group.places)
        return dict(+found)

    def drop_where(self, unwanted: Callable[[int], bool]) -> int:
        """Forget the rows whose place is unwanted; returns how many."""
        gone = [place for place in self._place_of.values() if unwanted(place)]
        for place in gone:
            self.drop(place)
        return len(gone)
