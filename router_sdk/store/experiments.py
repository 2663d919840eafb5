"""What was said of experiments, as events in the log; what is true of one is what they come to.

Who changes something says after which event: where another one was written meanwhile, nothing is. So of all that look,
in however many processes, one concludes an experiment, and what it concluded stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from router_sdk.errors import ExperimentError

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter

CHAMPION_ARM = "champion"
"""Name of the arm that is what serves without any experiment."""

Kind = Literal["started", "shares", "ended", "retired"]


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """One experiment, as its events tell.

    Attributes:
        name: Its own for ever.
        seq: Position in the log with which it began.
        token: Position of its newest event.
        at: When it began, in seconds since the epoch.
        actor: Who began it, or None.
        settings: How it is run and decided, as JSON values.
        arms: The challengers, as JSON values, in order.
        steps: The shares of the arms, from the first on: since when, and each arm's.
        verdict: How it ended; None as long as it runs.
        winner: The challenger that won, or None.
        reason: Why it ended.
        serving: Whether the winner serves all from there on; else that is a person's to say.
        lost: Challengers that are out of the race, and why.
        ended_at: When it ended.
        ended_seq: Position in the log with which it ended.
        retired_at: When the winning chain gave way to the configured one again.
    """

    name: str
    seq: int
    token: int
    at: float
    actor: str | None
    settings: Mapping[str, Any]
    arms: tuple[Mapping[str, Any], ...]
    steps: tuple[tuple[float, Mapping[str, float]], ...]
    verdict: str | None = None
    winner: str | None = None
    reason: str | None = None
    serving: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)
    ended_at: float | None = None
    ended_seq: int | None = None
    retired_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether it runs."""
        return self.verdict is None

    @property
    def shares(self) -> Mapping[str, float]:
        """What each arm gets of the units now; arms that never serve are not in it."""
        return self.steps[-1][1]

    @property
    def serves(self) -> bool:
        """Whether any of its challengers is served."""
        return len(self.shares) > 1

    def arm(self, name: str) -> Mapping[str, Any]:
        """A challenger by name.

        Raises:
            ExperimentError: if it has none of that name.
        """
        for arm in self.arms:
            if arm["name"] == name:
                return arm
        raise ExperimentError(
            f"experiment {self.name!r} has no challenger {name!r}; there are {[one['name'] for one in self.arms]}"
        )

    @property
    def keeps_serving(self) -> bool:
        """Whether a whole chain has won, and serves all until it is what is configured."""
        return self.serving and self.of_a_chain and self.retired_at is None

    @property
    def of_a_chain(self) -> bool:
        """Whether the winner is a whole chain, rather than a version."""
        return self.winner is not None and self.arm(self.winner)["version"] is None

    def to_dict(self) -> dict[str, Any]:
        """In short, as JSON values."""
        return {
            "name": self.name,
            "status": "running" if self.verdict is None else self.verdict,
            "started_at": self.at,
            "actor": self.actor,
            "ended_at": self.ended_at,
            "winner": self.winner,
            "serves": self.serving and self.retired_at is None,
            "reason": self.reason,
            "shares": dict(self.shares),
        }

    def _told(self, seq: int, kind: str, at: float, body: Mapping[str, Any]) -> ExperimentRecord:
        """It with one more event."""
        if kind == "shares":
            return replace(self, token=seq, steps=(*self.steps, (at, body["shares"])), lost=body["lost"])
        if kind == "ended":
            told = {name: body[name] for name in ("verdict", "winner", "reason", "serving", "lost")}
            return replace(self, token=seq, ended_at=at, ended_seq=seq, **told)
        return replace(self, token=seq, retired_at=at)


def experiments(connection: Connection) -> list[ExperimentRecord]:
    """All of them, oldest first."""
    found: dict[str, ExperimentRecord] = {}
    rows = connection.execute("SELECT seq, experiment, kind, at, actor, body FROM experiments ORDER BY seq").fetchall()
    for seq, name, kind, at, actor, text in rows:
        body = json.loads(text)
        if kind == "started":
            arms = tuple(body["arms"])
            found[name] = ExperimentRecord(name, seq, seq, at, actor, body["settings"], arms, ((at, body["shares"]),))
        else:
            found[name] = found[name]._told(seq, kind, at, body)
    return list(found.values())


def versions_in_experiments(connection: Connection, strategy: str) -> set[int | None]:
    """A strategy's fitted versions that an arm needs which serves, or may."""
    needed = [arm for one in experiments(connection) if one.open or one.keeps_serving for arm in one.arms]
    return {arm["versions"].get(strategy) for arm in needed}


def experiments_token(connection: Connection) -> int:
    """Position of the newest event: it changes whenever anything is said of any of them."""
    token: int = connection.execute("SELECT coalesce(max(seq), 0) FROM experiments").fetchone()[0]
    return token


def start_experiment(
    writer: LogWriter,
    name: str,
    *,
    settings: Mapping[str, Any],
    arms: Sequence[Mapping[str, Any]],
    shares: Mapping[str, float],
    actor: str | None,
    at: float,
    retires: str | None = None,
) -> int:
    """Log that an experiment begins, and return its position.

    Args:
        writer: The log.
        name: Its name, which no other has had.
        settings: How it is run and decided.
        arms: The challengers.
        shares: What each arm gets; the champion alone where no challenger is served.
        actor: Who says so.
        at: When, in seconds since the epoch.
        retires: An experiment whose winning chain is configured by now, so that it serves by itself.

    Raises:
        ExperimentError: if the name was used, or another experiment serves challengers.
    """

    def work(connection: Connection, seq: int) -> int:
        known = experiments(connection)
        if name in {one.name for one in known}:
            raise ExperimentError(f"there was an experiment {name!r} already; decisions in the log carry its name")
        running = [one.name for one in known if one.open and one.serves]
        if running and len(shares) > 1:
            raise ExperimentError(
                f"experiment {running[0]!r} serves challengers: two at once would disturb each other; stop it first, "
                "or let the new ones be shadows"
            )
        if retires is not None:
            _write(connection, seq, retires, "retired", at, actor, {"reason": "its chain is configured"})
            seq += 1
        _write(connection, seq, name, "started", at, actor, {"settings": settings, "arms": arms, "shares": shares})
        return seq

    return writer.transact(work)


def alone(connection: Connection, name: str) -> None:
    """Make sure that a chain may serve all by the word of this experiment.

    Raises:
        ExperimentError: if another one serves challengers, who would be compared with another champion from there on,
            or lets its own winning chain serve.
    """
    for one in experiments(connection):
        if one.name != name and (one.keeps_serving or (one.open and one.serves)):
            does = "serves challengers" if one.open else "lets the chain serve that won it"
            raise ExperimentError(f"experiment {one.name!r} {does}: stop it first, then another chain can serve all")


def tell(
    writer: LogWriter,
    record: ExperimentRecord,
    kind: Kind,
    body: Mapping[str, Any],
    at: float,
    *,
    actor: str | None = None,
    beside: Callable[[Connection, int], object] = lambda connection, seq: None,
) -> bool:
    """Log what becomes of an experiment, unless something else was said of it since; whether it was.

    Args:
        writer: The log.
        record: What was known when that was decided.
        kind: What is said.
        body: Of ``shares``, the new ones and who has lost; of ``ended``, verdict, winner, reason, whether the winner
            serves, and who has lost.
        at: When, in seconds since the epoch.
        actor: Who says so.
        beside: What else is written in the same transaction, at that position.
    """

    def work(connection: Connection, seq: int) -> bool:
        known = {one.name: one for one in experiments(connection)}
        if known[record.name].token != record.token:
            return False
        _write(connection, seq, record.name, kind, at, actor, body)
        beside(connection, seq)
        return True

    return writer.transact(work)


def _write(
    connection: Connection,
    seq: int,
    name: str,
    kind: Kind,
    at: float,
    actor: str | None,
    body: Mapping[str, Any],
) -> None:
    query = "INSERT INTO experiments (seq, experiment, kind, at, actor, body) VALUES (?, ?, ?, ?, ?, ?)"
    connection.execute(query, (seq, name, kind, at, actor, json.dumps(body)))


# An experiment's arms are called NAME/ARM, and "0" is what follows "/".


def decisions_by_arm(connection: Connection, record: ExperimentRecord) -> dict[str, int]:
    """How many decisions each arm made in an experiment, shadows' among them."""
    query = "SELECT arm, count(*) FROM decisions WHERE seq > ? AND arm > ? || '/' AND arm < ? || '0' GROUP BY arm"
    rows = connection.execute(query, (record.seq, record.name, record.name)).fetchall()
    return {arm.partition("/")[2]: count for arm, count in rows}


_AGREEMENT = """
SELECT s.arm, avg(CASE WHEN s.favourite = d.favourite AND s.set_id = d.set_id THEN 1.0 ELSE 0.0 END)
FROM decisions s JOIN decisions d ON d.decision_id = s.parent_decision_id
WHERE s.seq > ? AND s.source = 'shadow' AND s.arm > ? || '/' AND s.arm < ? || '0' GROUP BY s.arm"""


def shadows_agreement(connection: Connection, record: ExperimentRecord) -> dict[str, float]:
    """How often each shadow's favourite was the one of what served, over the same agents; in [0, 1]."""
    rows = connection.execute(_AGREEMENT, (record.seq, record.name, record.name)).fetchall()
    return {arm.partition("/")[2]: share for arm, share in rows}


_CHALLENGERS = """
SELECT seq FROM decisions
WHERE seq IN (SELECT value FROM json_each(?)) AND instr(arm || '|', '/champion|') = 0"""


def challengers_decisions(connection: Connection, seqs: Sequence[int]) -> set[int]:
    """Those of the decisions that a challenger made."""
    return {seq for (seq,) in connection.execute(_CHALLENGERS, (json.dumps(list(seqs)),))}
