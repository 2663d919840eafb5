"""Labelled data as observations: what ``Router.fit`` logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError
from router_sdk.records import Outcome, Task
from router_sdk.spelling import normal

if TYPE_CHECKING:
    from router_sdk.evaluation.classification import Label
    from router_sdk.exchange.importing import Observation


def paired(tasks: Sequence[Any], labels: Sequence[Label]) -> list[tuple[Task, Label]]:
    """Tasks with their labels.

    Raises:
        InvalidInputError: if there are none, not as many of one as of the other, or if either is a single text.
        InvalidTaskError: if a task is malformed.
    """
    if isinstance(tasks, str) or isinstance(labels, str):
        raise InvalidInputError("X and y must be sequences, got a single text")
    if len(tasks) != len(labels) or not len(tasks):
        raise InvalidInputError(f"X and y must be of one length and not empty, got {len(tasks)} and {len(labels)}")
    return [(Task.of(task), _spelled(label)) for task, label in zip(tasks, labels, strict=True)]


def _spelled(label: Label) -> Label:
    """A label with its names as they are kept."""
    if isinstance(label, Mapping):
        spelled = {normal(name): score for name, score in label.items()}
        if len(spelled) < len(label):
            raise InvalidInputError(f"y: a name stands twice in {list(label)!r:.200}, in two Unicode forms")
        return spelled
    return normal(label) if isinstance(label, str) else label


def observations(pairs: Sequence[tuple[Task, Label]]) -> Iterator[Observation]:
    """Each label as an observation: a name, None for "no agent fits", or a score in [0, 1] for each agent."""
    for task, label in pairs:
        if isinstance(label, Mapping):
            yield from ((task, name, Outcome(quality=score)) for name, score in label.items())
        elif label is None:
            yield task, None, Outcome(no_agent_fits=True)
        else:
            yield task, label, Outcome(correct_agent=label)
