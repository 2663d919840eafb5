"""Which of two posteriors answers a task that both learn from: the one that has predicted better, by task type.

Before they learn from an outcome, each says what reward it expects of the agent that acted; whose squared errors are
smaller, recent ones counting most, answers (prequential model selection: Dawid, 1984). It depends on the log alone, so
that every process chooses alike.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 500.0
"""Outcomes after which an error counts 1/e."""
ENOUGH = 20.0
"""Outcomes over all types before which the first answers."""
SHRINK = 100.0
"""Outcomes that what all types say together is worth in what one of them decides."""


Errors = tuple[float, float, float]
"""Outcomes, squared errors of the first, and of the second; recent ones count most."""
NONE: Errors = (0.0, 0.0, 0.0)


class Selection(NamedTuple):
    """What both were off by, at one moment.

    Attributes:
        overall: Over all task types.
        types: By task type.
    """

    overall: Errors
    types: dict[str, Errors]

    def second(self, task_type: str) -> bool:
        """Whether the second answers."""
        count, first, second = self.overall
        if count < ENOUGH:
            return False
        _, first_here, second_here = self.types.get(task_type, NONE)
        return SHRINK * (first - second) / count + first_here - second_here > 0.0


class ModelSelection:
    """Squared errors of both posteriors, by task type and over all."""

    def __init__(self) -> None:
        self._overall = NONE
        self._types: dict[str, Errors] = {}
        self._selection: Selection | None = None

    def note(self, task_type: str, first_error: float, second_error: float) -> None:
        """Take in how far either was off."""
        squares = first_error * first_error, second_error * second_error
        self._overall = _joined(self._overall, *squares)
        self._types[task_type] = _joined(self._types.get(task_type, NONE), *squares)
        self._selection = None

    @property
    def current(self) -> Selection:
        """Which answers where; never changed, only replaced."""
        if self._selection is None:
            self._selection = Selection(self._overall, dict(self._types))
        return self._selection

    def save(self, path: Path) -> None:
        """Write the errors."""
        path.write_text(json.dumps({"overall": self._overall, "types": self._types}), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it cannot be read or a sum is negative or not finite.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            overall = _checked(state["overall"])
            types = {str(name): _checked(errors) for name, errors in state["types"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path.name} cannot be used: {error}") from error
        self._overall, self._types, self._selection = overall, types, None


def _joined(errors: Errors, first: float, second: float) -> Errors:
    keep = 1.0 - 1.0 / MEMORY
    return keep * errors[0] + 1.0, keep * errors[1] + first, keep * errors[2] + second


def _checked(errors: list[float]) -> Errors:
    count, first, second = (float(number) for number in errors)
    if not all(isfinite(number) and number >= 0.0 for number in (count, first, second)):
        raise ValueError("errors must be finite and at least 0")
    return count, first, second
