"""Examples of a file that stand in no log: read to be trained on beside it, and not kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError, InvalidRewardError, RouterError
from router_sdk.exchange.chats import row_of_chat
from router_sdk.exchange.copied import is_exported
from router_sdk.exchange.lines import FRESH, JOINED, dumped, read_line
from router_sdk.exchange.observations import split_row
from router_sdk.exchange.reading import read_rows
from router_sdk.records import Example, Outcome, Task
from router_sdk.rewards import checked_reward
from router_sdk.spelling import counted
from router_sdk.store.privacy import Privacy
from router_sdk.store.rows import task_payload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records import AgentSet, Forecast, Signals
    from router_sdk.rewards import RewardFunction

_AS_IT_IS = Privacy("full", Path())

_log = logging.getLogger(__name__)


class FileContext:
    """The ``Context`` of a file's examples: their tasks, and nothing of a decision.

    Args:
        names: The agents there are.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._tasks: list[Task] = []
        self._hashes: list[tuple[str | None, str | None]] = []

    def add(self, task: Task) -> int:
        """One more; the place that its decision would have, below all of a log's."""
        payload = task_payload(0, task, _AS_IT_IS)
        self._tasks.append(task)
        self._hashes.append((None, None) if payload is None else (payload[-2], payload[-1]))
        return -len(self._tasks)

    def task(self, decision_seq: int) -> Task:
        """The task."""
        return self._tasks[-decision_seq - 1]

    def hashes(self, decision_seq: int) -> tuple[str | None, str | None]:
        """Equal for texts that differ in form alone, and for equal tasks: as the log's are."""
        return self._hashes[-decision_seq - 1]

    def vectors(self, decision_seq: int) -> Mapping[str, NDArray[Any]]:
        """Nothing was embedded yet."""
        return {}

    def eligible(self, decision_seq: int) -> tuple[str, ...]:
        """Everybody."""
        return self._names

    def probabilities(self, decision_seq: int) -> Mapping[str, float]:
        """Nobody here decided."""
        return {}

    def forecast(self, decision_seq: int) -> Forecast | None:
        """Nobody here decided."""
        return None

    def favourites(self, decision_seq: int) -> Mapping[str, str]:
        """Nobody here decided."""
        return {}


def read_examples(path: Path, agents: AgentSet, reward: RewardFunction) -> list[Example]:
    """The examples of a file of which something can be learnt about these agents.

    What names no agent of these, and what says nothing of how anybody did, is left out. A line that is malformed is
    left out and logged.

    Args:
        path: JSON lines, a JSON array or CSV: exported lines, of which the joined outcome counts, lines with a task's
            fields, ``agent`` or ``label``, and an outcome's fields, or chats (``chatml``) with agent and score.
        agents: Whom to fit for.
        reward: Turns outcomes into rewards.

    Raises:
        InvalidInputError: if the file cannot be read, or no line of it can be used.
    """
    context = FileContext(agents.names)
    examples: dict[str, Example] = {}
    refused = lines = 0
    for number, row in read_rows(path):
        lines += 1
        try:
            if isinstance(row, Mapping) and FRESH in row:
                continue
            found = _example(row, context, agents, reward)
        except RouterError as error:
            refused += 1
            if refused == 1:
                _log.warning("%s:%d is left out of training: %s", path.name, number, error)
            continue
        if found is not None:
            examples[found.decision_id] = found
    if refused:
        _log.warning("%s: %d of %d lines were left out of training as malformed", path.name, refused, lines)
    if not examples:
        raise InvalidInputError(
            f"{path}: none of its {counted(lines, 'line')} says how an agent of this router did: there is nothing "
            "to train on"
        )
    return list(examples.values())


def taught_rows(examples: Sequence[Example]) -> list[tuple[str, str | None, str | None, str | None]]:
    """What the store notes of them, so that they can be forgotten: id, session, text's hash and tenant of each."""
    return [(one.decision_id, one.task.session_id, one.context_hash, one.task.tenant) for one in examples]


def _example(
    row: Mapping[str, Any] | str, context: FileContext, agents: AgentSet, reward: RewardFunction
) -> Example | None:
    task, agent, outcome = _observation(row)
    if outcome is None:
        return None
    signals = outcome.signals()
    agent = agent if signals.agent is None else signals.agent
    known_label = signals.labelled and (signals.correct_agent is None or signals.correct_agent in agents.positions)
    earned = None
    if agent is not None and agent in agents.positions:
        earned = _earned(reward, signals, agent)
    if not known_label and earned is None:
        return None
    told = (_id_of(row), 0, context.add(task), 0, agent, task.task_type, earned, None, signals, None)
    return Example(*told, None, 0.0, 0.0, 0.0, "observed", context)


def _earned(reward: RewardFunction, signals: Signals, agent: str) -> float | None:
    try:
        return checked_reward(reward, signals, agent)
    except InvalidRewardError as error:
        _log.error("an outcome gives no reward: %s", error)
        return None


def _id_of(row: Mapping[str, Any] | str) -> str:
    """An exported line's own, else one that is the same for the same line in every fit."""
    told = row if isinstance(row, str) else row.get("decision_id") or dumped(row)
    return told if len(told) == 32 else blake2b(told.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _observation(row: Mapping[str, Any] | str) -> tuple[Task, str | None, Outcome | None]:
    if isinstance(row, str) or not (is_exported(row) or "messages" in row):
        return split_row(row)
    if "messages" in row:
        return split_row(row_of_chat(row))
    logged = read_line(row)
    said = list(_joined(row))
    return logged.decision.task, logged.decision.agent, Outcome(**dict(said)) if said else None


def _joined(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the parts of an exported line come to, as it says itself."""
    for name in (*JOINED, "metrics"):
        if row.get(name) is not None:
            yield name, row[name]
    if row.get("ran") is not None:
        yield "agent", row["ran"]
