import gzip
import json
import time

import pytest

from router_sdk import Agent, Task
from router_sdk.errors import InvalidIdError, UnknownDecisionError
from router_sdk.records import Skipped
from router_sdk.store.agents import add_agents, catalog_version, read_agents, remove_agent
from router_sdk.store.events import dead_letters, sweep_pending
from router_sdk.store.identity import check_id, keyed_id, new_id


def test_a_decision_comes_back_as_it_was(log):
    task = Task(
        "hello",
        task_type="code",
        features={"mape": 12.3, "new": True, "kind": "x"},
        session_id="s",
        tenant="t",
        requires={"sql"},
        history=("a", "b"),
        max_cost_usd=0.5,
        metadata={"deep": [1, {"x": None}]},
    )
    made = log.decision(task=task)
    made.skipped = (Skipped("first", "abstained"),)
    made.explored = True
    log.decide(made)
    found = log.store.reader.known_decision(made.decision_id)
    assert found.task == task
    assert found.to_dict() == {**made.to_dict(), "scores": None}
    assert found.durable


def test_what_the_log_does_not_hold_is_an_error(log):
    assert log.store.reader.decision(new_id()) is None
    with pytest.raises(UnknownDecisionError):
        log.store.reader.known_decision(new_id())


@pytest.mark.parametrize(
    "value", ["", "x", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "g", None, 5, b"0" * 32, "0" * 32 + "\n"]
)
def test_a_malformed_id_is_named(value):
    with pytest.raises(InvalidIdError, match="decision_id"):
        check_id(value)


def test_ids_sort_by_time_and_never_meet():
    assert new_id(1.0) < new_id(1.5) < new_id(2.0) < new_id()
    assert len({new_id(1.0) for _ in range(10_000)}) == 10_000
    assert check_id(new_id())
    key = b"secret"
    assert len({check_id(keyed_id(key, *of)) for of in (("k", None), ("k", "t"), ("kt", None), ("k", "u"))}) == 4


def test_the_catalog_is_a_history_of_which_the_newest_row_counts(log):
    def catalog():
        return {name: status for name, (status, _) in log.store.reader.query(read_agents).items()}

    agents = [Agent("b"), Agent("a", capabilities={"x", "y"})]
    add_agents(log.writer, agents)
    version = log.store.reader.query(catalog_version)
    add_agents(log.writer, [Agent("a", capabilities=["y", "x"])])
    assert log.store.reader.query(catalog_version) == version
    assert list(catalog().items()) == [("b", "active"), ("a", "active")]
    remove_agent(log.writer, agents[0])
    assert catalog()["b"] == "removed"
    add_agents(log.writer, [Agent("b", description="again")])
    assert log.store.reader.query(read_agents)["b"] == ("active", Agent("b", description="again"))
    assert list(catalog()) == ["b", "a"]


def test_an_outcome_whose_decision_never_comes_is_dead_lettered_once_and_still_counts(log):
    late = log.decision()
    log.tell(late, quality=0.5)
    log.tell(log.decide(), quality=0.5)
    assert log.store.reader.counts()["pending"] == 1
    assert sweep_pending(log.writer, 60.0) == 0
    assert [sweep_pending(log.writer, -1.0), sweep_pending(log.writer, -1.0)] == [1, 0]
    (letter,) = log.store.reader.query(lambda connection: dead_letters(connection, 10))
    assert letter["decision_id"] == late.decision_id
    log.decide(late)
    assert len(log.lessons()) == 2


def test_the_newest_examples_leave_out_what_has_no_outcome(log):
    first, second = log.decide(), log.decide()
    log.tell(first, quality=0.1)
    log.tell(first, quality=0.9)
    seqs = [seq for (seq,) in log.query("SELECT seq FROM decisions")]
    assert [(e.decision_id, e.revision, e.reward) for e in log.tail.newest(seqs)] == [(first.decision_id, 1, 0.9)]
    assert second.durable


def test_archiving_moves_what_was_learnt_and_only_that(log):
    now = time.time()
    old, unlearnt, new = log.decide(at=now - 100), log.decide(at=now - 100), log.decide(at=now)
    log.tell(old, quality=0.5, response="said")
    cursor = log.tail.head()
    log.tell(unlearnt, quality=0.5)
    log.tell(new, quality=0.5)
    moved, path = log.archive(now - 50, cursor)
    assert moved == 1
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert {row["table"] for row in rows} == {"decisions", "outcomes", "payloads"}
    assert {row["decision_id"] for row in rows if "decision_id" in row} == {old.decision_id}
    left = {decision_id for (decision_id,) in log.query("SELECT decision_id FROM decisions")}
    assert left == {unlearnt.decision_id, new.decision_id}
    assert len(log.lessons()) == 2
    head = log.tail.head()
    log.tell(new, quality=0.7)
    assert log.tail.head() == head + 1
    assert log.archive(0.0, cursor) == (0, None)


def test_the_sequence_goes_on_after_everything_was_archived(log, open_log):
    log.tell(log.decide(at=1.0), quality=0.5)
    head = log.tail.head()
    log.archive(2.0, head)
    other = open_log()
    other.tell(other.decide(), quality=0.5)
    assert [seq for (seq,) in log.query("SELECT seq FROM outcomes")] == [head + 2]
