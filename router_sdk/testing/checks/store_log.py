"""What the log of a store promises to one process: values, order, groups, joins, corrections."""

from __future__ import annotations

import json
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS, InvalidOutcomeError, StoreUnavailableError, TooManyOutcomesError
from router_sdk.records import Task
from router_sdk.rewards import OutcomeReward
from router_sdk.store.copying import read_decisions
from router_sdk.store.quarantine import add_quarantine, lift_quarantine, quarantines
from router_sdk.store.rows import MOST_OUTCOMES, Entry
from router_sdk.store.transaction import HEAD
from router_sdk.testing.store_trial import StoreTrial, require

if TYPE_CHECKING:
    from router_sdk.engine import Connection

CALLERS, EACH = 16, 20
ODD_TEXTS = (
    "a\x00b",
    "\ufdd0 \ufdd00",
    "'; DROP TABLE decisions; --",
    '\\ " $1 ? %s',
    "\U0001f600 é é",
    "\uffff\u2028",
)
ODD_NUMBERS = (0.1 + 0.2, 5e-324, 9.999999999999999e29, -0.0, 2.0**53 + 2, 1 / 3)


def values_come_back_to_the_last_bit(trial: StoreTrial) -> None:
    """Texts of any characters, numbers of any size."""
    for text in ODD_TEXTS:
        features = {f"f{place}": number for place, number in enumerate(ODD_NUMBERS)}
        decision = trial.decide(Task(text, features=features, metadata={"said": text}))
        trial.tell(decision, response=text, metrics={"m": ODD_NUMBERS[0]}, tokens=2**53, latency_ms=ODD_NUMBERS[0])
        (place,) = trial.rows("SELECT seq FROM decisions WHERE decision_id = ?", decision.decision_id)
        ((_, found, parts),) = trial.ask(lambda connection, place=place: read_decisions(connection, place))  # type: ignore[misc]
        require(
            (found.task.text, dict(found.task.features)) == (text, features), f"{text!r} came back as {found.task!r}"
        )
        said = parts[0].outcome
        told = (said.response, said.metrics, said.tokens, said.latency_ms)
        require(told == (text, {"m": ODD_NUMBERS[0]}, 2**53, ODD_NUMBERS[0]), f"an outcome came back as {told!r}")
        require(list(found.probabilities.values()) == [0.75, 0.25], "probabilities came back otherwise")


def a_group_is_committed_whole_and_in_order(trial: StoreTrial) -> None:
    """Many callers at once: all is there, each position once, without gaps, and each caller's in its order."""
    decision = trial.decide()
    decisions = [trial.decide() for _ in range(CALLERS)]
    faults: list[BaseException] = []

    def record(caller: int) -> None:
        try:
            for number in range(EACH):
                trial.tell(decisions[caller], f"{caller}-{number}", quality=number / EACH)
        except FAULTS as error:
            faults.append(error)

    threads = [threading.Thread(target=record, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require(not faults, f"{faults[:1]}")
    rows = trial.rows("SELECT seq, outcome_id FROM outcomes ORDER BY seq")
    begin = 2 + CALLERS
    require([seq for seq, _ in rows] == list(range(begin, begin + CALLERS * EACH)), "positions have gaps")
    for caller in range(CALLERS):
        own = [said for _, said in rows if said.split("-")[0] == str(caller)]
        require(own == [f"{caller}-{number}" for number in range(EACH)], f"caller {caller}'s order was changed")
    (head,) = trial.ask(lambda connection: connection.execute(HEAD).fetchone())
    require(head == begin + CALLERS * EACH - 1, f"the log ends at {head}")
    require(decision.durable, "a decision does not know that it is on disk")


def of_a_group_with_a_bad_row_the_others_are_kept(trial: StoreTrial) -> None:
    """And of a transaction that fails nothing is there."""
    shadow, good = trial.decision(), trial.decide()
    shadow.source = "shadow"
    trial.store.writer.append([Entry(decision=shadow)])
    try:
        trial.tell(shadow, success=True)
    except InvalidOutcomeError as error:
        require("shadow" in str(error), f"the reason is not said: {error}")
    else:
        raise AssertionError("an outcome of a shadow was taken")

    def fails(connection: Connection, seq: int) -> None:
        connection.execute("INSERT INTO positions (name, seq) VALUES ('x', 7)")
        raise KeyError("on purpose")

    with suppress(KeyError):
        trial.store.writer.transact(fails)
    trial.tell(good, success=True)
    require(trial.rows("SELECT count(*) FROM positions")[0][0] == 0, "what failed is half there")
    require(trial.rows("SELECT seq FROM outcomes") == [(3,)], "what was good is not there, or elsewhere")


def a_decision_takes_so_many_outcomes_and_no_more(trial: StoreTrial) -> None:
    """The limit holds within a group and beyond it."""
    decision = trial.decide()
    most = [trial.entry(decision, quality=0.5) for _ in range(MOST_OUTCOMES)]
    trial.store.append_all(most)
    try:
        trial.tell(decision, quality=0.6)
    except TooManyOutcomesError:
        return
    raise AssertionError(f"{MOST_OUTCOMES + 1} outcomes of one decision were taken")


def a_delivery_is_stored_once(trial: StoreTrial) -> None:
    """By its id, for each tenant by itself, and before its decision too."""
    other = trial.open()
    decision = trial.decide()
    for store in (trial.store, other, trial.store):
        store.writer.append([trial.entry(decision, "mine", quality=0.1)])
    trial.store.writer.append([trial.entry(decision, "twice", quality=0.2)] * 2)
    theirs = trial.decide(Task("x", tenant="other"))
    trial.tell(theirs, "mine", quality=0.3)
    found = trial.rows("SELECT outcome_id, quality FROM outcomes ORDER BY seq")
    require(found == [("mine", 0.1), ("twice", 0.2), ("mine", 0.3)], f"stored were {found}")


def parts_are_joined_and_corrected_from_any_cursor(trial: StoreTrial) -> None:
    """Also an outcome that came before its decision; and an agent that was added afresh."""
    late, early = trial.decision(), trial.decide()
    trial.tell(late.decision_id, quality=0.2)
    trial.tell(early, quality=0.4)
    trial.store.writer.append([Entry(decision=late)])
    trial.tell(late, quality=0.9)
    trial.tell(early, success=False)
    with closing(trial.tail()) as tail:
        head = tail.head()
        whole = [(one.decision_id, one.seq, one.revision, one.reward) for one in tail.read(0, head, 1_000).examples]
    require(len(whole) == 4, f"{len(whole)} revisions were read of 4")
    require([seq for _, seq, _, _ in whole] == sorted(seq for _, seq, _, _ in whole), "they are out of order")
    for piece in (1, 2, 3):
        with closing(trial.tail()) as tail:
            cursor, found = 0, []
            while cursor < head:
                batch = tail.read(cursor, head, piece)
                found += [(one.decision_id, one.seq, one.revision, one.reward) for one in batch.examples]
                cursor = batch.upto
        require(found == whole, f"in pieces of {piece} something else is read")


def many_rows_are_read_as_columns_and_one_by_one_alike(trial: StoreTrial) -> None:
    """What replay reads is what was recorded."""
    decisions = [trial.decision(Task(task_type=f"type-{number % 3}")) for number in range(400)]
    trial.store.append_all([Entry(decision=one) for one in decisions])
    trial.store.append_all(
        [trial.entry(one, quality=number / 400, latency_ms=1.5) for number, one in enumerate(decisions)]
    )
    with closing(trial.tail()) as tail:
        head = tail.head()
        columns = tail.read(0, head, 10_000).examples
        single = [example for cursor in range(400, head) for example in tail.read(cursor, head, 1).examples]
    told = [
        [(one.decision_id, one.seq, one.reward, one.at, one.task_type) for one in found] for found in (columns, single)
    ]
    require(len(columns) == 400 and told[0] == told[1], "columns and rows differ")


def what_is_quarantined_teaches_nothing_until_that_is_lifted(trial: StoreTrial) -> None:
    """By events in the log."""
    decision = trial.decide()
    trial.tell(decision, quality=0.5)
    number = add_quarantine(trial.store.writer, None, 1, 2, "on purpose", None)
    with closing(trial.store.tail(OutcomeReward(), ((1, 2),))) as tail:
        require(not tail.read(0, tail.head(), 100).examples, "it is learnt all the same")
    lift_quarantine(trial.store.writer, number, "enough", "somebody")
    (found,) = trial.ask(quarantines)
    require(found.lifted_because == "enough", "it is not lifted")


def a_store_is_opened_again_as_it_was_left(trial: StoreTrial) -> None:
    """By writers, and by those who only look, who change nothing."""
    decision = trial.decide()
    trial.tell(decision, quality=0.25)
    before = trial.rows("SELECT name, value FROM meta ORDER BY name")
    again, looker = trial.open(), trial.open(read_only=True)
    for store in (again, looker):
        found = store.reader.query(lambda connection: connection.execute("SELECT quality FROM outcomes").fetchall())
        require(found == [(0.25,)], "what was recorded is not there")
    require(trial.rows("SELECT name, value FROM meta ORDER BY name") == before, "its secrets were made anew")
    names = {name for name, _ in before}
    require({"store_id", "store_secret"} <= names, f"meta holds {sorted(names)} alone")
    try:
        looker.writer.append([trial.entry(decision, quality=0.5)])
    except StoreUnavailableError:
        return
    raise AssertionError("who only looks may write")


def lists_of_any_length_are_asked_for(trial: StoreTrial) -> None:
    """Positions and ids, as JSON arrays."""
    decisions = [trial.decide() for _ in range(5)]
    for seqs in ([], [3], [1, 2, 5, 2**62]):
        query = "SELECT seq FROM decisions WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
        found = [seq for (seq,) in trial.rows(query, json.dumps(seqs))]
        require(found == [seq for seq in seqs if seq <= 5], f"of {seqs} {found} were found")
    ids = [one.decision_id for one in decisions[:2]]
    query = "SELECT count(*) FROM decisions WHERE decision_id IN (SELECT value FROM json_each(?))"
    require(trial.rows(query, json.dumps([*ids, "no"])) == [(2,)], "ids are not found")


LOG_CHECKS = (
    values_come_back_to_the_last_bit,
    a_group_is_committed_whole_and_in_order,
    of_a_group_with_a_bad_row_the_others_are_kept,
    a_decision_takes_so_many_outcomes_and_no_more,
    a_delivery_is_stored_once,
    parts_are_joined_and_corrected_from_any_cursor,
    many_rows_are_read_as_columns_and_one_by_one_alike,
    what_is_quarantined_teaches_nothing_until_that_is_lifted,
    a_store_is_opened_again_as_it_was_left,
    lists_of_any_length_are_asked_for,
)
