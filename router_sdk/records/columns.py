"""A batch of examples as columns: what a strategy folds that has no use for an object each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records.example import Example, Forecast
    from router_sdk.records.task import Task

    Carried = tuple[Task, Mapping[str, NDArray[Any]]]

Numbers = Sequence[float | None]


class LoggedTexts(NamedTuple):
    """What was known when decisions on texts were made, in columns: tasks without features, whose vectors are logged.

    Attributes:
        eligible: Names of the agents that could have been chosen.
        propensity: Probability with which the agent was chosen.
        vector: What one encoder made of each text: arrays, or one array where they are all alike.
    """

    eligible: Sequence[tuple[str, ...]]
    propensity: Sequence[float]
    vector: Sequence[NDArray[Any]] | NDArray[Any]


class BatchContext(Protocol):
    """What was known when the decisions of a batch were made, of a few at once, given by their positions in the log."""

    def peek(self, seqs: Sequence[int]) -> list[Carried]:
        """Tasks and vectors."""

    def forecasts(self, seqs: Sequence[int]) -> list[Forecast | None]:
        """What was given for their rewards."""

    def texts(self, seqs: Sequence[int], tag: str) -> LoggedTexts | None:
        """What ``ExampleColumns.texts`` gives."""


class ExampleColumns:
    """The examples of one batch, in log order. ``None`` in a column is what is not known.

    Most outcomes are the first and only thing that is heard of a decision, and name nobody. Of those the columns say
    all that there is to learn; ``others`` holds the examples that say more. For them, too, the columns are right.

    What is read from the log at the first question (``examples``, and what their tasks hold) must be asked on the
    thread that reads the log, while it handles the batch.

    Args:
        columns: The columns, in the order in which they stand here.
        others: See there.
        build: Makes the examples.
        context: What was known when the decisions were made; None where each example has its own.

    Attributes:
        decision_id: Which decisions.
        seq: Positions in the log.
        decision_seq: Those of the decisions.
        agent: Who acted; None where it was "no agent fits".
        task_type: Types of the tasks.
        reward: Joined rewards in [0, 1].
        at: The log's time when each took effect, in seconds since the epoch.
        success: Whether it succeeded, 1 or 0.
        quality: In [0, 1].
        latency_ms: In milliseconds.
        cost_usd: In US dollars.
        others: By place, the examples with a label, feedback, metrics or another agent than was chosen, and those that
            correct what was said before. Any other is of revision 0, and took effect when it was first heard of.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[Any]],
        others: Mapping[int, Example],
        build: Callable[[], list[Example]],
        context: BatchContext | None = None,
    ) -> None:
        self.decision_id: Sequence[str] = columns[0]
        self.seq: Sequence[int] = columns[1]
        self.decision_seq: Sequence[int] = columns[2]
        self.agent: Sequence[str | None] = columns[3]
        self.task_type: Sequence[str] = columns[4]
        self.reward: Numbers = columns[5]
        self.at: Sequence[float] = columns[6]
        self.success: Numbers = columns[7]
        self.quality: Numbers = columns[8]
        self.latency_ms: Numbers = columns[9]
        self.cost_usd: Numbers = columns[10]
        self.others, self._build, self._context = others, build, context

    @classmethod
    def of(cls, examples: list[Example], context: BatchContext | None = None) -> ExampleColumns:
        """The columns of examples that are there already, and the context that they share."""
        cells = [cells_of(example) for example in examples]
        others = {place: example for place, example in enumerate(examples) if _says_more(example)}
        return cls(list(zip(*cells, strict=True)) if cells else [()] * 11, others, lambda: examples, context)

    def __len__(self) -> int:
        return len(self.seq)

    @cached_property
    def examples(self) -> list[Example]:
        """An object each, for who asks for more."""
        return self._build()

    def carried(self, places: Sequence[int]) -> list[Carried]:
        """Tasks and vectors of a few places, for which nothing else is read."""
        if self._context is not None:
            return self._context.peek([self.decision_seq[place] for place in places])
        return [(example.task, example.vectors) for example in (self.examples[place] for place in places)]

    def texts(self, places: Sequence[int], tag: str) -> LoggedTexts | None:
        """What was known of these places, for which nothing else is read, with the vectors of one encoder.

        None where a task has features, a vector was not logged, or somebody else than the router decided.
        """
        if self._context is not None:
            return self._context.texts([self.decision_seq[place] for place in places], tag)
        examples = [self.examples[place] for place in places]
        vectors = [example.vectors.get(tag) for example in examples]
        eligible, propensity = [each.eligible for each in examples], [each.propensity for each in examples]
        if any(each.task.features for each in examples) or None in propensity or any(x is None for x in vectors):
            return None
        return LoggedTexts(eligible, propensity, vectors)  # type: ignore[arg-type]  # just looked at

    @cached_property
    def forecasts(self) -> Sequence[Forecast | None]:
        """``Example.forecast`` of each."""
        return self._forecasts(range(len(self)))

    def foretold(self, places: Sequence[int]) -> Sequence[Forecast | None]:
        """The same of a few places, for which nothing else is read."""
        if "forecasts" in self.__dict__:
            return [self.forecasts[place] for place in places]
        return self._forecasts(places)

    def _forecasts(self, places: Sequence[int]) -> list[Forecast | None]:
        if self._context is None:
            return [self.examples[place].forecast for place in places]
        found = self._context.forecasts([self.decision_seq[place] for place in places])
        if self.others:
            others = map(self.others.get, places)
            found = [told if one is None else one.forecast for told, one in zip(found, others, strict=True)]
        return found


def cells_of(example: Example) -> tuple[Any, ...]:
    """What stands of one example in the columns, in their order."""
    said = example.signals
    success = None if said.success is None else int(said.success)
    place = (example.decision_id, example.seq, example.decision_seq, example.agent, example.task_type)
    return (*place, example.reward, example.at, success, said.quality, said.latency_ms, said.cost_usd)


def _says_more(example: Example) -> bool:
    said = example.signals
    return (
        example.previous is not None
        or example.revision > 0
        or said.labelled
        or said.feedback is not None
        or said.metrics is not None
        or said.agent is not None
        or example.first_at != example.at
    )
