"""Reading the log from a cursor: decision ⋈ outcomes, in commit order and in bounded pieces.

What is known of a decision after each part of its outcome is a revision; a strategy folds revisions.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from operator import attrgetter
from typing import Any, NamedTuple

from router_sdk.errors import InvalidRewardError
from router_sdk.records import Example, Signals
from router_sdk.rewards import RewardFunction, checked_reward
from router_sdk.store.rows import PayloadContext
from router_sdk.store.transaction import HEAD

SIGNAL_COLUMNS = (
    "success, quality, feedback, correct_agent, no_agent_fits, latency_ms, cost_usd, tokens, metrics, agent"
)
"""Columns of ``outcomes`` that make up ``Signals``, in its order."""

NOTHING = Signals()
"""What is known of an agent once it turns out that another one ran."""


class Part(NamedTuple):
    """One delivered part of an outcome.

    Attributes:
        seq: Where it takes effect: its own position, or its decision's if that came later.
        at: When it took effect, by the log's time.
        signals: What it says.
    """

    seq: int
    at: float
    signals: Signals


class Revision(NamedTuple):
    """What was known of a decision from ``seq`` on."""

    number: int
    seq: int
    at: float
    first_at: float
    signals: Signals
    previous: Signals | None


def signals_of(columns: Sequence[Any]) -> Signals:
    """Rebuild ``Signals`` from the columns named in ``SIGNAL_COLUMNS``."""
    success, quality, feedback, label, none_fits, latency_ms, cost_usd, tokens, metrics, agent = columns
    return Signals(
        None if success is None else bool(success),
        quality,
        feedback,
        label,
        None if none_fits is None else bool(none_fits),
        latency_ms,
        cost_usd,
        tokens,
        None if metrics is None else json.loads(metrics),
        agent,
    )


class Joined:
    """What is known of one decision, part by part.

    Parts that take effect together are one revision; a part that changes nothing is none. So a decision that is
    told the same ten times has one revision, and any reader of the log, wherever it starts, sees the same ones.
    """

    def __init__(self) -> None:
        self._known: Signals | None = None
        self._number = 0
        self._first_at = 0.0

    def revisions(self, parts: Sequence[Part]) -> Iterator[Revision]:
        """Join further parts, in the order in which they take effect; those that take effect together come together."""
        joined = self._known
        for part, following in zip_longest(parts, parts[1:]):
            if joined is None:
                joined, self._first_at = part.signals, part.at
            else:
                joined = joined.updated(part.signals)
            if following is not None and following.seq == part.seq:
                continue
            if joined != self._known:
                revision = Revision(self._number, part.seq, part.at, self._first_at, joined, self._known)
                self._known, self._number = joined, self._number + 1
                yield revision


# -- reading from a cursor

_DECISION = "d.seq, d.decision_id, d.agent, d.task_type, d.propensity, d.at, d.source"
_SIGNALS = ", ".join(f"o.{column}" for column in SIGNAL_COLUMNS.split(", "))

_OUTCOMES = f"""
SELECT {_DECISION}, o.seq, o.logged_at,
       EXISTS (SELECT 1 FROM outcomes p WHERE p.decision_id = o.decision_id AND p.seq < o.seq),
       {_SIGNALS}
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
WHERE o.seq > ? AND o.seq <= ? AND d.seq < o.seq ORDER BY o.seq"""

_LATE_DECISIONS = f"""
SELECT {_DECISION} FROM decisions d
WHERE d.seq > ? AND d.seq <= ?
  AND EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.seq < d.seq)"""

_PARTS = f"""
SELECT o.seq,
       CASE WHEN o.seq < ?1 THEN (SELECT p.logged_at FROM outcomes p WHERE p.seq < ?1 ORDER BY p.seq DESC LIMIT 1)
            ELSE o.logged_at END,
       {_SIGNALS}
FROM outcomes o WHERE o.decision_id = ?2 AND o.seq > ?3 AND o.seq <= ?4 ORDER BY o.seq"""
"""What came before its decision takes effect with it, and at the log's time of that moment."""

_CONTROL = """
SELECT seq, name, NULL FROM agents WHERE seq > ? AND seq <= ? AND fresh = 1
UNION ALL SELECT seq, NULL, decision_ids FROM forgotten WHERE seq > ? AND seq <= ?
ORDER BY seq LIMIT 1"""

_EVERYTHING = 2**62
_REMEMBERED = 1_024
"""Decisions with several parts whose joined state is kept, so that the next part is joined in constant time."""

_log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """A piece of the log.

    Attributes:
        examples: Revisions that took effect, in order.
        upto: The cursor after this batch.
        fresh_agents: Agents whose past no longer counts, from here on.
        forgotten: Decisions whose payload was erased.
    """

    examples: list[Example]
    upto: int
    fresh_agents: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()


class _Thread:
    """One decision's parts, joined as far as they were read.

    Attributes:
        joined: What is known.
        upto: Position at which the newest part took effect.
        agent: Who acted, as far as is known.
        drawn: Whether that is whom the decision named.
    """

    __slots__ = ("agent", "drawn", "joined", "upto")

    def __init__(self, chosen: str | None) -> None:
        self.joined, self.upto, self.agent, self.drawn = Joined(), 0, chosen, True


class LogTail:
    """A reader's position-free view of the log; the caller keeps the cursor.

    Args:
        connection: A reading connection of the caller's thread.
        reward: Turns joined outcomes into rewards.
    """

    def __init__(self, connection: sqlite3.Connection, reward: RewardFunction) -> None:
        self._connection = connection
        self._reward = reward
        self._threads: OrderedDict[str, _Thread] = OrderedDict()
        self._fresh: dict[str, list[int]] = {}
        for name, seq in connection.execute("SELECT name, seq FROM agents WHERE fresh = 1 ORDER BY seq"):
            self._fresh.setdefault(name, []).append(seq)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def head(self) -> int:
        """The newest position in the log."""
        head: int = self._connection.execute(HEAD).fetchone()[0]
        return head

    def waiting(self, cursor: int, most: int) -> int:
        """How many outcomes stand behind the cursor, counted up to ``most``."""
        query = "SELECT count(*) FROM (SELECT 1 FROM outcomes WHERE seq > ? LIMIT ?)"
        count: int = self._connection.execute(query, (cursor, most)).fetchone()[0]
        return count

    def read(self, cursor: int, head: int, most: int) -> Batch:
        """The next piece after ``cursor``, ending at ``head`` or ``most`` positions on.

        An event that changes what the past means (an agent added afresh, a session forgotten) stands alone.
        """
        upto = min(head, cursor + most)
        control = self._connection.execute(_CONTROL, (cursor, upto, cursor, upto)).fetchone()
        if control is not None:
            seq, name, forgotten = control
            if seq == cursor + 1:
                if name is not None:
                    if seq not in self._fresh.setdefault(name, []):
                        self._fresh[name].append(seq)
                    return Batch([], seq, fresh_agents=(name,))
                return Batch([], seq, forgotten=tuple(forgotten.split()))
            upto = seq - 1
        examples = self._outcomes(cursor, upto)
        late = self._connection.execute(_LATE_DECISIONS, (cursor, upto)).fetchall()
        if late:
            context = PayloadContext(self._connection, [row[0] for row in late])
            for row in late:
                examples += self._revised(row, context, row[0] - 1, row[0])
            examples.sort(key=attrgetter("seq"))
        return Batch(examples, upto)

    def newest(self, seqs: Sequence[int]) -> list[Example]:
        """The newest revision of each of these decisions, in log order; those without an outcome are left out.

        What was known when they were made is loaded, so that any thread may ask.
        """
        query = f"SELECT {_DECISION} FROM decisions d WHERE d.seq IN (SELECT value FROM json_each(?)) ORDER BY d.seq"
        rows = self._connection.execute(query, (json.dumps(list(seqs)),)).fetchall()
        context = PayloadContext(self._connection, rows)
        context.load()
        revised = [self._revised(row, context, 0, _EVERYTHING, past=True) for row in rows]
        return [found[-1] for found in revised if found]

    def _outcomes(self, cursor: int, upto: int) -> list[Example]:
        rows = self._connection.execute(_OUTCOMES, (cursor, upto)).fetchall()
        if not rows:
            return []
        context = PayloadContext(self._connection, rows)
        examples: list[Example] = []
        append, reward_of, fresh = examples.append, self._reward_of, self._fresh
        for row in rows:
            decision_seq, decision_id, agent, task_type, propensity, decided_at, source, seq, at, again = row[:10]
            if again:
                examples += self._revised(row[:7], context, seq - 1, seq)
                continue
            signals = signals_of(row[10:])
            if signals.agent is not None and signals.agent != agent:
                agent, propensity, source = signals.agent, None, "observed"
            if not fresh or self._counts(agent, decision_seq, seq):
                append(
                    Example(
                        decision_id,
                        seq,
                        decision_seq,
                        0,
                        agent,
                        task_type,
                        reward_of(signals, agent),
                        None,
                        signals,
                        None,
                        propensity,
                        at,
                        at,
                        decided_at,
                        source,
                        context,
                    )
                )
        return examples

    def _revised(
        self, decision: tuple[Any, ...], context: PayloadContext, cursor: int, upto: int, *, past: bool = False
    ) -> list[Example]:
        """The revisions of one decision that take effect after ``cursor`` and up to ``upto``.

        With ``past``, those too that count no more since the agent was added afresh.
        """
        decision_seq, decision_id, chosen, task_type, propensity, decided_at, source = decision
        thread = self._threads.pop(decision_id, None)
        if thread is None or thread.upto > cursor:
            thread = _Thread(chosen)
        rows = self._connection.execute(_PARTS, (decision_seq, decision_id, thread.upto, upto)).fetchall()
        parts = [Part(max(seq, decision_seq), at, signals_of(columns)) for seq, at, *columns in rows]
        found: list[Example] = []
        for number, seq, at, first_at, signals, previous in thread.joined.revisions(parts):
            ran = chosen if signals.agent is None else signals.agent
            steps: list[tuple[str | None, bool, int, Signals, Signals | None]] = [
                (ran, ran == chosen, number, signals, previous)
            ]
            if previous is not None and ran != thread.agent:  # what was learnt of the one is taken back first
                taken_back = (thread.agent, thread.drawn, number, NOTHING, previous)
                steps = [taken_back, (ran, ran == chosen, 0, signals, None)]
            thread.agent, thread.drawn = ran, ran == chosen
            found += [
                Example(
                    decision_id,
                    seq,
                    decision_seq,
                    revision,
                    who,
                    task_type,
                    None if now is NOTHING else self._reward_of(now, who),
                    None if before is None else self._reward_of(before, who),
                    now,
                    before,
                    propensity if own else None,
                    at,
                    first_at,
                    decided_at,
                    source if own else "observed",
                    context,
                )
                for who, own, revision, now, before in steps
                if cursor < seq <= upto and (past or self._counts(who, decision_seq, seq))
            ]
        if rows:
            thread.upto = max(rows[-1][0], decision_seq)
        self._threads[decision_id] = thread
        if len(self._threads) > _REMEMBERED:
            self._threads.popitem(last=False)
        return found

    def _counts(self, agent: str | None, decision_seq: int, seq: int) -> bool:
        """Whether an agent's decision still counts at ``seq``: not if the agent was added afresh in between."""
        return agent is None or not any(decision_seq < fresh < seq for fresh in self._fresh.get(agent, ()))

    def _reward_of(self, signals: Signals, agent: str | None) -> float | None:
        try:
            return checked_reward(self._reward, signals, agent)
        except InvalidRewardError as error:
            _log.error("an outcome gives no reward: %s", error)
            return None
