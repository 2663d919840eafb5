"""What every replay buffer promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from router_sdk.errors import InvalidConfigError
from router_sdk.records import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_CAPACITY = 10_000


class Replayable(Protocol):
    """What a buffer can keep: anything that says which decision it came from, such as an ``Example``."""

    @property
    def decision_id(self) -> str:
        """Which decision; a newer sample of the same one replaces the older."""


S = TypeVar("S", bound=Replayable)


class ReplayDraw(NamedTuple, Generic[S]):
    """Samples to train on again.

    Attributes:
        samples: The samples drawn.
        weights: How much each counts in the loss, shape ``(n,)``, in (0, 1].
    """

    samples: tuple[S, ...]
    weights: NDArray[np.float64]


def category_of(sample: object) -> Hashable:
    """The class that an example teaches: its label, else who acted; None is "no agent fits"."""
    if not isinstance(sample, Example):
        return getattr(sample, "label", None)
    return sample.label if sample.labelled else sample.agent


class ReplayBuffer(ABC, Generic[S]):
    """A bounded memory of what was learnt from.

    Args:
        capacity: Most samples kept.

    Raises:
        InvalidConfigError: if ``capacity`` is below 1.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise InvalidConfigError(f"replay buffer: capacity must be at least 1, got {capacity}")
        self.capacity = capacity

    @abstractmethod
    def add_samples(self, samples: Iterable[S]) -> None:
        """Offer samples, oldest first; the buffer decides which it keeps."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> ReplayDraw[S]:
        """Draw at most ``n`` samples; the same buffer and generator give the same draw."""

    @abstractmethod
    def remove(self, decision_ids: Collection[str]) -> None:
        """Drop these decisions: their payload was erased. Unknown ids are ignored."""

    @abstractmethod
    def get_category_distribution(self) -> Mapping[Hashable, int]:
        """How many samples of each category are kept."""

    @abstractmethod
    def __iter__(self) -> Iterator[S]:
        """The samples kept, in the order in which they came."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples are kept."""
