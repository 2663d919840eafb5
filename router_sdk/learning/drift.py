"""Whether what is asked, what is decided and what comes of it are still what they were: a fold over the log.

Three things are watched, each against what came before, see docs/drift.md: whom the favourites are, in all and by task
type; where the tasks lie, by their logged embeddings or else by their words; and each agent's rewards against what was
foretold of them. The longer the log, the fewer of its outcomes are looked at: each of them at first, later one in so
many, at places that follow from their number alone, so that a replay looks at the same ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from math import frexp
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from router_sdk.learning.residuals import AgentRecord
from router_sdk.learning.running import RunningNumbers
from router_sdk.learning.windows import Choices, Inputs, changed
from router_sdk.numerics.distribution_shift import AXES, point_of_vector, point_of_words, spent
from router_sdk.numerics.state_file import array_of, load_state, write_state
from router_sdk.records import DEFAULT_TASK_TYPE, ExampleColumns
from router_sdk.spelling import folded, words

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.loop_settings import DriftConfig
    from router_sdk.records import Example, Forecast, Task

Series = TypeVar("Series", Choices, Inputs)

DRIFT = "drift"
"""Name of its fold; no strategy may have it."""
TEXT = "text"
"""Stands for tasks whose words are compared."""
MOST_TYPES = 32
"""Task types whose favourites are watched, the default one among them, which stands for all of them together."""
MOST_SOURCES = 4
"""Encoders whose vectors are watched."""
FULL, MOST = 4_096, 16
"""Outcomes that are all looked at, then of as many one in two, and so on, until it is one in so many."""
FULL_INPUTS, MOST_INPUTS = 1_024, 128
"""The same of tasks, which have to be read for it."""
MOST_CHARS = 4_000
"""Characters of a text that are looked at."""

_MIXER = 2_654_435_761
_SETTINGS = {"window", "alpha", "prediction_kl", "inputs", "detector", "residual_threshold", "adwin_delta"}


class Drift:
    """Folds examples into windows and records.

    One thread learns while any other may ask for a report.

    Args:
        config: What counts as drift.
    """

    name = DRIFT
    state_version = 2

    def __init__(self, config: DriftConfig) -> None:
        self._config = config
        self._heard, self._next, self._next_input = 0, 0, 0
        """Outcomes so far, and the numbers of the next one that is looked at, and of the next task."""
        self._choices: OrderedDict[str, Choices] = OrderedDict()
        self._since = 0
        """Position in the log of the agent that came last: whom favourites competed with before does not count."""
        self._inputs: OrderedDict[str, Inputs] = OrderedDict()
        self._running = RunningNumbers()
        self._agents: dict[str, AgentRecord] = {}
        self._compared = [0, 0]
        """Comparisons of choices and of inputs so far."""

    @property
    def settings(self) -> tuple[str, ...]:
        """What its state depends on beside the log."""
        return (self._config.model_dump_json(include=_SETTINGS),)

    # -- the fold

    def learn(self, examples: Sequence[Example]) -> None:
        """Compare what came with what came before."""
        self.learn_columns(ExampleColumns.of(list(examples)))

    def learn_columns(self, columns: ExampleColumns) -> None:
        """The same of a batch."""
        start = self._heard
        self._heard = end = start + len(columns)
        self._next, places = _places(self._next, end, FULL, MOST)
        if places:
            self._look(columns, [place - start for place in places])
        self._next_input, places = _places(self._next_input, end, FULL_INPUTS, MOST_INPUTS)
        if places and self._config.inputs:
            self._look_at_inputs(columns, [place - start for place in places])

    def _look(self, columns: ExampleColumns, places: Sequence[int]) -> None:
        others = columns.others
        agents, rewards, ats, passed = columns.agent, columns.reward, columns.at, columns.success
        threshold = self._config.residual_threshold
        for place, forecast in zip(places, columns.foretold(places), strict=True):
            other = others.get(place) if others else None
            agent = agents[place]
            if agent is None:
                continue
            if forecast is not None and not forecast.of_favourite:  # among equals, whoever is drawn says nothing
                forecast = None
            if forecast is not None and (other is None or other.previous is None):
                self._choose(columns.task_type[place], agent, forecast, ats[place])
            reward = rewards[place]
            if reward is None or not (other is None or other.previous_reward is None):
                continue
            record = self._agents.get(agent)
            if record is None:
                record = self._agents[agent] = AgentRecord.new(self._config)
            success = passed[place]
            if success is not None:
                record.passed.append(int(success))
            if threshold is not None:
                foretold = forecast is not None
                residual = reward - forecast.confidence if forecast is not None else reward
                record.update(residual, ats[place], threshold, foretold=foretold)

    def _choose(self, task_type: str, agent: str, forecast: Forecast, at: float) -> None:
        least = self._config.prediction_kl
        if least is None or forecast.since < self._since:
            return
        if forecast.since > self._since:
            self._since = forecast.since
            self._choices.clear()
        for kind in (DEFAULT_TASK_TYPE,) if task_type == DEFAULT_TASK_TYPE else (DEFAULT_TASK_TYPE, task_type):
            choices = self._choices.get(kind) or _begun(self._choices, kind, Choices, MOST_TYPES)
            counts = choices.newest
            counts[agent] = counts.get(agent, 0) + 1
            choices.seen += 1
            if choices.seen >= self._config.window:
                choices.compare(at, least, self._spend(0, choices.reference is not None))
                self._choices.move_to_end(kind)

    def _look_at_inputs(self, columns: ExampleColumns, places: Sequence[int]) -> None:
        others = columns.others
        places = [place for place in places if place not in others or others[place].previous is None]
        for place, (task, vectors) in zip(places, columns.carried(places), strict=True):
            source, point = _point(task, vectors, self._running)
            if point is None:
                continue
            inputs = self._inputs.get(source) or _begun(self._inputs, source, Inputs, MOST_SOURCES)
            inputs.newest.add(point)
            if inputs.newest.count >= self._config.window:
                inputs.compare(columns.at[place], self._spend(1, inputs.reference is not None))
                self._inputs.move_to_end(source)

    def _spend(self, kind: int, compares: bool) -> float:
        self._compared[kind] += compares
        return spent(self._config.alpha, max(self._compared[kind], 1))

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop the records of these agents; favourites are counted anew once one is chosen beside them."""
        for name in names:
            self._agents.pop(name, None)

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Nothing to do: sums are no payload."""

    # -- reports

    def report(self) -> dict[str, Any]:
        """What is as it was and what is not, as JSON values; see docs/drift.md.

        Keys: ``prediction_drift, input_drift, residual_change`` (whether any of them differs now), and the figures
        behind them: ``predictions`` by task type (the default one stands for all together), ``inputs`` by what was
        compared (an encoder's tag, or ``"text"``), ``agents`` by name.
        """
        predictions = {kind: choices.comparisons.report() for kind, choices in list(self._choices.items())}
        inputs = {source: found.comparisons.report() for source, found in list(self._inputs.items())}
        agents = {name: record.report() for name, record in list(self._agents.items())}
        return {
            "prediction_drift": changed(predictions, "differs"),
            "input_drift": changed(inputs, "differs"),
            "residual_change": changed(agents, "changed"),
            "predictions": predictions,
            "inputs": inputs,
            "agents": agents,
        }

    def changes(self) -> dict[str, int]:
        """How often each agent changed so far, and 1 for each kind of input that differs now: a fit may be due."""
        counts = {name: record.detector.alarms for name, record in list(self._agents.items())}
        differing = [source for source, found in list(self._inputs.items()) if found.comparisons.differing > 0]
        return {**{name: count for name, count in counts.items() if count}, **dict.fromkeys(differing, 1)}

    # -- on disk

    def save(self, folder: Path) -> None:
        """Write windows and records."""
        inputs = {source: one.state() for source, one in self._inputs.items()}
        sums = [array for _, array in inputs.values()]
        facts = {
            "heard": [self._heard, self._next, self._next_input, self._since, *self._compared],
            "choices": [[kind, one.state()] for kind, one in self._choices.items()],
            "inputs": [[source, told] for source, (told, _) in inputs.items()],
            "running": self._running.state(),
            "agents": {name: record.state() for name, record in self._agents.items()},
        }
        write_state(folder, DRIFT, {"sums": np.array(sums).reshape(-1, 2, AXES + 1, AXES)}, facts)

    def load(self, folder: Path) -> None:
        """Inverse of ``save``.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written; all is then as it was.
        """
        load_state(folder, DRIFT, self._restore)

    def _restore(self, arrays: Mapping[str, NDArray[Any]], told: Mapping[str, Any]) -> None:
        sums = array_of(arrays, "sums", np.float64, (len(told["inputs"]), 2, AXES + 1, AXES))
        heard, following, following_input, since, *compared = told["heard"]
        choices = OrderedDict((kind, Choices.restored(state)) for kind, state in told["choices"])
        inputs = OrderedDict(
            (source, Inputs.restored(state, rows)) for (source, state), rows in zip(told["inputs"], sums, strict=True)
        )
        agents = {name: AgentRecord.restored(state, self._config) for name, state in told["agents"].items()}
        running = RunningNumbers.restored(told["running"])
        self._heard, self._next, self._next_input = heard, following, following_input
        self._since, self._compared = since, compared
        self._choices, self._inputs, self._agents, self._running = choices, inputs, agents, running

    def begun_again(self) -> Drift:
        """One like it that was taught nothing."""
        return Drift(self._config)

    def close(self) -> None:
        """Nothing is open."""


def _places(following: int, end: int, full: int, most: int) -> tuple[int, list[int]]:
    """The numbers below ``end`` that are looked at, from ``following`` on, and the next one after them.

    Gaps are irregular, so that what comes round regularly is looked at like anything else.
    """
    places = []
    while following < end:
        places.append(following)
        widest = 2 * min(1 + following // full, most) - 1
        following += 1 + (following * _MIXER >> 16) % widest
    return following, places


def _begun(series: OrderedDict[str, Series], name: str, make: Callable[[], Series], most: int) -> Series:
    """A new series; beyond ``most`` the one makes room whose last full window is longest ago."""
    while len(series) >= most:
        del series[next(name for name in series if name != DEFAULT_TASK_TYPE)]
    found = series[name] = make()
    return found


def _point(
    task: Task, vectors: Mapping[str, NDArray[Any]], running: RunningNumbers
) -> tuple[str, NDArray[np.float64] | None]:
    """What is compared of a task, and by what: the first embedding that was logged with it, else its words.

    All numbers in a text are one word, and features that run on are none: what is never said twice is always new.
    """
    for tag in sorted(vectors):
        vector = vectors[tag]
        if vector.ndim == 1 and vector.dtype.kind in "fi" and len(vector) and np.isfinite(vector).all():
            return tag, point_of_vector(vector)
    told = words(folded(task.text[:MOST_CHARS])) if task.text else []
    told = ["0" if word.isdecimal() else word for word in told]
    told += [f"{name}={_bin(value)}" for name, value in running.told(task.features).items()]
    return TEXT, point_of_words(told) if told else None


def _bin(value: object) -> str:
    """A feature's value as a word; numbers of one sign fall into one bin from a power of two up to the next."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float)):
        return str(value)
    exponent = abs(value).bit_length() if isinstance(value, int) else frexp(value)[1]
    return f"{'-' if value < 0 else ''}{exponent}"
