"""What happened to the log's readers and writers: learning events, and refused letters."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from router_sdk.store.coordination import MOST, finish_intent, note_position

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter

DeadLetter = tuple[str, str | None, str, str | None]
"""(kind, decision_id, reason, body)"""
RECENT = 1_000
"""How many of the newest updates count as lately."""
_MINUTES = 10
"""Over which updates are counted for how many there are in a minute."""

_EVENTS = (
    *("at", "strategy", "model_version", "type", "status", "batch_size", "samples", "cursor"),
    *("metrics_before", "metrics_after", "improvement", "duration_ms", "error", "reason", "fine_tuned"),
)
_MARK = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


@dataclass(frozen=True, slots=True)
class LearningEvent:
    """One update of one strategy.

    Attributes:
        strategy: Who learnt.
        type: ``"learn"`` for an online update, ``"replay"`` at start, ``"begin"`` where an attempt at a new version
            begins, ``"fit"`` where it has ended, ``"import"`` for one that was brought from elsewhere.
        samples: Examples in it.
        cursor: Position in the log afterwards.
        duration_ms: How long it took.
        batch_size: Examples that the learner read for it.
        before: Mean reward of the last 100 outcomes before, or None.
        after: The same afterwards.
        error: Why it failed, was refused or was stopped, or None.
        model_version: Fitted version that learnt, or None.
        status: How it ended; None goes by ``error``.
        reason: Why a fit was begun.
        fine_tuned: Whether a fit moved an encoder; None where nothing was fitted.
    """

    strategy: str
    type: str
    samples: int
    cursor: int
    duration_ms: float
    batch_size: int
    before: float | None = None
    after: float | None = None
    error: str | None = None
    model_version: int | None = None
    status: Literal["succeeded", "failed", "refused", "stopped"] | None = None
    reason: str | None = None
    fine_tuned: bool | None = None


def merged(events: Iterable[LearningEvent]) -> list[LearningEvent]:
    """One event per strategy and kind: an update may have read the log in several batches."""
    whole: dict[tuple[str, str], LearningEvent] = {}
    for event in events:
        key = (event.strategy, event.type)
        first = whole.get(key)
        whole[key] = (
            event
            if first is None
            else replace(
                event,
                samples=first.samples + event.samples,
                batch_size=first.batch_size + event.batch_size,
                duration_ms=first.duration_ms + event.duration_ms,
                error=first.error or event.error,
            )
        )
    return list(whole.values())


def write_learning_events(writer: LogWriter, events: list[LearningEvent]) -> None:
    """Append what the learner did."""
    now = time.time()
    rows = [
        (
            now,
            event.strategy,
            event.model_version,
            event.type,
            event.status or ("failed" if event.error else "succeeded"),
            event.batch_size,
            event.samples,
            event.cursor,
            event.before,
            event.after,
            None if event.before is None or event.after is None else event.after - event.before,
            event.duration_ms,
            event.error,
            event.reason,
            None if event.fine_tuned is None else int(event.fine_tuned),
        )
        for event in events
    ]

    def work(connection: Connection, seq: int) -> None:
        connection.executemany(
            f"""INSERT INTO learning_events (at, strategy, model_version, type, status, batch_size, samples, cursor,
                metrics_before, metrics_after, improvement, duration_ms, error, reason, fine_tuned)
                VALUES ({", ".join("?" * 15)})""",
            rows,
        )
        if events[-1].type in ("begin", "fit"):  # when, by a clock that goes on for as long as the machine does
            (number,) = connection.execute("SELECT max(id) FROM learning_events").fetchone()
            connection.execute(_MARK, (f"fit {events[-1].strategy}", json.dumps([number, _boot(), time.monotonic()])))

    writer.transact(work)


@cache
def _boot() -> str | None:
    """What names the time since the machine started, for as long as its monotonic clock goes on; known on Linux."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def learning_totals(connection: Connection) -> dict[str, float | None]:
    """Sums over all updates, and apart from them over all fits, that any process made on this log."""
    total, failed, duration, lately, gained, learnt = connection.execute(
        """SELECT count(*), count(*) FILTER (WHERE status = 'failed'), coalesce(avg(duration_ms), 0),
                  count(*) FILTER (WHERE at > ?),
                  sum(improvement), coalesce(sum(CASE WHEN improvement IS NOT NULL THEN samples END), 0)
           FROM learning_events WHERE type = 'learn'""",
        (time.time() - 60.0 * _MINUTES,),
    ).fetchone()
    fits, encoders, refused, broken, took = connection.execute(
        """SELECT count(*) FILTER (WHERE status = 'succeeded'),
                  count(*) FILTER (WHERE status = 'succeeded' AND fine_tuned = 1),
                  count(*) FILTER (WHERE status = 'refused'), count(*) FILTER (WHERE status = 'failed'),
                  coalesce(avg(duration_ms), 0)
           FROM learning_events WHERE type = 'fit'"""
    ).fetchone()
    return {
        "total_updates": total,
        "successful_updates": total - failed,
        "failed_updates": failed,
        "update_success_rate": (total - failed) / total if total else None,
        "updates_per_minute": lately / _MINUTES,
        "avg_update_time_ms": duration,
        "learning_efficiency": 100.0 * gained / learnt if learnt >= 100 else None,
        "retrain_count": fits,
        "encoder_retrain_count": encoders,
        "refused_fits": refused,
        "failed_fits": broken,
        "avg_fit_time_ms": took,
    }


class UpdateHealth(NamedTuple):
    """The newest updates: how many, the share of them that failed, and how long one took on average."""

    updates: int
    failed: float
    mean_ms: float


def update_health(connection: Connection) -> UpdateHealth:
    """How the newest 1,000 updates went that any process made on this log."""
    count, failed, mean_ms = connection.execute(
        """SELECT count(*), coalesce(avg(CASE WHEN status = 'failed' THEN 1.0 ELSE 0.0 END), 0),
                  coalesce(avg(duration_ms), 0)
           FROM (SELECT status, duration_ms FROM learning_events
                 WHERE type = 'learn' ORDER BY id DESC LIMIT ?) AS newest""",
        (RECENT,),
    ).fetchone()
    return UpdateHealth(count, failed, mean_ms)


# -- fits


class LastFit(NamedTuple):
    """The newest attempt to fit.

    Attributes:
        number: Its id among the learning events; 0 if there was none.
        cursor: Position in the log that it reached.
        at: When it ended, or began where it has not ended, in seconds since the epoch; None if there was none.
        steady: The same by the monotonic clock, where that has gone on since.
    """

    number: int
    cursor: int
    at: float | None
    steady: float | None = None


def last_fit(connection: Connection, strategy: str, after: int = 0) -> tuple[LastFit, int]:
    """A strategy's newest attempt among the learning events after one, and the newest event of all."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM learning_events").fetchone()
    query = """SELECT id, cursor, at FROM learning_events
               WHERE id > ? AND strategy = ? AND type IN ('begin', 'fit') ORDER BY id DESC LIMIT 1"""
    row = connection.execute(query, (after, strategy)).fetchone()
    if row is None:
        return LastFit(0, 0, None), newest
    noted = connection.execute("SELECT value FROM meta WHERE name = ?", (f"fit {strategy}",)).fetchone()
    noted_of, boot, steady = json.loads(noted[0]) if noted else (0, None, None)
    number, cursor, at = row
    goes_on = boot is not None and (noted_of, boot) == (number, _boot())
    return LastFit(number, cursor, at, steady if goes_on else None), newest


class Fresh(NamedTuple):
    """Decisions of which something was heard after a position in the log.

    Attributes:
        cursor: That position.
        upto: Up to where they are counted.
        heard: How many.
        good: How many of them with a quality of at least what was asked for; all, where nothing was.
    """

    cursor: int
    upto: int
    heard: int
    good: int


def fresh_examples(connection: Connection, known: Fresh, most: int, min_quality: float | None = None) -> Fresh:
    """Go on counting, over at most so many outcomes; each decision counts once."""
    query = """
        SELECT coalesce(max(seq), :upto), count(*) FILTER (WHERE counts), count(*) FILTER (WHERE counts_good) FROM (
            SELECT seq, NOT EXISTS (SELECT 1 FROM outcomes p
                WHERE p.decision_id = o.decision_id AND p.seq > :cursor AND p.seq < o.seq) AS counts,
            quality >= :least AND NOT EXISTS (SELECT 1 FROM outcomes p
                WHERE p.decision_id = o.decision_id AND p.seq > :cursor AND p.seq < o.seq AND p.quality >= :least
            ) AS counts_good
            FROM outcomes o WHERE seq > :upto ORDER BY seq LIMIT :most) AS behind"""
    given = {"cursor": known.cursor, "upto": known.upto, "least": min_quality, "most": most}
    upto, heard, good = connection.execute(query, given).fetchone()
    return Fresh(known.cursor, upto, known.heard + heard, known.good + (heard if min_quality is None else good))


def why_begun(connection: Connection, strategy: str) -> dict[int, str]:
    """Why the fit of each of a strategy's versions was begun, as far as the log says."""
    query = """SELECT model_version, reason FROM learning_events
               WHERE strategy = ? AND type = 'fit' AND model_version IS NOT NULL AND reason IS NOT NULL"""
    return dict(connection.execute(query, (strategy,)).fetchall())


def fit_events(connection: Connection, strategy: str, after: int = 0, limit: int = MOST) -> list[dict[str, Any]]:
    """A strategy's attempts to fit among the learning events after one, newest first, each with its ``id``."""
    query = f"""SELECT id, {", ".join(_EVENTS)} FROM learning_events
                WHERE id > ? AND strategy = ? AND type = 'fit' ORDER BY id DESC LIMIT ?"""
    return [
        dict(zip(("id", *_EVENTS), row, strict=True)) for row in connection.execute(query, (after, strategy, limit))
    ]


# -- refusals


class Refusal(NamedTuple):
    """What a fold cannot learn from: its fingerprint and name, the decision, the position, and why."""

    fold: str
    strategy: str
    decision_id: str
    seq: int
    reason: str


def write_refusals(writer: LogWriter, refusals: Iterable[Refusal]) -> None:
    """Keep as dead letters what folds cannot learn from; another process may have found the same."""
    rows = [
        (time.time(), one.decision_id, one.reason, json.dumps({"fold": one.fold, "seq": one.seq})) for one in refusals
    ]

    def work(connection: Connection, seq: int) -> None:
        connection.executemany(
            """INSERT INTO dead_letters (at, kind, decision_id, reason, body) SELECT ?1, 'learn', ?2, ?3, ?4
               WHERE NOT EXISTS (
                   SELECT 1 FROM dead_letters WHERE kind = 'learn' AND decision_id = ?2 AND body = ?4)""",
            rows,
        )

    writer.transact(work)


def refused_decisions(connection: Connection, fold: str, cursor: int) -> tuple[dict[str, int], int]:
    """Decisions that a fold cannot learn from, and since which position; and the newest position that it has learnt."""
    letters = """SELECT decision_id, body FROM dead_letters WHERE kind = 'learn' AND decision_id IS NOT NULL"""
    found = ((decision_id, _body(body)) for decision_id, body in connection.execute(letters))
    refused = {decision_id: int(told["seq"]) for decision_id, told in found if told.get("fold") == fold}
    query = """SELECT seq FROM outcomes WHERE seq <= ? AND decision_id NOT IN (SELECT value FROM json_each(?))
               ORDER BY seq DESC LIMIT 1"""
    learnt = connection.execute(query, (cursor, json.dumps(list(refused)))).fetchone()
    return refused, 0 if learnt is None else learnt[0]


def _body(text: str | None) -> dict[str, Any]:
    """What a letter says as JSON; nothing where it was erased, or is none."""
    try:
        told = json.loads(text or "")
    except ValueError:
        return {}
    return told if isinstance(told, dict) and "seq" in told else {}


def write_dead_letters(writer: LogWriter, letters: list[DeadLetter], intent: int | None = None) -> None:
    """Keep what was refused in a batch, with the reason, and note that an intent is finished with that."""
    now = time.time()

    def work(connection: Connection, seq: int) -> None:
        connection.executemany(
            "INSERT INTO dead_letters (at, kind, decision_id, reason, body) VALUES (?, ?, ?, ?, ?)",
            [(now, *letter) for letter in letters],
        )
        if intent is not None:
            finish_intent(connection, intent)

    if letters or intent is not None:
        writer.transact(work)


def sweep_pending(writer: LogWriter, ttl_s: float) -> int:
    """Dead-letter outcomes whose decision did not arrive within ``ttl_s`` seconds; each is looked at once.

    The outcome itself stays in the log, and still counts should its decision arrive after all.

    Returns:
        How many were dead-lettered.
    """

    def work(connection: Connection, seq: int) -> int:
        row = connection.execute("SELECT seq FROM positions WHERE name = 'swept'").fetchone()
        swept = row[0] if row else 0
        limit = time.time() - ttl_s
        query = "SELECT seq FROM outcomes WHERE seq > ? AND at >= ? ORDER BY seq LIMIT 1"
        young = connection.execute(query, (swept, limit)).fetchone()
        (newest,) = connection.execute("SELECT coalesce(max(seq), 0) FROM outcomes").fetchone()
        last = newest if young is None else young[0] - 1
        if last <= swept:
            return 0
        found = connection.execute(
            """INSERT INTO dead_letters (at, kind, decision_id, reason)
               SELECT ?, 'outcome', o.decision_id, ?
               FROM outcomes o LEFT JOIN decisions d ON d.decision_id = o.decision_id
               WHERE o.seq > ? AND o.seq <= ? AND o.at < ? AND d.seq IS NULL""",
            (time.time(), f"its decision did not arrive within {ttl_s} s", swept, last, limit),
        ).rowcount
        note_position(connection, "swept", last)
        return found

    return writer.transact(work)


def dead_letters(connection: Connection, limit: int) -> list[Mapping[str, Any]]:
    """The newest letters, newest first."""
    rows = connection.execute(
        "SELECT at, kind, decision_id, reason, body FROM dead_letters ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [dict(zip(("at", "kind", "decision_id", "reason", "body"), row, strict=True)) for row in rows]


def learning_events(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest updates of what is learnt, newest first."""
    query = f"SELECT {', '.join(_EVENTS)} FROM learning_events ORDER BY id DESC LIMIT ?"
    return [dict(zip(_EVENTS, row, strict=True)) for row in connection.execute(query, (limit,))]
