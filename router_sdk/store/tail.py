"""Reading the log from a cursor: decision ⋈ outcomes, in commit order and in bounded pieces.

What is known of a decision after each part of its outcome is a revision; a strategy folds revisions.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from router_sdk.engine import Connection
from router_sdk.errors import InvalidRewardError
from router_sdk.records import Example, ExampleColumns, Signals
from router_sdk.records.columns import cells_of
from router_sdk.records.outcome import NOTHING, Joined, Part
from router_sdk.rewards import OutcomeReward, RewardFunction, checked_reward
from router_sdk.store.context import PayloadContext
from router_sdk.store.quarantine import Ranges
from router_sdk.store.transaction import HEAD

SIGNAL_COLUMNS = (
    "success, quality, feedback, correct_agent, no_agent_fits, latency_ms, cost_usd, tokens, metrics, agent"
)
"""Columns of ``outcomes`` that make up ``Signals``, in its order."""


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


_DECISION = "d.seq, d.decision_id, d.agent, d.task_type, d.propensity, d.at, d.source"
_SIGNALS = ", ".join(f"o.{column}" for column in SIGNAL_COLUMNS.split(", "))

_OUTCOMES = f"""
SELECT {_DECISION}, o.seq, o.logged_at,
       EXISTS (SELECT 1 FROM outcomes p WHERE p.decision_id = o.decision_id AND p.seq < o.seq),
       {_SIGNALS}
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
WHERE o.seq > ? AND o.seq <= ? AND d.seq < o.seq {{}} ORDER BY o.seq"""

_COLUMNS = """
SELECT o.decision_id, o.seq, d.seq, d.agent, d.task_type, o.logged_at, o.success, o.quality, o.latency_ms, o.cost_usd,
       o.correct_agent IS NOT NULL OR o.feedback IS NOT NULL OR o.metrics IS NOT NULL OR o.agent IS NOT NULL
       OR o.no_agent_fits IS NOT NULL OR (
           d.seq <= ?1 AND EXISTS (SELECT 1 FROM outcomes p WHERE p.decision_id = o.decision_id AND p.seq < o.seq))
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
WHERE o.seq > ?1 AND o.seq <= ?2 AND d.seq < o.seq ORDER BY o.seq"""
"""What most outcomes say, and whether one says more, or is not the first of its decision. (Of those whose decision is
among these positions that shows in the rows.)"""

_REST = """
SELECT o.seq, d.propensity, d.at, d.source, o.tokens
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id WHERE o.seq > ? AND o.seq <= ? AND d.seq < o.seq"""
"""What an example holds beside the columns, of an outcome that says no more than they do."""

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

_COUNT = "SELECT count(*) FROM outcomes WHERE seq > ? AND seq <= ?"

EVERYTHING = 2**62
"""A position that no log reaches."""
_FEW = 64
"""Positions up to which each outcome is read whole: one query is cheaper than two."""
_PIECE = 512
"""Rows that are turned into columns at once: few enough to stay in the processor's cache."""
_MOST_ODD = 0.25
"""Share of outcomes that say more than the columns, beyond which each is read whole."""
_REMEMBERED = 1_024
"""Decisions with several parts whose joined state is kept, so that the next part is joined in constant time."""

_NONE = ExampleColumns.of([])

_log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """A piece of the log.

    Attributes:
        columns: Revisions that took effect, in order.
        upto: The cursor after this batch.
        fresh_agents: Agents whose past no longer counts, from here on.
        forgotten: Decisions whose payload was erased.
    """

    columns: ExampleColumns
    upto: int
    fresh_agents: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()

    @property
    def examples(self) -> list[Example]:
        """The same as objects; to be asked before the next batch is read."""
        return self.columns.examples


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
        left_out: Where outcomes are passed over, as if they had never been recorded.
    """

    def __init__(self, connection: Connection, reward: RewardFunction, left_out: Ranges = ()) -> None:
        self._connection, self._reward, self._left_out = connection, reward, left_out
        self._threads: OrderedDict[str, _Thread] = OrderedDict()
        self._orderly = 0  # up to here, from the beginning, no outcome came before its decision
        self._fresh: dict[str, list[int]] = {}
        self.look()

    def look(self) -> None:
        """Take in which agents were added afresh, where the log is not read from its beginning or on from before."""
        self._fresh.clear()
        for name, seq in self._connection.execute("SELECT name, seq FROM agents WHERE fresh = 1 ORDER BY seq"):
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
        query = "SELECT count(*) FROM (SELECT 1 FROM outcomes WHERE seq > ? LIMIT ?) AS next"
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
                    return Batch(_NONE, seq, fresh_agents=(name,))
                return Batch(_NONE, seq, forgotten=tuple(forgotten.split()))
            upto = seq - 1
        for begin, end in self._left_out:
            if begin <= cursor < end:
                return Batch(_NONE, min(upto, end))
            upto = min(upto, begin) if cursor < begin else upto
        return Batch(self._columns(cursor, upto), upto)

    def newest(self, seqs: Sequence[int], upto: int = EVERYTHING, *, loaded: bool = True) -> list[Example]:
        """The newest revision of each of these decisions, in log order; those without an outcome are left out.

        With ``upto``, the newest of those that took effect up to this position. Unless ``loaded`` is False, what was
        known when they were made is loaded, so that any thread may ask for it.
        """
        query = f"SELECT {_DECISION} FROM decisions d WHERE d.seq IN (SELECT value FROM json_each(?)) ORDER BY d.seq"
        rows = self._connection.execute(query, (json.dumps(list(seqs)),)).fetchall()
        context = PayloadContext(self._connection, [row[0] for row in rows])
        if loaded:
            context.load()
        revised = [self._revised(row, context, 0, upto, past=True) for row in rows]
        return [found[-1] for found in revised if found]

    def _columns(self, cursor: int, upto: int) -> ExampleColumns:
        """The revisions of these positions, as columns where they are many and most of them plain."""
        if upto - cursor <= _FEW or self._fresh or type(self._reward) is not OutcomeReward:
            return self._objects(cursor, upto, self._late_decisions(cursor, upto))
        found = self._connection.execute(_COLUMNS, (cursor, upto))
        columns: list[list[Any]] = [[] for _ in found.description]
        while rows := found.fetchmany(_PIECE):
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column += cells
        more = columns.pop()
        late = self._late_decisions(cursor, upto, len(more))
        if not (more or late):
            return _NONE
        decisions = columns[2]
        odd = [place for place, says_more in enumerate(more) if says_more] if any(more) else []
        if len(set(decisions)) < len(decisions):
            odd = sorted({*odd, *_repeated(decisions)})
        if late or len(odd) > _MOST_ODD * len(more):
            return self._objects(cursor, upto, late)
        columns.insert(5, self._reward.plain(*columns[6:]))
        context = PayloadContext(self._connection, decisions)
        others = self._put(columns, odd, cursor, upto, context) if odd else {}
        build = partial(self._built, columns, others, cursor, upto, context)
        return ExampleColumns(columns, others, build, context)

    def _put(
        self, columns: list[list[Any]], odd: list[int], cursor: int, upto: int, context: PayloadContext
    ) -> dict[int, Example]:
        """Put the examples of outcomes that say more in their places; an outcome may give none, or two."""
        seqs = columns[1]
        wanted = json.dumps([seqs[place] for place in odd])
        query = _OUTCOMES.format("AND o.seq IN (SELECT value FROM json_each(?))")
        found: dict[int, list[Example]] = {seqs[place]: [] for place in odd}
        for example in self._outcomes(self._connection.execute(query, (cursor, upto, wanted)).fetchall(), context):
            found[example.seq].append(example)
        others: dict[int, Example] = {}
        moved = 0
        for place in odd:
            examples = found[seqs[place + moved]]
            cells = [cells_of(example) for example in examples]
            for number, column in enumerate(columns):
                column[place + moved : place + moved + 1] = [row[number] for row in cells]
            others |= {place + moved + nth: example for nth, example in enumerate(examples)}
            moved += len(examples) - 1
        return others

    def _built(
        self, columns: list[list[Any]], others: dict[int, Example], cursor: int, upto: int, context: PayloadContext
    ) -> list[Example]:
        """The examples of columns."""
        rest = {row[0]: row[1:] for row in self._connection.execute(_REST, (cursor, upto))}
        examples: list[Example] = []
        for place, cells in enumerate(zip(*columns, strict=True)):
            if place in others:
                examples.append(others[place])
                continue
            decision_id, seq, decision_seq, agent, task_type, reward, at, success, quality, latency_ms, cost_usd = cells
            propensity, decided_at, source, tokens = rest[seq]
            passed = None if success is None else success == 1
            said = Signals(passed, quality, None, None, None, latency_ms, cost_usd, tokens)
            told = (decision_id, seq, decision_seq, 0, agent, task_type, reward, None, said, None)
            examples.append(Example(*told, propensity, at, at, decided_at, source, context))
        return examples

    def _late_decisions(self, cursor: int, upto: int, joined: int = -1) -> list[tuple[Any, ...]]:
        """Decisions that came after the first of their outcomes; they are looked for unless there can be none."""
        if joined >= 0 and cursor <= self._orderly:
            (count,) = self._connection.execute(_COUNT, (cursor, upto)).fetchone()
            if count == joined:  # each found its decision, as all before it did
                self._orderly = max(self._orderly, upto)
                return []
        return self._connection.execute(_LATE_DECISIONS, (cursor, upto)).fetchall()

    def _objects(self, cursor: int, upto: int, late: list[tuple[Any, ...]]) -> ExampleColumns:
        """The revisions of these positions, one by one."""
        rows = self._connection.execute(_OUTCOMES.format(""), (cursor, upto)).fetchall()
        context = PayloadContext(self._connection, [row[0] for row in (*rows, *late)])
        examples = self._outcomes(rows, context)
        for row in late:
            examples += self._revised(row, context, row[0] - 1, row[0])
        if late:
            examples.sort(key=attrgetter("seq"))
        return ExampleColumns.of(examples, context)

    def _outcomes(self, rows: list[tuple[Any, ...]], context: PayloadContext) -> list[Example]:
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
                told = (decision_id, seq, decision_seq, 0, agent, task_type, reward_of(signals, agent), None)
                append(Example(*told, signals, None, propensity, at, at, decided_at, source, context))
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
        if self._left_out:
            parts = [one for one in parts if not any(begin < one.seq <= end for begin, end in self._left_out)]
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


def _repeated(decisions: Sequence[int]) -> list[int]:
    """Places of all but the first outcome of each decision."""
    seen: set[int] = set()
    found = []
    for place, decision in enumerate(decisions):
        if decision in seen:
            found.append(place)
        seen.add(decision)
    return found
