"""What the gate looks at, gathered where a fit runs: held-out examples, what was saved, and tasks of the user's.

The user's tasks are golden ones, which must be answered as they say, and a file of one's own. They are read when the
router starts, so that a wrong one is found before a fit needs it, and again where the fit runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidConfigError, RouterError
from router_sdk.evaluation.candidate import CandidateEvidence, Contest, off_policy_pair
from router_sdk.evaluation.paired import compare
from router_sdk.evaluation.parameters import compare_parameters
from router_sdk.exchange.copied import is_exported
from router_sdk.exchange.lines import OUTCOME_FIELDS, TASK_FIELDS
from router_sdk.exchange.observations import split_row
from router_sdk.exchange.reading import read_rows
from router_sdk.records import Example, FixedExampleContext, Outcome, Signals, Task
from router_sdk.rewards import checked_reward
from router_sdk.training.fit import BASE, VERSION

if TYPE_CHECKING:
    from router_sdk.evaluation.held_out import HeldOut
    from router_sdk.loop_settings import GateConfig
    from router_sdk.recording import Observation
    from router_sdk.records import AgentSet
    from router_sdk.rewards import RewardFunction
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.training.fit import FitRequest


def gather_evidence(
    request: FitRequest,
    serving: Strategy,
    candidate: Strategy,
    figures: tuple[HeldOut, HeldOut],
    held_out: Sequence[Example],
    agents: AgentSet,
    encoders: Mapping[str, Encoder],
    reward: RewardFunction,
) -> CandidateEvidence:
    """Measure a candidate beside what serves.

    Args:
        request: What the fit was told; its folder holds what both saved.
        serving: What serves, as it is; prepared for ``agents``.
        candidate: The version as it would serve; likewise.
        figures: What serves on the held-out examples without having learnt them, and the candidate.
        held_out: These examples.
        agents: Whom to choose from.
        encoders: Registered encoders by name.
        reward: Turns outcomes into rewards.

    Raises:
        InvalidConfigError: if a file of the user's cannot be read any more.
    """
    for side in (serving, candidate):
        side.warm_up()  # who still opens its model abstains, and quickly
    folder, contest = Path(request.folder), Contest(serving, candidate, agents, encoders)
    golden = Path(request.golden) if isinstance(request.golden, str) else request.golden
    path, fresh_after = request.validation, 0 if request.synthetic else request.fresh_after
    return CandidateEvidence(
        paired=compare(*figures, fresh_after),
        parameters=compare_parameters(
            folder / VERSION, folder / BASE if request.fitted else None, type(candidate).parameters
        ),
        latency=contest.latency(held_out),
        golden=contest.must_pass(golden_examples(golden)),
        validation=None if path is None else contest.gain(validation_examples(Path(path), reward)),
        off_policy=off_policy_pair(held_out, figures, agents, fresh_after),
    )


def check_tasks(config: GateConfig, reward: RewardFunction) -> None:
    """See that the user's tasks can be read.

    Raises:
        InvalidConfigError: if they cannot.
    """
    golden_examples(config.golden)
    if config.validation is not None:
        validation_examples(config.validation, reward)


def golden_examples(source: Path | Sequence[Mapping[str, Any]]) -> list[Example]:
    """Labelled examples of rows with a task's fields and ``agent``, which may be null.

    Raises:
        InvalidConfigError: if the file cannot be read, or a row is malformed.
    """
    rows: Iterable[tuple[int, Any]] = enumerate(source, 1) if not isinstance(source, Path) else read_rows(source)
    return _read("gate.golden", rows, _golden)


def validation_examples(path: Path, reward: RewardFunction) -> list[Example]:
    """Examples of a file's rows, see ``Examples.import_from``: labelled, or with what came of who acted.

    Raises:
        InvalidConfigError: if the file cannot be read, a row is malformed, or nothing in it says how anybody did.
    """
    found = _read("gate.validation", read_rows(path), _observed)
    for example in found:
        example.reward = checked_reward(reward, example.signals, example.agent)
    if not any(example.labelled or example.reward is not None for example in found):
        raise InvalidConfigError(f"gate.validation: no row of {path.name} says who would be right, or how it went")
    return found


def _read(setting: str, rows: Iterable[tuple[int, Any]], read: Any) -> list[Example]:
    found: list[Example] = []
    number = 0
    try:
        for number, row in rows:
            found.append(_example(number, *read(row)))
    except RouterError as error:
        where = f", row {number}" if number else ""
        raise InvalidConfigError(f"{setting}{where}: {error}") from error
    return found


def _golden(row: Mapping[str, Any] | str) -> Observation:
    if isinstance(row, str) or "agent" not in row or row.keys() - {*TASK_FIELDS, "agent"}:
        raise InvalidConfigError('expected the fields of a task and "agent", such as {"text": …, "agent": …}')
    agent, fields = row["agent"], {name: value for name, value in row.items() if name != "agent"}
    label = Outcome(no_agent_fits=True) if agent is None else Outcome(correct_agent=agent)
    return Task.of(fields), label.correct_agent, label


def _observed(row: Mapping[str, Any] | str) -> Observation:
    if not isinstance(row, str) and is_exported(row):
        row = {name: value for name, value in row.items() if name in {*TASK_FIELDS, *OUTCOME_FIELDS}}
    return split_row(row)


def _example(number: int, task: Task, agent: str | None, outcome: Outcome | None) -> Example:
    """What was observed by somebody, as an example: no propensity, and of no log."""
    return Example(
        decision_id=f"{number:032x}",
        seq=number,
        decision_seq=number,
        revision=0,
        agent=agent,
        task_type=task.task_type,
        reward=None,
        previous_reward=None,
        signals=Signals() if outcome is None else outcome.signals(),
        previous=None,
        propensity=None,
        at=0.0,
        first_at=0.0,
        decided_at=0.0,
        source="observed",
        context=FixedExampleContext(task),
    )
