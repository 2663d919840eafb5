"""Made-up or historical examples for a first version get a log of their own, which is no part of what happened here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError
from router_sdk.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.recording import Observation, Recorder
    from router_sdk.records import Task

Vectors = Callable[["Task"], Mapping[str, "NDArray[Any]"] | None]
"""What the strategies' encoders make of a task's text, by encoder tag."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Examples that a first version is made of, written where a fit reads them.

    Attributes:
        observed: The examples.
        recorder: Makes decisions of them.
        vectors: What is kept of a text where the store hides texts.
        start: Folder of a checkpoint to start from; None starts from the strategy as it is without any fit.
    """

    observed: Sequence[Observation]
    recorder: Recorder
    vectors: Vectors
    start: Path | None = None

    def __call__(self, path: Path) -> int:
        """Write them into a new store, and return up to which position they reach there."""
        return write_examples(path, self.observed, self.recorder, self.vectors)


def write_examples(path: Path, observed: Sequence[Observation], recorder: Recorder, vectors: Vectors) -> int:
    """Write examples into a new store, from which a fit reads like from any other.

    It keeps of texts what the router's own store keeps. It stands in the fit's folder, and goes with it.

    Args:
        path: The new store's file.
        observed: The examples.
        recorder: Makes decisions of them.
        vectors: What is kept of a text where the store hides texts: what is learnt then, is learnt from vectors.

    Returns:
        The position in the new log up to which the examples reach.
    """
    privacy = recorder.store.privacy
    store = Store(path, privacy=privacy)
    try:
        entries = []
        for task, agent, outcome in observed:
            decision = recorder.observation(task, agent)
            if outcome is not None:
                if privacy.hides_texts:
                    decision = replace(decision, vectors=vectors(task))
                entries.append(store.entry(decision.decision_id, outcome, outcome.signals(), decision=decision))
        store.append_all(entries)
        tail = store.tail(recorder.reward)
        try:
            return tail.head()
        finally:
            tail.close()
    finally:
        store.close()


def checkpoint_folder(folder: str | Path) -> Path:
    """Where a checkpoint lies, whole.

    Raises:
        InvalidInputError: if there is no such folder.
    """
    start = Path(folder).expanduser().absolute()
    if not start.is_dir():
        raise InvalidInputError(f"{str(folder)!r:.300} is no folder; give one with config.json and safetensors")
    return start
