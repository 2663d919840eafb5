"""Which task types come with a text or features, found out without loading every task from the log.

Whether a type is bare is looked up at its first eight examples and then ever more rarely, by its count alone, so that
every process that reads the log finds the same. Of types beyond ``MOST_KINDS`` those heard of longest ago are looked at
anew.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.numerics.recency import crowded, in_order, put_last
from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from router_sdk.plugin import Example, ExampleColumns


ALWAYS = 8


class Kind(NamedTuple):
    """What tasks of a type carry."""

    text: bool
    features: bool


BARE, TEXTS = Kind(False, False), Kind(True, False)
NEVER = (0, BARE)


class ContextProbe:
    """What each task type's tasks carry, as far as was seen.

    Attributes:
        seen: Of each task type how many examples there were, and what they carried.
    """

    def __init__(self) -> None:
        self.seen: OrderedDict[str, tuple[int, Kind]] = OrderedDict()

    def kind(self, example: Example) -> Kind:
        """What tasks of this example's type carry, this one included if it is looked at."""
        task_type = example.task_type
        before, kind = self.seen.get(task_type, NEVER)
        count = before + 1
        if count <= ALWAYS or not count & (count - 1):
            task = example.task
            # Where privacy keeps no text, its vectors still tell that there was one.
            kind = Kind(kind.text or bool(task.text) or bool(example.vectors), kind.features or bool(task.features))
        put_last(self.seen, task_type, (count, kind))
        return kind

    def bare(self, columns: ExampleColumns) -> bool:
        """Whether no task of a batch carries more than a type, as far as is looked; only then they are counted."""
        counts = Counter(columns.task_type)
        if crowded(self.seen, counts) or any(self.seen.get(task_type, NEVER)[1] != BARE for task_type in counts):
            return False
        places: list[int] = []
        for task_type, count in counts.items():
            before = self.seen.get(task_type, NEVER)[0]
            after = before + count
            looks = [*range(before + 1, min(after, ALWAYS) + 1)]
            looks += [1 << bit for bit in range(max(before, ALWAYS).bit_length(), after.bit_length())]
            if looks:
                there = [place for place, name in enumerate(columns.task_type) if name == task_type]
                places += [there[look - before - 1] for look in looks]
        if any(task.text or task.features or vectors for task, vectors in columns.carried(places)):
            return False
        for task_type in in_order(columns.task_type):
            put_last(self.seen, task_type, (self.seen.get(task_type, NEVER)[0] + counts[task_type], BARE))
        return True

    def texts(self, task_types: Sequence[str]) -> bool:
        """Count tasks that are all texts and nothing else; False where one is of a type that was not taken for texts.

        Of a type that was never seen the first is looked at, so that it is.
        """
        counts, seen = Counter(task_types), self.seen
        if crowded(seen, counts) or any(task_type in seen and not seen[task_type][1].text for task_type in counts):
            return False
        for task_type in in_order(task_types):
            before, kind = seen.get(task_type, (0, TEXTS))
            put_last(seen, task_type, (before + counts[task_type], kind))
        return True

    def save(self, path: Path) -> None:
        """Write what was seen."""
        counts = {name: count for name, (count, _) in self.seen.items()}
        kinds = {name: kind for name, (_, kind) in self.seen.items() if kind != BARE}
        path.write_text(json.dumps({"counts": counts, "kinds": kinds}), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it cannot be read.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            kinds = {str(name): Kind(bool(kind[0]), bool(kind[1])) for name, kind in state["kinds"].items()}
            seen = {str(name): (int(count), kinds.get(name, BARE)) for name, count in state["counts"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CorruptArtifactError(f"{path.name} cannot be used: {error}") from error
        self.seen = OrderedDict(seen)
