"""What stands in a store beside decisions and outcomes: agents, versions, intents, letters, keys, states."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from router_sdk.errors import ChampionMovedError, ExperimentError, InvalidInputError
from router_sdk.records import Agent, Task
from router_sdk.store.access import AccessKeys
from router_sdk.store.agents import add_agents, catalog_version, read_agents, remove_agent
from router_sdk.store.coordination import (
    add_intent,
    continue_intent,
    finish_intent,
    low_water,
    note_consumers,
    note_position,
    pending_intents,
)
from router_sdk.store.datasets import DatasetRow, read_dataset
from router_sdk.store.erasure import empty_write_ahead_log, erase_session, forgotten_among
from router_sdk.store.events import (
    LearningEvent,
    dead_letters,
    last_fit,
    learning_events,
    sweep_pending,
    write_dead_letters,
    write_learning_events,
)
from router_sdk.store.experiments import experiments, start_experiment, tell
from router_sdk.store.registry import add_version, champion, champions, prune_versions, set_champion, versions
from router_sdk.store.retention import archived_upto, begin_archive, go_on_archiving
from router_sdk.store.streams import (
    positions_note,
    read_due,
    read_positions,
    status_note,
    stream_statuses,
    tidy_statuses,
    write_notes,
    write_refused_messages,
)
from router_sdk.testing.store_trial import StoreTrial, require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def agents_come_and_go(trial: StoreTrial) -> None:
    """As a history."""
    store, first, second = trial.store, Agent("first", cost_usd=0.5), Agent("second")
    add_agents(store.writer, [first, second])
    before = trial.ask(catalog_version)
    add_agents(store.writer, [first, second])
    require(trial.ask(catalog_version) == before, "what is there is added once more")
    remove_agent(store.writer, first)
    found = trial.ask(read_agents)
    require(
        {name: status for name, (status, _) in found.items()} == {"first": "removed", "second": "active"}, f"{found}"
    )
    require(found["first"][1] == first, "a record came back otherwise")


def a_champion_moves_for_who_knew_it_alone(trial: StoreTrial) -> None:
    """A later token fences off an earlier one."""
    writer = trial.store.writer
    dataset = DatasetRow(4, "hash", {"examples": 2}, {}, (1, 3), (2,))
    for number in (1, 2):
        made = add_version(writer, "s", **_version(number, dataset=dataset if number == 1 else None))
        require(made is not None and made[0].version == number, f"version {number} is {made}")
    token = set_champion(writer, "s", 1, "promoted", pinned=False, after=0)
    try:
        set_champion(writer, "s", 2, "promoted", pinned=False, after=0)
    except ChampionMovedError:
        pass
    else:
        raise AssertionError("who knew an earlier champion moved it")
    set_champion(writer, "s", 2, "promoted", pinned=True, after=token)
    require([one.version for one in trial.ask(lambda connection: champions(connection, "s"))] == [2, 1], "the history")
    require(trial.ask(lambda connection: champion(connection, "s")).pinned, "it is not pinned")
    found = trial.ask(lambda connection: versions(connection, "s"))
    require([one.status for one in found] == ["deprecated", "active"], f"they are {[one.status for one in found]}")
    require(dict(found[0].metrics) == {"loss": 0.1}, "figures came back otherwise")
    read = trial.ask(lambda connection: read_dataset(connection, "s", 1))
    require(read is not None and (read.examples, read.held_out) == ([1, 3], [2]), f"the data set is {read}")
    require(prune_versions(writer, "s", 0, None) == [], "what a rollback would go to is given up")


def _version(number: int, **more: Any) -> dict[str, Any]:
    told = {
        "kind": "fit",
        "parent": None,
        "upto": 4,
        "samples": 2,
        "passed": True,
        "reason": "r",
        "folder": f"f{number}",
    }
    figures = {"settings": {"x": 1}, "metrics": {"loss": 0.1}, "fine_tuned": False, "data_hash": "hash"}
    return {**told, **figures, "unless_forgotten_after": 0, **more}


def what_is_begun_is_finished_by_somebody(trial: StoreTrial) -> None:
    """Intents and consumers."""
    writer = trial.store.writer
    numbers = [writer.transact(lambda connection, seq: add_intent(connection, "archive", {"at": 0})) for _ in range(2)]
    writer.transact(lambda connection, seq: continue_intent(connection, numbers[0], {"at": 5}))
    require([one.body for one in trial.ask(pending_intents)] == [{"at": 5}, {"at": 0}], "how far it is was not noted")
    writer.transact(lambda connection, seq: finish_intent(connection, numbers[0]))
    require([one.number for one in trial.ask(pending_intents)] == numbers[1:], "what is done is still begun")
    writer.transact(lambda connection, seq: note_consumers(connection, "here", {"s": 9}))
    writer.transact(lambda connection, seq: note_consumers(connection, "there", {"s": 3, "t": 7}))
    require(trial.ask(lambda connection: low_water(connection, "here")) == 3, "who reads behind is not known")
    for seq in (3, 2):
        writer.transact(lambda connection, _, seq=seq: note_position(connection, "p", seq))  # type: ignore[misc]
    require(trial.rows("SELECT seq FROM positions WHERE name = 'p'") == [(2,)], "a position")


def a_session_is_erased_and_its_numbers_stay(trial: StoreTrial) -> None:
    """For its tenant alone; what is said later of it is not kept either."""
    ours = trial.decide(Task("secret words", session_id="s"))
    theirs = trial.decide(Task("other words", session_id="s", tenant="other"))
    for decision in (ours, theirs):
        trial.tell(decision, quality=0.5, response="secret answer")
    intent, erasure = erase_session(trial.store.writer, "s", trial.store.privacy)
    empty_write_ahead_log(trial.store.writer)
    trial.store.writer.transact(lambda connection, seq: finish_intent(connection, intent))
    require(erasure.decisions == (ours.decision_id,), f"erased were {erasure.decisions}")
    trial.tell(ours, quality=0.6, response="secret afterthought")
    seqs = "SELECT seq FROM decisions WHERE decision_id = ?1 UNION ALL SELECT seq FROM outcomes WHERE decision_id = ?1"
    query = f"SELECT text, response, session_id FROM payloads WHERE seq IN ({seqs})"
    left = [value for row in trial.rows(query, ours.decision_id) for value in row if value is not None]
    require(not left, f"left are {left}")
    require(len(trial.rows(query, theirs.decision_id)) == 2, "another tenant's session was erased")
    require(trial.rows("SELECT count(*) FROM outcomes") == [(3,)], "numbers are gone")
    known = trial.ask(lambda connection: forgotten_among(connection, [ours.decision_id, theirs.decision_id]))
    require(known == {ours.decision_id}, "it is not known what was forgotten")


def old_decisions_leave_the_log(trial: StoreTrial) -> None:
    """With their outcomes, to a file, up to where every reader has come; positions go on."""
    old = [trial.decide(at=time.time() - 1_000.0) for _ in range(3)]
    for decision in old:
        trial.tell(decision, quality=0.5, response="r")
    trial.decide()
    number = begin_archive(trial.store.writer, time.time() - 500.0, 6)
    (intent,) = (one for one in trial.ask(pending_intents) if one.number == number)
    moved, file = go_on_archiving(trial.store.writer, trial.store.engine, intent)
    require(moved == 3 and file is not None and file.exists(), f"{moved} were moved, to {file}")
    require(trial.rows("SELECT seq FROM decisions") == [(7,)], "they are still there")
    require(trial.rows("SELECT count(*) FROM payloads") == [(1,)], "their payloads are still there")
    require(trial.ask(archived_upto) == 6, f"it is known up to {trial.ask(archived_upto)}")
    trial.decide()
    require(trial.rows("SELECT max(seq) FROM decisions") == [(8,)], "a position was given twice")
    require(trial.ask(lambda connection: connection.size()) > 0, "the log takes no space")


def what_is_refused_is_kept_with_its_reason(trial: StoreTrial) -> None:
    """Dead letters, and outcomes whose decision does not come."""
    write_dead_letters(trial.store.writer, [("line", None, "no JSON", '{"a": "\x00"}'), ("line", "id", "why", None)])
    trial.tell("f" * 32, quality=0.5)
    require(sweep_pending(trial.store.writer, -1.0) == 1, "an outcome without a decision was not found")
    require(sweep_pending(trial.store.writer, -1.0) == 0, "it was found twice")
    found = trial.ask(lambda connection: dead_letters(connection, 10))
    require([one["kind"] for one in found] == ["outcome", "line", "line"], f"{found}")
    require(found[2]["body"] == '{"a": "\x00"}', "a body came back otherwise")


def what_was_learnt_and_when_is_told(trial: StoreTrial) -> None:
    """Learning events."""
    fit = LearningEvent("s", "fit", 5, 3, 1.5, 5, before=0.25, after=0.5, model_version=1, fine_tuned=True)
    write_learning_events(trial.store.writer, [LearningEvent("s", "learn", 5, 3, 1.5, 5), fit])
    newest, oldest = trial.ask(lambda connection: learning_events(connection, 5))
    require((newest["improvement"], newest["fine_tuned"], oldest["type"]) == (0.25, 1, "learn"), f"{newest}, {oldest}")
    found, _ = trial.ask(lambda connection: last_fit(connection, "s"))
    require(found.cursor == 3 and found.number == 2, f"the last fit is {found}")


def keys_open_until_they_are_revoked(trial: StoreTrial) -> None:
    """In every process, and by their hash alone."""
    keys = AccessKeys(trial.store.writer, trial.store.reader)
    other = trial.open()
    elsewhere = AccessKeys(other.writer, other.reader)
    made, key = keys.create("who", tenant="t", per_minute=5)
    found = elsewhere.find(key)
    require(found == made, f"elsewhere it is {found}")
    require(key not in str(trial.rows("SELECT hash, name, key_id FROM access_keys")), "the key itself is stored")
    elsewhere.revoke(made.key_id)
    keys.refresh()
    require(keys.find(key) is None, "it opens after it was revoked")
    try:
        keys.revoke(made.key_id)
    except InvalidInputError:
        return
    raise AssertionError("it was revoked twice")


def of_all_who_conclude_an_experiment_one_does(trial: StoreTrial) -> None:
    """Whoever knew less is told so."""
    writer = trial.store.writer
    shares = {"champion": 0.5, "b": 0.5}
    arm: dict[str, Any] = {"name": "b", "version": None, "versions": {}}
    start_experiment(writer, "one", settings={}, arms=[arm], shares=shares, actor=None, at=1.0)
    try:
        start_experiment(writer, "two", settings={}, arms=[arm], shares=shares, actor=None, at=2.0)
    except ExperimentError:
        pass
    else:
        raise AssertionError("two experiments serve challengers at once")
    (known,) = trial.ask(experiments)
    body = {"verdict": "won", "winner": "b", "reason": "r", "serving": False, "lost": {}}
    said = [tell(writer, known, "ended", body, 3.0) for _ in range(2)]
    require(said == [True, False], f"it was concluded {said}")
    require(trial.ask(experiments)[0].winner == "b", "the winner was lost")


def states_are_saved_and_found_again(trial: StoreTrial) -> None:
    """Snapshots: the newest usable one, by what it depends on, by another process too."""
    held: list[str] = []

    def fill(text: str) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            (folder / "state").write_text(text)

        return write

    def load(folder: Path) -> None:
        held.append((folder / "state").read_text())

    for cursor in (3, 5, 9):
        trial.store.snapshots.save("s", "mark", cursor, fill(f"up to {cursor}"))
    other = trial.open()
    require(other.snapshots.restore("s", lambda cursor: "mark", load) == 9 and held == ["up to 9"], f"found {held}")
    require(other.snapshots.restore("s", lambda cursor: "another", load) == 0, "one that depends on something else")
    older = other.snapshots.restore("s", lambda cursor: "mark", load, oldest=True)
    require(older == 3, f"the oldest stands at {older}")
    other.snapshots.discard(other.snapshots.before(9))
    require(len(trial.rows("SELECT folder FROM snapshots")) == 1, "they were not discarded")


def what_one_machine_saves_another_finds(trial: StoreTrial) -> None:
    """Where the engine serves many machines: a machine that has no copy of a folder gets one."""
    if trial.store.engine.shelf() is None:
        return
    large = os.urandom(3_000_000)

    def fill(folder: Path) -> None:
        (folder / "deeper").mkdir()
        (folder / "deeper" / "weights").write_bytes(large)
        (folder / "empty").touch()

    held: list[bytes] = []

    def load(folder: Path) -> None:
        held.append((folder / "deeper" / "weights").read_bytes() + (folder / "empty").read_bytes())

    trial.store.snapshots.save("s", "mark", 3, fill)
    shutil.rmtree(trial.store.folder / "snapshots")
    require(trial.store.snapshots.restore("s", lambda cursor: "mark", load) == 3, "it was not found")
    require(held == [large], "it came back otherwise")
    trial.store.snapshots.discard(trial.store.snapshots.before(9))
    shutil.rmtree(trial.store.folder / "snapshots")
    shelf = trial.store.engine.shelf()
    require(shelf is not None and not shelf.fetch("snapshots", "s-3", trial.folder / "none"), "what was never there")


def how_far_streams_are_is_noted(trial: StoreTrial) -> None:
    """By stream and partition; what processes say of them; what is due to be sent, and what was refused."""
    writer = trial.store.writer
    write_notes(writer, [*positions_note("a", {"0": 3, "1": 5}), *positions_note("ab", {"0": 7})])
    write_notes(writer, positions_note("a", {"1": 6}))
    found = trial.ask(lambda connection: read_positions(connection, "a"))
    require(found == {"0": 3, "1": 6}, f"the stream is read up to {found}")
    write_notes(writer, [*status_note("a", "here", {"read": 2}), *status_note("b", "here", {"read": 1})])
    told = [(one["stream"], one["process"], one["read"]) for one in trial.ask(stream_statuses)]
    require(told == [("a", "here", 2), ("b", "here", 1)], f"said was {told}")
    tidy_statuses(writer)
    require(len(trial.ask(stream_statuses)) == 2, "what was said just now was dropped")
    for _ in range(2):
        write_refused_messages(writer, [("stream", None, "no JSON", "{")])
    require(len(trial.ask(lambda connection: dead_letters(connection, 10))) == 1, "a message was refused twice")
    decision = trial.decide()
    trial.tell(decision, quality=0.5)
    due = trial.ask(lambda connection: read_due(connection, 0, 100))
    require((due.upto, len(due.decisions), due.forgotten) == (2, 1, []), f"due is {due}")


def its_status_can_be_told(trial: StoreTrial) -> None:
    """What ``Router.status`` says of the log."""
    trial.tell(trial.decide(), quality=0.5)
    counted = trial.store.reader.counts()
    require((counted["decisions"], counted["outcomes"]) == (1, 1), f"counted are {counted}")
    trial.ask(stream_statuses)


RECORD_CHECKS = (
    agents_come_and_go,
    a_champion_moves_for_who_knew_it_alone,
    what_is_begun_is_finished_by_somebody,
    a_session_is_erased_and_its_numbers_stay,
    old_decisions_leave_the_log,
    what_is_refused_is_kept_with_its_reason,
    what_was_learnt_and_when_is_told,
    keys_open_until_they_are_revoked,
    of_all_who_conclude_an_experiment_one_does,
    states_are_saved_and_found_again,
    what_one_machine_saves_another_finds,
    how_far_streams_are_is_noted,
    its_status_can_be_told,
)
