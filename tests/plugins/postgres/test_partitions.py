"""A log in partitions: they are made in time, old ones go whole, and nothing else of the log is another one for it."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

pytest.importorskip("psycopg")

import psycopg
from router_sdk_postgres import partitions

from router_sdk import Outcome, Router, Task
from router_sdk.store.coordination import note_consumers, pending_intents
from router_sdk.store.retention import begin_archive, go_on_archiving
from router_sdk.store.rows import DECISION_COLUMNS, Entry, decision_row
from router_sdk.store.stretches import StillReadError
from router_sdk.testing import StoreTrial

pytestmark = pytest.mark.services

FEWEST = 8
TABLES = {"decisions": "seq", "outcomes": "seq", "payloads": "seq", "vectors": "seq, encoder"}


@pytest.fixture
def url(store_url, monkeypatch):
    """A log whose partitions are short."""
    monkeypatch.setattr(partitions, "FEWEST", FEWEST)
    monkeypatch.setattr(partitions, "_STEEPEST", 1)
    return f"{store_url}&partition_days=1"


@pytest.fixture
def trial(url, tmp_path):
    with StoreTrial(url, tmp_path) as made:
        yield made


def extend(trial):
    trial.store.writer.transact(lambda connection, seq: connection.stretches().extend(seq))


def cuts(trial):
    return trial.ask(lambda connection: connection.stretches().cuts())


def archive(trial, before, upto, *rest_before):
    number = begin_archive(trial.store.writer, before, upto, *rest_before)
    (intent,) = (one for one in trial.ask(pending_intents) if one.number == number)
    return go_on_archiving(trial.store.writer, trial.store.engine, intent)


def lines(file):
    with gzip.open(file, "rt") as found:
        return sorted(found)


def dump(trial):
    return {name: trial.rows(f"SELECT * FROM {name} ORDER BY {key}") for name, key in TABLES.items()}


def test_there_is_a_partition_ahead_and_where_nobody_looked_it_is_made_later(trial):
    assert cuts(trial) == [FEWEST - 1]
    decisions = []
    for number in range(3 * FEWEST):
        decisions.append(trial.decide())
        extend(trial)
        assert cuts(trial)[-1] > number
    before = cuts(trial)
    assert len(before) > 3
    decisions += [trial.decide() for _ in range(5 * FEWEST)]
    extend(trial)
    assert cuts(trial)[: len(before)] == before
    assert cuts(trial)[-1] > len(decisions)
    assert [found for (found,) in trial.rows("SELECT decision_id FROM decisions ORDER BY seq")] == [
        one.decision_id for one in decisions
    ]
    trial.tell(decisions[0], quality=0.5)
    tail = trial.tail()
    assert [one.decision_id for one in tail.read(0, tail.head(), 1_000).examples] == [decisions[0].decision_id]
    tail.close()


def test_an_id_is_one_decisions_in_all_partitions(trial):
    first = trial.decide()
    for _ in range(2 * FEWEST):
        trial.decide()
        extend(trial)
    first.durable = False
    trial.store.writer.append([Entry(decision=first)])  # who looks finds it

    def again(connection, seq):  # and who does not is refused
        connection.insert_rows("decisions", DECISION_COLUMNS, [decision_row(seq, first)])

    with pytest.raises(psycopg.errors.UniqueViolation, match="a decision of that id is in the log"):
        trial.store.writer.transact(again)
    assert trial.rows("SELECT count(*) FROM decisions WHERE decision_id = ?", first.decision_id) == [(1,)]


@pytest.mark.parametrize("seed", range(4))
def test_what_stays_and_what_is_archived_is_what_a_file_would_keep(trial, tmp_path, seed):
    """The same log is archived twice in both engines; what is said between reading and dropping counts as well."""
    chance, now = random.Random(seed), time.time()
    with StoreTrial(str(tmp_path / "other.db"), tmp_path) as other:
        decided = []
        for number in range(60):
            if chance.random() < 0.5 or not decided:
                at = now - 1_000.0 if number < 40 or chance.random() < 0.2 else now
                session = f"s{number % 3}"
                decided.append(trial.decision(Task(f"text {number}", session_id=session), at=at))
                entry = None
            else:
                recent = decided[-4:] if chance.random() < 0.9 else decided
                told = chance.choice(recent) if chance.random() < 0.9 else f"{number:032x}"
                entry = trial.entry(told, quality=chance.random(), response="said")
            for one in (trial, other):
                decided[-1].durable = False
                one.store.writer.append([entry or Entry(decision=decided[-1])])
            extend(trial)
        assert dump(trial) == dump(other)
        for upto, rest in ((35, now - 2_000.0), (60, now - 500.0)):
            # Of the first, rows that go in no whole partition stay; a file has only such.
            whole = max(cut for cut in cuts(trial) if cut <= upto)
            moved, file = archive(trial, now - 500.0, upto, rest)
            moved_there, file_there = archive(other, now - 500.0, upto if rest > now - 1_000.0 else whole)
            if upto == 60:
                assert dump(trial) == dump(other)
                assert moved > 0
            assert cuts(trial)[0] >= whole
            if moved == moved_there:
                assert lines(file) == lines(file_there)
