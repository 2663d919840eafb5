"""A figure beyond its threshold, as hooks and reports tell of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode: it begins when a figure passes its threshold, and ends when the figure is well behind it again.

    Attributes:
        name: Which figure: ``failed_updates``, ``slow_updates``, ``improvement_rate``, ``agent_failures``,
            ``residual_change``, ``prediction_drift``, ``input_drift`` or ``golden_set``.
        subject: Of whom: an agent, a task type, or what stands for the input; None where it is of the whole.
        value: What it came to, in the unit of the threshold.
        threshold: What it passed.
        since: When that was noticed, in seconds since the epoch; of what is read off the log, by the log's time.
        words: The same in a line.
    """

    name: str
    subject: str | None
    value: float
    threshold: float
    since: float
    words: str

    def to_dict(self) -> dict[str, Any]:
        """The alert as JSON values."""
        return asdict(self)
