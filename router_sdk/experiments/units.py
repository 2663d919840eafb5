"""The log as an experiment sees it: one row a unit, in the order in which units came to their arms.

The unit of analysis is the unit of assignment: a session of a tenant, or a decision without one. Steps of a session
are alike, so that whoever counts each as a draw of its own finds winners where there are none. A unit closes
``outcome_window_hours`` after its first decision, whatever becomes of it: so units close in the order in which they
came, and no arm's are looked at sooner because they end sooner. What the log says of decisions and outcomes within that
time counts, by the log's own time; what comes later, corrections too, never changes a closed unit.

- A unit whose decisions name several arms (a rollout's step in mid-session) counts with its first: intention to treat.
- What came of a decision counts whoever ran in the end, and for every decision that an arm made: its abstentions, too.
- What was observed, kept for a session, or only proposed by a shadow is no decision of an arm.
- Quarantined outcomes count: they teach nothing, and happened all the same.
- A forgotten session remains a unit, known by its ``forget`` event; if it goes on afterwards, that is another unit.
- What was archived is gone, and with it its units: keep the log for as long as the experiment runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.store.tail import SIGNAL_COLUMNS, signals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.engine import Connection
    from router_sdk.loop_settings import ExperimentConfig
    from router_sdk.records import Signals

HOUR_S = 3_600.0
NOBODY = -1
"""In place of an agent where no agent was found to fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The decisions of the units, as far as they fall into their windows, in the order in which they were made.

    Attributes:
        unit: Whose, shape ``(m,)``.
        agent: Who was chosen, an index into ``agents`` or ``NOBODY``, shape ``(m,)``.
        task_type: An index into ``task_types``, shape ``(m,)``.
        quality: How well it went, in [0, 1], NaN where nothing says so, shape ``(m,)``.
        agents: Names, in the order in which they were first chosen.
        task_types: Names, in the order in which they first came.
    """

    unit: NDArray[np.int64]
    agent: NDArray[np.int64]
    task_type: NDArray[np.int64]
    quality: NDArray[np.float64]
    agents: tuple[str, ...]
    task_types: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Units in the order in which they came to their arms, as known at one time.

    Attributes:
        arms: Names of the arms, the champion first.
        arm: An index into them, shape ``(n,)``.
        probability: With which the unit came to its arm, in (0, 1], shape ``(n,)``.
        at: When its first decision was made, in seconds since the epoch, never falling, shape ``(n,)``.
        values: For each metric the mean over the unit's decisions, in [0, 1], NaN where nothing was reported,
            shape ``(n,)``.
        reported: Whether any outcome came, shape ``(n,)``.
        steps: The decisions.
        now: As of when, in seconds since the epoch.
        window_s: How long after its first decision a unit closes, in seconds.
        out_of_range: For each metric of ``Outcome.metrics`` how many values lay outside [0, 1], and were left out.
    """

    arms: tuple[str, ...]
    arm: NDArray[np.int64]
    probability: NDArray[np.float64]
    at: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]
    reported: NDArray[np.bool_]
    steps: Steps
    now: float
    window_s: float
    out_of_range: Mapping[str, int]

    @property
    def closed(self) -> int:
        """How many are closed; these come first."""
        return int(np.searchsorted(self.at, self.now - self.window_s, side="right"))


def read_units(
    connection: Connection,
    experiment: str,
    arms: Sequence[str],
    settings: ExperimentConfig,
    *,
    now: float,
    after: int = 0,
) -> Units:
    """Read an experiment's units off the log.

    Args:
        connection: A reading connection.
        experiment: Its name; its decisions' ``arm`` reads ``EXPERIMENT/ARM``.
        arms: Names of its arms, the champion first.
        settings: Which metrics there are, and how long outcomes are waited for.
        now: As of when, in seconds since the epoch; what was logged later is not seen.
        after: Position of the log behind which it began.
    """
    window_s = settings.outcome_window_hours * HOUR_S
    names = [f"{experiment}/{arm}" for arm in arms]
    chosen = (json.dumps(names), after, now)
    places = {name: place for place, name in enumerate(names)}
    rows = connection.execute(_DECISIONS, chosen).fetchall()
    events = _forgotten(connection, rows)
    unit_of: dict[object, int] = {}
    firsts: list[tuple[int, float, float]] = []  # arm, probability, at
    step_of: dict[int, int] = {}  # position in the log -> step
    steps: list[tuple[int, str | None, str]] = []  # unit, agent, task type
    for seq, decision_id, at, agent, task_type, tenant, arm, probability, session in rows:
        event = events.get(decision_id)
        whose = ("event", tenant, event) if event else seq if session is None else ("session", tenant, session)
        unit = unit_of.setdefault(whose, len(firsts))
        if unit == len(firsts):
            firsts.append((places[arm], probability, at))
        if at <= firsts[unit][2] + window_s:
            step_of[seq] = len(steps)
            steps.append((unit, agent, task_type))
    joined: list[Signals | None] = [None] * len(steps)
    for seq, logged_at, *columns in connection.execute(_OUTCOMES, chosen):
        step = step_of.get(seq)
        if step is not None and logged_at <= min(firsts[steps[step][0]][2] + window_s, now):
            before, part = joined[step], signals_of(columns)
            joined[step] = part if before is None else before.updated(part)
    return _table(tuple(arms), firsts, steps, joined, settings, now, window_s)


_DECISIONS = """
SELECT d.seq, d.decision_id, d.at, d.agent, d.task_type, d.tenant, d.arm, d.arm_probability, p.session_id
FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq
WHERE d.arm IN (SELECT value FROM json_each(?)) AND d.seq > ? AND d.source = 'routed' AND d.at <= ?
ORDER BY d.at, d.seq"""

_OUTCOMES = f"""
SELECT d.seq, o.logged_at, {", ".join(f"o.{column}" for column in SIGNAL_COLUMNS.split(", "))}
FROM decisions d JOIN outcomes o ON o.decision_id = d.decision_id
WHERE d.arm IN (SELECT value FROM json_each(?)) AND d.seq > ? AND d.source = 'routed' AND d.at <= ?
ORDER BY o.seq"""

_FORGOTTEN = "SELECT seq, decision_ids FROM forgotten ORDER BY seq"


def _forgotten(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> dict[str, int]:
    """By which ``forget`` event decisions lost their session's id: one event is about one session."""
    wanted = {row[1] for row in rows if row[-1] is None}
    if not wanted:
        return {}
    found: dict[str, int] = {}
    for seq, decision_ids in connection.execute(_FORGOTTEN):
        for decision_id in wanted.intersection(decision_ids.split()):
            found.setdefault(decision_id, seq)
    return found


def _table(
    arms: tuple[str, ...],
    firsts: Sequence[tuple[int, float, float]],
    steps: Sequence[tuple[int, str | None, str]],
    joined: Sequence[Signals | None],
    settings: ExperimentConfig,
    now: float,
    window_s: float,
) -> Units:
    """Rows to columns."""
    unit = np.array([one[0] for one in steps], dtype=np.int64)
    metrics = dict.fromkeys((*settings.weights, *settings.guardrails))
    told = {name: np.full(len(steps), np.nan) for name in ("quality", *metrics)}
    out_of_range = dict.fromkeys(metrics, 0)
    for step, signals in enumerate(joined):
        if signals is None:
            continue
        for name, column in told.items():
            value = _scaled(name, signals, steps[step][1], settings.latency_limit_ms)
            if value is None:
                continue
            if 0.0 <= value <= 1.0:
                column[step] = value
            else:
                out_of_range[name] += 1
    reported = np.bincount(unit, weights=[one is not None for one in joined], minlength=len(firsts)) > 0
    agents = tuple(dict.fromkeys(agent for _, agent, _ in steps if agent is not None))
    task_types = tuple(dict.fromkeys(task_type for *_, task_type in steps))
    agent_at = {name: place for place, name in enumerate(agents)}
    type_at = {name: place for place, name in enumerate(task_types)}
    return Units(
        arms=arms,
        arm=np.array([one[0] for one in firsts], dtype=np.int64),
        probability=np.array([one[1] for one in firsts], dtype=np.float64),
        at=np.array([one[2] for one in firsts], dtype=np.float64),
        values={name: mean_of_steps(told[name], unit, len(firsts)) for name in metrics},
        reported=reported,
        steps=Steps(
            unit,
            np.array([NOBODY if agent is None else agent_at[agent] for _, agent, _ in steps], dtype=np.int64),
            np.array([type_at[task_type] for *_, task_type in steps], dtype=np.int64),
            told["quality"],
            agents,
            task_types,
        ),
        now=now,
        window_s=window_s,
        out_of_range={name: count for name, count in out_of_range.items() if count},
    )


def mean_of_steps(values: NDArray[np.float64], unit: NDArray[np.int64], units: int) -> NDArray[np.float64]:
    """The mean over each unit's steps, of those that say something; NaN where none does.

    Args:
        values: One a step, NaN where nothing is known, shape ``(m,)``.
        unit: Whose step, shape ``(m,)``.
        units: How many units there are.
    """
    known = ~np.isnan(values)
    count = np.bincount(unit[known], minlength=units)
    total = np.bincount(unit[known], weights=values[known], minlength=units)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _scaled(name: str, signals: Signals, agent: str | None, latency_limit_ms: float) -> float | None:
    """What one outcome says of a metric, where all goes well in [0, 1]; None where it says nothing."""
    if name == "quality":
        return _quality(signals, agent)
    if name == "success":
        return None if signals.success is None else float(signals.success)
    if name == "feedback":
        return None if signals.feedback is None else (signals.feedback + 1.0) / 2.0
    if name == "latency":
        return None if signals.latency_ms is None else 1.0 - min(signals.latency_ms / latency_limit_ms, 1.0)
    value = (signals.metrics or {}).get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _quality(signals: Signals, agent: str | None) -> float | None:
    """As it was judged; else whether it succeeded; else whether the label says that this agent was right."""
    if signals.quality is not None:
        return signals.quality
    if signals.success is not None:
        return float(signals.success)
    if signals.labelled:
        return float(signals.correct_agent == agent)  # no_agent_fits is a label of None
    return None
