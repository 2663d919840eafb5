"""Finds out which task types come with a text or features, without loading every task from the log.

Whether a type is bare is looked up at its first eight examples and then ever more rarely, by its count alone, so
that every process that reads the log finds the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.plugin import Example

ALWAYS = 8


class Kind(NamedTuple):
    """What tasks of a type carry."""

    text: bool
    features: bool


BARE = Kind(False, False)


class ContextProbe:
    """What each task type's tasks carry, as far as was seen.

    Attributes:
        counts: Examples per task type.
        kinds: What they carried.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.kinds: dict[str, Kind] = {}

    def kind(self, example: Example) -> Kind:
        """What tasks of this example's type carry, this one included if it is looked at."""
        task_type = example.task_type
        count = self.counts[task_type] = self.counts.get(task_type, 0) + 1
        kind = self.kinds.get(task_type, BARE)
        if count > ALWAYS and count & (count - 1):
            return kind
        task = example.task
        # Where privacy keeps no text, its vectors still tell that there was one.
        seen = Kind(kind.text or bool(task.text) or bool(example.vectors), kind.features or bool(task.features))
        if seen == kind:
            return kind
        self.kinds[task_type] = seen
        return seen

    def save(self, path: Path) -> None:
        """Write what was seen."""
        path.write_text(json.dumps({"counts": self.counts, "kinds": self.kinds}), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it cannot be read.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            counts = {str(name): int(count) for name, count in state["counts"].items()}
            kinds = {str(name): Kind(bool(kind[0]), bool(kind[1])) for name, kind in state["kinds"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CorruptArtifactError(f"{path.name} cannot be used: {error}") from error
        self.counts, self.kinds = counts, kinds
