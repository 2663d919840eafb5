"""What quality scorers read of the log: outcomes that came behind a position, and what people said is good.

A score is a part of an outcome like any other, whose actor is a scorer. So the log stays the only truth: it is joined,
learnt, exported and corrected as what it is, and a replay gives what was learnt, whatever scorers would say today.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from router_sdk.records.outcome import SCORER, Signals
from router_sdk.rewards.quality import Execution
from router_sdk.store.coordination import note_position
from router_sdk.store.copying import read_decisions
from router_sdk.store.rows import GIVEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.engine import Connection
    from router_sdk.records import Outcome
    from router_sdk.store.copying import LoggedDecision, LoggedPart
    from router_sdk.store.group_commit import LogWriter

MOST_PARTS = 900
"""Of a decision with more parts no score is written: the log takes 1,000, and people's come first."""

_NEWS = f"""
SELECT DISTINCT decision_id FROM outcomes
WHERE seq > ?1 AND seq <= ?2 AND (actor IS NULL OR substr(actor, 1, {len(SCORER)}) != '{SCORER}')
UNION SELECT decision_id FROM decisions d WHERE seq > ?1 AND seq <= ?2
AND EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.seq < d.seq)"""
"""Decisions of which something was said, and those that came after something was said of them."""
_REACHED = "SELECT coalesce(max(seq), ?1) FROM (SELECT seq FROM outcomes WHERE seq > ?1 ORDER BY seq LIMIT ?2) AS next"
_PLACES = """
SELECT d.seq FROM decisions d WHERE d.decision_id IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM forgotten_decisions f WHERE f.decision_id = d.decision_id)"""
_SCORED = f"""
SELECT d.seq FROM decisions d WHERE EXISTS (SELECT 1 FROM outcomes WHERE decision_id = d.decision_id AND {GIVEN})
AND NOT EXISTS (SELECT 1 FROM forgotten_decisions f WHERE f.decision_id = d.decision_id) ORDER BY d.seq DESC LIMIT ?"""
_COUNTS = f"""
SELECT CASE WHEN substr(actor, 1, {len(SCORER)}) = '{SCORER}' THEN substr(actor, {len(SCORER) + 1}) ELSE 'given' END,
       count(*), avg(quality) FROM outcomes WHERE quality IS NOT NULL GROUP BY 1 ORDER BY 1"""


def is_score(outcome: Outcome) -> bool:
    """Whether a scorer said so."""
    return outcome.actor is not None and outcome.actor.startswith(SCORER)


def scored_up_to(connection: Connection, scorers: str) -> int:
    """How far scorers of these names have come; 0 where they have not begun."""
    row = connection.execute("SELECT seq FROM positions WHERE name = ?", (f"scored by {scorers}",)).fetchone()
    return 0 if row is None else int(row[0])


def note_scored(writer: LogWriter, scorers: str, upto: int) -> None:
    """Note how far they have come. Whoever reads it too early scores again, to the same effect."""

    def work(connection: Connection, seq: int) -> None:
        note_position(connection, f"scored by {scorers}", upto)

    writer.transact(work)


def executions_behind(
    connection: Connection, cursor: int, most: int
) -> tuple[list[tuple[Execution, LoggedPart | None]], int]:
    """Executions of which something was said behind a position, and how far that reaches; forgotten ones are left out.

    Beside each stands the newest score, or None.
    """
    (upto,) = connection.execute(_REACHED, (cursor, most)).fetchone()
    ids = [decision_id for (decision_id,) in connection.execute(_NEWS, (cursor, upto))]
    places = [seq for (seq,) in connection.execute(_PLACES, (json.dumps(ids),))]
    return [(execution_of(one), _newest_score(one)) for one in read_decisions(connection, places)], int(upto)


def given_behind(connection: Connection, cursor: int) -> tuple[int, int]:
    """How many parts behind a position say how good something was, but for scorers', and how far that reaches."""
    query = f"SELECT count(*), max(seq) FROM outcomes WHERE seq > ? AND {GIVEN}"
    count, upto = connection.execute(query, (cursor,)).fetchone()
    return count, cursor if upto is None else upto


def scored_executions(connection: Connection, most: int) -> list[tuple[Execution, float]]:
    """The newest executions of which somebody said how good they were, oldest first, and how good."""
    places = [seq for (seq,) in connection.execute(_SCORED, (most,))]
    told = (execution_of(one) for one in read_decisions(connection, places))
    return [(one, one.signals.quality) for one in told if one.signals.quality is not None]


def count_scores(connection: Connection) -> dict[str, dict[str, Any]]:
    """Of each scorer, and of what was ``given``: how many parts say how good something was, and the mean."""
    return {name: {"parts": count, "mean": mean} for name, count, mean in connection.execute(_COUNTS)}


def execution_of(logged: LoggedDecision) -> Execution:
    """What is known of a logged decision's execution."""
    said = [part for part in logged.parts if not is_score(part.outcome)]
    signals, response = Signals(), None
    for part in said:
        signals = signals.updated(part.outcome.signals())
        response = part.outcome.response or response
    agent = logged.decision.agent if signals.agent is None else signals.agent
    parts = tuple(part.outcome for part in said)
    told = (logged.decision.decision_id, logged.decision.task, agent, response, parts, signals)
    return Execution(*told, max((part.position for part in said), default=0))


def _newest_score(logged: LoggedDecision) -> LoggedPart | None:
    return next((part for part in reversed(logged.parts) if is_score(part.outcome)), None)


def parts_of(connection: Connection, decision_id: str) -> Sequence[LoggedPart]:
    """All that was said of a decision, in order, as it came."""
    row = connection.execute("SELECT seq FROM decisions WHERE decision_id = ?", (decision_id,)).fetchone()
    return read_decisions(connection, row)[0].parts if row else ()
