"""Which fitted versions there are, and which one served when: append-only histories."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import ChampionMovedError
from router_sdk.records import ModelVersion
from router_sdk.store.coordination import MOST, add_intent, finish_intent
from router_sdk.store.datasets import add_dataset, dataset_counts, give_up_datasets
from router_sdk.store.events import why_begun
from router_sdk.store.experiments import versions_in_experiments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_sdk.engine import Connection
    from router_sdk.store.datasets import DatasetRow
    from router_sdk.store.group_commit import LogWriter

CHAMPION = "champion"
"""Alias of the version that serves."""
CHALLENGER = "challenger"
"""Alias of a version that passed the gate, and waits for an experiment, or for a person."""
PINNED = "pinned"
"""Alias of a champion that a person chose: nothing but a person changes it."""
QUARANTINED = "quarantined"
"""Alias of a version that was rolled back by itself: nothing but a person lets it serve again."""
ROLLBACK = "rollback"
"""How the reason of a rollback begins."""
ROLLBACK_BY_ITSELF = f"{ROLLBACK} by itself"
"""And of one that no person asked for."""
WON = "won experiment"
"""How the reason begins why the winner of an experiment serves."""

GATE, WATCH = "gate", "watch"
"""Who moves an alias where no person and no experiment does."""

_MOVE = """INSERT INTO alias_history (strategy, alias, version, at, reason, held, seq, actor)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

_COLUMNS = (
    "strategy, version, at, kind, parent, upto, samples, passed, reason, folder, settings, metrics, fine_tuned, "
    "data_hash, pruned_at"
)


class Champion(NamedTuple):
    """One entry of the history.

    Attributes:
        version: What serves from there on; None is the strategy as it is without any fit.
        pinned: Whether a person chose it.
        token: Position in the history: a later one fences off an earlier one.
        at: When, in seconds since the epoch.
        reason: Why.
        seq: Position in the log from which on it served; None where an earlier release noted it.
        actor: Who said so: a name that a person gave, ``"gate"``, ``"watch"``, or ``"experiment NAME"``; None where
            nobody gave one.
    """

    version: int | None
    pinned: bool
    token: int
    at: float
    reason: str
    seq: int | None = None
    actor: str | None = None


NEVER = Champion(None, False, 0, 0.0, "nothing was ever promoted")
"""What serves before the first entry."""


def add_version(
    writer: LogWriter,
    strategy: str,
    *,
    kind: str,
    parent: int | None,
    upto: int,
    samples: int,
    passed: bool,
    reason: str,
    folder: str,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
    fine_tuned: bool,
    data_hash: str,
    unless_forgotten_after: int,
    promote_after: int | None = None,
    challenges: bool = False,
    dataset: DatasetRow | None = None,
) -> tuple[ModelVersion, int | None] | None:
    """Register a fitted version under the strategy's next number, with the fields of ``ModelVersion`` and its data set.

    It is not, where a session was forgotten after the position ``unless_forgotten_after``: it may remember it.
    Where it shall serve, ``promote_after`` is the history's token that it was judged against. The intent is logged with
    the version, so that whoever comes next promotes it should this process end before it does. Where it ``challenges``
    what serves, that is logged in its place.

    Returns:
        The version, and the intent to promote it; None where it was not registered.
    """
    at = time.time()

    def work(connection: Connection, seq: int) -> tuple[int, int | None] | None:
        if forgotten_after(connection, unless_forgotten_after):
            return None
        query = "SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE strategy = ?"
        number: int = connection.execute(query, (strategy,)).fetchone()[0]
        connection.execute(
            f"INSERT INTO model_versions ({_COLUMNS}) VALUES ({', '.join('?' * 15)})",
            (
                *(strategy, number, at, kind, parent, upto, samples, int(passed), reason, folder),
                *(json.dumps(dict(settings)), json.dumps(dict(metrics)), int(fine_tuned), data_hash, None),
            ),
        )
        if dataset is not None:
            add_dataset(connection, strategy, number, at, dataset)
        if challenges:
            connection.execute(_MOVE, (strategy, CHALLENGER, number, at, reason, 1, seq, GATE))
        if promote_after is None or challenges:
            return number, None
        wanted = {"strategy": strategy, "version": number, "after": promote_after, "reason": reason}
        return number, add_intent(connection, "promote", wanted)

    found = writer.transact(work)
    if found is None:
        return None
    number, intent = found
    told = (strategy, number, at, kind, parent, upto, samples, passed, reason, folder, settings, metrics, fine_tuned)
    version = ModelVersion(*told, data_hash, dataset=None if dataset is None else dataset.counts)
    return version, intent


def forgotten_after(connection: Connection, position: int) -> dict[int, list[str]]:
    """Decisions that were forgotten after a position in the log, by the position of the event."""
    rows = connection.execute("SELECT seq, decision_ids FROM forgotten WHERE seq > ? ORDER BY seq", (position,))
    return {seq: ids.split() for seq, ids in rows}


def versions(connection: Connection, strategy: str) -> list[ModelVersion]:
    """A strategy's versions, oldest first."""
    history, aside = champions(connection, strategy), quarantined(connection, strategy)
    waiting = challenger(connection, strategy)
    serving, served = history[0] if history else NEVER, {one.version for one in history}
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM model_versions WHERE strategy = ? ORDER BY version", (strategy,)
    ).fetchall()
    counts = dataset_counts(connection, strategy)
    begun = why_begun(connection, strategy)
    found = []
    for row in rows:
        fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
        fields["dataset"] = counts.get(fields["version"])
        for name in ("passed", "fine_tuned"):
            fields[name] = bool(fields[name])
        for name in ("settings", "metrics"):
            fields[name] = json.loads(fields[name])
        aliases: tuple[str, ...] = ()
        status = "deprecated" if fields["version"] in served else "candidate"
        if fields["pruned_at"] is not None:
            status = "archived"
        if fields["version"] == serving.version:
            status = "active"
            aliases = (CHAMPION, PINNED) if serving.pinned else (CHAMPION,)
        elif fields["version"] in aside:
            aliases = (QUARANTINED,)
        elif fields["version"] == waiting:
            aliases = (CHALLENGER,)
        begun_for = begun.get(fields["version"])
        found.append(ModelVersion(**fields, status=status, aliases=aliases, trigger=begun_for))
    return found


def set_champion(
    writer: LogWriter,
    strategy: str,
    version: int | None,
    reason: str,
    *,
    pinned: bool,
    after: int | None = None,
    intent: int | None = None,
    quarantine: int | None = None,
    actor: str | None = None,
) -> int:
    """Note that a version serves from now on, None for what was never fitted; return the history's token.

    A version that was in quarantine is not any more.

    Args:
        writer: The log.
        strategy: Whose.
        version: Which.
        reason: For the history.
        pinned: Whether nothing but a person may change it.
        after: The token that must still be the strategy's newest; None asks nobody.
        intent: What this fulfils.
        quarantine: A version that is in quarantine from now on, for the same reason.
        actor: Who says so.

    Raises:
        ChampionMovedError: if somebody else moved the alias since.
    """

    def work(connection: Connection, seq: int) -> int | None:
        if intent is not None:
            finish_intent(connection, intent)
        if after is not None and champion(connection, strategy).token != after:
            return None
        if quarantine is not None:
            set_aside(connection, seq, strategy, quarantine, reason, actor)
        return move_champion(connection, seq, strategy, version, reason, actor, pinned=pinned)

    token = writer.transact(work)
    if token is None:
        raise ChampionMovedError(
            f"what serves of {strategy!r} was changed while version {version} was made; it stays a candidate"
        )
    return token


def move_champion(
    connection: Connection,
    seq: int,
    strategy: str,
    version: int | None,
    reason: str,
    actor: str | None,
    *,
    pinned: bool,
) -> int:
    """The same, in a transaction of somebody else's."""
    at = time.time()
    if version in quarantined(connection, strategy):
        connection.execute(_MOVE, (strategy, QUARANTINED, version, at, reason, 0, seq, actor))
    if version is not None and version == challenger(connection, strategy):
        challenge_over(connection, seq, strategy, version, reason, actor)
    row = (strategy, CHAMPION, version, at, reason, int(pinned), seq, actor)
    return int(connection.execute(f"{_MOVE} RETURNING token", row).fetchone()[0])


def set_aside(connection: Connection, seq: int, strategy: str, version: int, reason: str, actor: str | None) -> None:
    """A version is in quarantine from now on, in a transaction."""
    connection.execute(_MOVE, (strategy, QUARANTINED, version, time.time(), reason, 1, seq, actor))


def challenge_over(
    connection: Connection, seq: int, strategy: str, version: int, reason: str, actor: str | None
) -> None:
    """A version challenges what serves no more, in a transaction."""
    if version == challenger(connection, strategy):
        connection.execute(_MOVE, (strategy, CHALLENGER, version, time.time(), reason, 0, seq, actor))


def challenger(connection: Connection, strategy: str) -> int | None:
    """The version that challenges what serves: the newest one that passed the gate since; None where none does."""
    query = "SELECT version, held FROM alias_history WHERE strategy = ? AND alias = ? ORDER BY token DESC LIMIT 1"
    row = connection.execute(query, (strategy, CHALLENGER)).fetchone()
    return None if row is None or not row[1] else int(row[0])


def champion(connection: Connection, strategy: str) -> Champion:
    """What serves."""
    found = champions(connection, strategy, 1)
    return found[0] if found else NEVER


def champions(connection: Connection, strategy: str, limit: int = MOST) -> list[Champion]:
    """What served, newest first."""
    query = """SELECT version, held, token, at, reason, seq, actor FROM alias_history WHERE strategy = ? AND alias = ?
               ORDER BY token DESC LIMIT ?"""
    rows = connection.execute(query, (strategy, CHAMPION, limit))
    return [Champion(version, bool(pinned), *rest) for version, pinned, *rest in rows]


def quarantined(connection: Connection, strategy: str) -> dict[int, str]:
    """Versions that are in quarantine, and why."""
    query = "SELECT version, held, reason FROM alias_history WHERE strategy = ? AND alias = ? ORDER BY token"
    rows = connection.execute(query, (strategy, QUARANTINED)).fetchall()
    newest = {version: (held, reason) for version, held, reason in rows}
    return {version: reason for version, (held, reason) in newest.items() if held}


def before(history: list[Champion], number: int | None) -> int | None:
    """What served when a version first came.

    Args:
        history: Newest first.
        number: Which; must be in it.
    """
    served = [None, *(entry.version for entry in reversed(history))]
    return served[served.index(number, 1) - 1]


def safety_totals(connection: Connection) -> dict[str, float | None]:
    """How often candidates passed the gate, and versions were rolled back, over all strategies."""
    candidates, passed = connection.execute("SELECT count(*), coalesce(sum(passed), 0) FROM model_versions").fetchone()
    moves, rollbacks, by_itself = connection.execute(
        f"""SELECT count(*), count(*) FILTER (WHERE substr(reason, 1, {len(ROLLBACK)}) = ?),
                   count(*) FILTER (WHERE substr(reason, 1, {len(ROLLBACK_BY_ITSELF)}) = ?)
            FROM alias_history WHERE alias = ?""",
        (ROLLBACK, ROLLBACK_BY_ITSELF, CHAMPION),
    ).fetchone()
    return {
        "gate_pass_rate": passed / candidates if candidates else None,
        "refused_candidates": candidates - passed,
        "rollbacks": rollbacks,
        "rollback_frequency": rollbacks / (moves - rollbacks) if moves > rollbacks else None,
        "violations": by_itself,
    }


def alias_token(connection: Connection) -> int:
    """The history's newest token: it changes whenever another version serves."""
    token: int = connection.execute("SELECT coalesce(max(token), 0) FROM alias_history").fetchone()[0]
    return token


def prune_versions(writer: LogWriter, strategy: str, keep: int, keep_s: float | None) -> list[str]:
    """Give up old versions; their rows and reports stay, and what their data sets came to.

    What serves, what was ever rolled back to, what a rollback would go to, what challenges what serves, and what an
    experiment needs are kept whatever their age.

    Args:
        writer: The log.
        strategy: Whose.
        keep: Of the newest, how many are kept.
        keep_s: Those that are younger are kept too, in seconds; None keeps none for its age.

    Returns:
        Names of the folders that nothing needs any more.
    """

    def work(connection: Connection, seq: int) -> list[str]:
        history = champions(connection, strategy)
        needed: set[int | None] = {entry.version for entry in history if entry.reason.startswith(ROLLBACK)}
        if history:
            needed |= {history[0].version, before(history, history[0].version)}
        needed |= {challenger(connection, strategy), *versions_in_experiments(connection, strategy)}
        rows = connection.execute(
            """SELECT version, at, folder FROM model_versions WHERE strategy = ? AND pruned_at IS NULL
               ORDER BY version DESC LIMIT ? OFFSET ?""",
            (strategy, MOST, keep),
        ).fetchall()
        now = time.time()
        old = [
            (number, folder)
            for number, at, folder in rows
            if number not in needed and (keep_s is None or now - at > keep_s)
        ]
        query = "UPDATE model_versions SET pruned_at = ? WHERE strategy = ? AND version = ?"
        connection.executemany(query, [(now, strategy, number) for number, _ in old])
        give_up_datasets(connection, strategy, [number for number, _ in old])
        return [folder for _, folder in old]

    return writer.transact(work)


def rollbacks_in_a_row(history: Sequence[Champion]) -> int:
    """Versions that were rolled back by themselves, one after the other, until now.

    One that was followed by another without that has held, and what a person chose begins anew.

    Args:
        history: Newest first.
    """
    found = promoted = 0
    for entry in history:
        if entry.reason.startswith(ROLLBACK_BY_ITSELF):
            found, promoted = found + 1, 0
        elif entry.pinned or entry.reason.endswith("by hand"):
            break
        else:
            promoted += 1
            if promoted == 2:
                break
    return found


def move_version(writer: LogWriter, version: ModelVersion, folder: str) -> None:
    """Note that a version's files lie in another folder now."""

    def work(connection: Connection, seq: int) -> None:
        query = "UPDATE model_versions SET folder = ? WHERE strategy = ? AND version = ?"
        connection.execute(query, (folder, version.strategy, version.version))

    writer.transact(work)
