"""Questions to the log that are asked now and then: one decision, the newest examples, counts."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from router_sdk.engine import Connection
from router_sdk.errors import RouterClosedError, UnknownDecisionError
from router_sdk.records import Agent, AgentSet, Decision, Distribution
from router_sdk.store.rows import TASK_COLUMNS, read_notes, stored_task

T = TypeVar("T")

DECISIONS = f"""
SELECT d.decision_id, d.agent, d.at, d.propensity, d.explored, d.source, d.skipped, d.probabilities, d.favourite,
       d.confidence, d.strategy, d.model_version, d.epsilon, s.names, d.session_propensity, d.arm, d.arm_probability,
       {TASK_COLUMNS}
FROM decisions d JOIN agent_sets s USING (set_id) LEFT JOIN payloads p ON p.seq = d.seq"""
"""What ``decision_of`` needs of each decision."""
_SHADOWS = "SELECT count(*) FROM decisions WHERE arm IS NOT NULL AND source = 'shadow'"  # arms have an index


class LogReader:
    """One reading connection, shared by this process's threads.

    Args:
        open_connection: Opens one.
    """

    def __init__(self, open_connection: Callable[[], Connection]) -> None:
        self._open = open_connection
        self.lock = threading.RLock()
        self._connection: Connection | None = None
        self._closed = False

    def query(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` with the connection, one thread at a time."""
        with self.lock:
            if self._closed:
                raise RouterClosedError("the store was closed; open a new router on it")
            if self._connection is None:
                self._connection = self._open()
            return work(self._connection)

    def decision(self, decision_id: str) -> Decision | None:
        """A logged decision, or None. Its probabilities have float32 precision; its scores were not kept."""
        query = f"{DECISIONS} WHERE d.decision_id = ?"
        row = self.query(lambda connection: connection.execute(query, (decision_id,)).fetchone())
        return None if row is None else decision_of(row)

    def known_decision(self, decision_id: str) -> Decision:
        """A logged decision.

        Raises:
            UnknownDecisionError: if the log does not hold it.
        """
        found = self.decision(decision_id)
        if found is None:
            raise UnknownDecisionError(f"the log holds no decision {decision_id}")
        return found

    def tenants(self, decision_id: str) -> list[str | None]:
        """Whose decision it is; nobody's, where the log does not hold it."""
        query = "SELECT tenant FROM decisions WHERE decision_id = ?"
        rows = self.query(lambda connection: connection.execute(query, (decision_id,)).fetchall())
        return [tenant for (tenant,) in rows]

    def session_decisions(self, session_id: str | None, tenant: str | None = None) -> list[str]:
        """Ids of the decisions of a tenant's session, oldest first."""
        query = """SELECT d.decision_id FROM payloads p JOIN decisions d ON d.seq = p.seq
                   WHERE p.session_id = ? AND d.tenant IS ? ORDER BY d.seq"""
        rows = self.query(lambda connection: connection.execute(query, (session_id, tenant)).fetchall())
        return [decision_id for (decision_id,) in rows]

    def newest_decisions(self, count: int, tenant: str | None = None) -> list[Decision]:
        """The newest decisions, newest first; with a tenant, its alone."""
        query = f"""{DECISIONS} WHERE d.source != 'shadow' AND (d.tenant = ?1 OR ?1 IS NULL)
                    ORDER BY d.seq DESC LIMIT ?2"""
        rows = self.query(lambda connection: connection.execute(query, (tenant, count)).fetchall())
        return [decision_of(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Rows by table, and outcomes that wait for their decision; what shadows only proposed is no decision here."""
        tables = ("decisions", "outcomes", "dead_letters", "learning_events", "snapshots")

        def work(connection: Connection) -> dict[str, int]:
            counted = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
            pending = """SELECT count(*) FROM outcomes o
                         WHERE NOT EXISTS (SELECT 1 FROM decisions d WHERE d.decision_id = o.decision_id)"""
            counted["decisions"] -= connection.execute(_SHADOWS).fetchone()[0]
            return {**counted, "pending": connection.execute(pending).fetchone()[0]}

        return self.query(work)

    def close(self) -> None:
        """Close for good; later questions raise ``RouterClosedError``."""
        self._closed = True
        self._disconnect()

    def _disconnect(self) -> None:
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def before_fork(self) -> None:
        """Close the connection, and let nobody open another."""
        self.lock.acquire()
        self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()


def decision_of(row: Sequence[Any]) -> Decision:
    """Rebuild a decision from the columns of ``DECISIONS``."""
    decision_id, agent, at, propensity, explored, source, notes, blob, favourite, confidence = row[:10]
    strategy, model_version, epsilon, names, session_propensity, arm, arm_probability = row[10:17]
    agents = AgentSet([Agent(name) for name in names.split("\x00")] if names else [])
    weights = tuple(array("f", blob))
    told = read_notes(notes)
    drawn = Distribution(
        agents, weights, favourite, confidence, None, None, strategy, model_version, epsilon, told.raw_confidence
    )
    return Decision(
        decision_id=decision_id,
        agent=agent,
        task=stored_task(row[17:]),
        at=at,
        propensity=propensity,
        explored=bool(explored),
        distribution=drawn,
        source=source,
        skipped=told.skipped,
        durable=True,
        session_propensity=session_propensity,
        arm=arm,
        arm_probability=arm_probability,
        excluded=told.excluded,
        favourites=told.favourites,
    )
