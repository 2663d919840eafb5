"""What was decided and what came of it, over time and lately: read on from the log whenever somebody looks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.evaluation.moments import Rounds
from router_sdk.evaluation.off_policy import difference, self_normalized
from router_sdk.learning.spans import Cell, Curve, Span
from router_sdk.store.tail import LogTail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.engine import Connection
    from router_sdk.rewards import RewardFunction
    from router_sdk.store import Store

NARROWEST, LATELY = 16, 64
"""Decisions behind a point at first, and behind each of those that tell of lately."""
MOST_READ = 50_000
"""Decisions that the first look goes back, and of which what each agent alone would have earned is told."""
_PIECE = 512
"""Positions that are read at once; others may read in between."""
_MOST_ROWS = 200
"""Most agents, and most types of task, that a report tells of: those with the most outcomes."""
_ALL = ("", "")
_TELLING = 8
"""Most agents of whom it is asked what each alone would have earned: those with the most decisions."""

_START = "SELECT seq FROM decisions ORDER BY seq DESC LIMIT 1 OFFSET ?"
_DECISIONS = """
SELECT seq, at, agent, strategy, model_version, arm, explored, source, set_id, probabilities FROM decisions
WHERE seq > ? AND seq <= ? AND source != 'shadow' ORDER BY seq"""
_NAMES = "SELECT names FROM agent_sets WHERE set_id = ?"


class Timeline:
    """Folds decisions and outcomes into curves; costs nothing before it is asked, and then what is new.

    The first look goes back over at most ``MOST_READ`` decisions. An outcome counts where its decision lies; one that
    is corrected counts as if it had been so at once.

    Args:
        store: The log.
        reward: Turns outcomes into rewards.
    """

    def __init__(self, store: Store, reward: RewardFunction) -> None:
        self._store, self._reward = store, reward
        self._cursor = self._begin = -1
        self._curve, self._lately = Curve(NARROWEST, grows=True), Curve(LATELY, grows=False)
        self._drawn: dict[int, tuple[int, bytes]] = {}
        self._earned: dict[int, tuple[str, float]] = {}
        self._sets: dict[int, tuple[str, ...]] = {}
        self._decisions = 0

    def report(self) -> dict[str, Any]:
        """Curve, newest decisions by agent and type of task, and regret, see ``Router.examples.timeline``."""
        self._read_on()
        return self._store.reader.query(lambda connection: self._report())

    def _report(self) -> dict[str, Any]:
        lately = Span(0)
        for span in self._lately.spans:
            lately.merge(span)
        regret = lately.regrets()
        return {
            "at": time.time(),
            "decisions": self._decisions,
            "points": [span.to_dict() for span in self._curve.spans],
            "lately": {**lately.to_dict(), "regret": regret.get((None, None))},
            "by_agent": {
                agent: {**lately.of(agent=agent).to_dict(), "regret": regret.get((agent, None))}
                for agent in lately.names(0)[:_MOST_ROWS]
            },
            "by_task_type": {
                kind: {**lately.of(kind=kind).to_dict(), "regret": regret.get((None, kind)), **lately.best(kind)}
                for kind in lately.names(1)[:_MOST_ROWS]
            },
        }

    def alone(self) -> list[dict[str, Any]]:
        """What each agent alone would have earned, the best first, see ``Router.examples.timeline``."""
        self._read_on()
        rows = self._store.reader.query(
            lambda connection: [
                (*self._drawn[seq], agent, reward) for seq, (agent, reward) in sorted(self._earned.items())
            ]
        )
        rewards = np.array([row[3] for row in rows])
        told = []
        for name, _ in Counter(row[2] for row in rows).most_common(_TELLING):
            rounds = self._rounds_of(name, rows, rewards)
            value, gap = self_normalized(rounds), difference(rounds, "self_normalized")
            told.append(
                {
                    "agent": name,
                    "mean": value.mean,
                    "low": value.low,
                    "high": value.high,
                    "decisions": value.decisions,
                    "insufficient": value.insufficient,
                    "earned": float(rewards.mean()),
                    "gain": {"mean": -gap.mean, "low": -gap.high, "high": -gap.low},
                }
            )
        return sorted(told, key=lambda one: (one["insufficient"] is not None, -one["mean"]))

    def _rounds_of(
        self, agent: str, rows: Sequence[tuple[int, bytes, str, float]], rewards: NDArray[np.float64]
    ) -> Rounds:
        """The log as rounds of who always asks one agent."""
        could, acted = np.zeros(len(rows)), np.ones(len(rows))
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row[0], []).append(place)
        for set_id, found in places.items():
            names = self._sets[set_id]
            weights = np.frombuffer(b"".join(rows[place][1] for place in found), "<f4").reshape(-1, len(names))
            if agent in names:
                could[found] = weights[:, names.index(agent)]
            column = {name: number for number, name in enumerate(names)}
            acted[found] = weights[np.arange(len(found)), [column[rows[place][2]] for place in found]]
        chance = np.array([float(row[2] == agent) for row in rows])
        spread = np.divide(1.0, could, out=np.zeros_like(could), where=could > 0.0)
        unknown = np.zeros_like(rewards)
        return Rounds(rewards, np.minimum(acted, 1.0), chance, unknown, unknown, spread, (could <= 0.0).astype(float))

    # -- reading

    def _read_on(self) -> None:
        self._store.writer.flush()
        while self._store.reader.query(self._read):
            pass

    def _read(self, connection: Connection) -> bool:
        """Read one piece; whether there is more."""
        if self._cursor < 0:
            found = connection.execute(_START, (MOST_READ,)).fetchone()
            self._cursor = self._begin = 0 if found is None else found[0]
        tail = LogTail(connection, self._reward)
        head = tail.head()
        upto = min(self._cursor + _PIECE, head)
        rows, batches = connection.execute(_DECISIONS, (self._cursor, upto)).fetchall(), []
        cursor = self._cursor
        while cursor < upto:
            batches.append(tail.read(cursor, upto, _PIECE))
            cursor = batches[-1].upto
        for row in rows:
            self._decided(connection, *row)
        for columns in (batch.columns for batch in batches):
            for place, seq in enumerate(columns.decision_seq):
                if seq > self._begin:
                    figures = columns.reward[place], columns.cost_usd[place], columns.latency_ms[place]
                    self._heard(seq, columns.agent[place], columns.task_type[place], figures, columns.others.get(place))
        self._cursor = cursor
        return upto < head

    def _decided(
        self,
        connection: Connection,
        seq: int,
        at: float,
        agent: str | None,
        strategy: str,
        version: int | None,
        arm: str | None,
        explored: int,
        source: str,
        set_id: int,
        blob: bytes,
    ) -> None:
        self._decisions += 1
        for curve in (self._curve, self._lately):
            span = curve.current(seq)
            span.at, span.decisions, span.explored = at, span.decisions + 1, span.explored + explored
            span.agents[agent or ""] += 1
            span.strategies[strategy if source == "routed" else source] += 1
            if source == "routed" and version is not None:
                span.versions[strategy, version] += 1
            if arm is not None:
                span.arms[arm] += 1
        if source == "routed" and blob:
            if set_id not in self._sets:
                (names,) = connection.execute(_NAMES, (set_id,)).fetchone()
                self._sets[set_id] = tuple(names.split("\x00"))
            self._drawn[seq] = set_id, blob
            if len(self._drawn) > MOST_READ:
                gone = next(iter(self._drawn))
                del self._drawn[gone]
                self._earned.pop(gone, None)

    def _heard(self, seq: int, agent: str | None, kind: str, figures: Sequence[float | None], more: Any) -> None:
        before = None
        if more is not None and more.previous is not None:
            before = more.previous_reward, more.previous.cost_usd, more.previous.latency_ms
        for curve, key in ((self._curve, _ALL), (self._lately, (agent or "", kind))):
            span = curve.of(seq)
            if span is None:
                continue
            cell = span.cells.get(key)
            if cell is None:
                cell = span.cells[key] = Cell()
            if before is not None:
                cell.count(before, -1)
            if more is None or not more.withdrawn:
                cell.count(figures, 1)
        drawn = self._drawn.get(seq)
        own = more is None or more.source == "routed"
        if drawn is not None and own and agent in self._sets[drawn[0]] and figures[0] is not None:
            self._earned[seq] = agent or "", figures[0]
        else:
            self._earned.pop(seq, None)
