"""What a version was trained on: positions packed and unpacked, and what the log still holds of them."""

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_sdk import Task
from router_sdk.errors import CorruptArtifactError
from router_sdk.store.datasets import (
    DatasetRow,
    dataset_counts,
    dataset_of_json,
    dataset_to_json,
    pack,
    presence,
    read_dataset,
    unpack,
)
from router_sdk.store.registry import add_version, prune_versions, versions

positions = st.lists(st.integers(0, 2**62), unique=True, max_size=200)


@given(positions)
@example([0])
@example([0, 127, 128, 2**14, 2**62])
def test_positions_come_back_in_order(given_positions):
    assert unpack(pack(given_positions)) == sorted(given_positions)


@given(st.sets(st.integers(1, 200_000), max_size=2_000))
def test_positions_take_about_a_byte_each_before_they_are_compressed(found):
    assert len(pack(found)) <= 2 * len(found) + 40


def test_the_decisions_of_a_log_take_little_room():
    """Every other position, as decisions and outcomes take turns."""
    assert len(pack(range(1, 100_001, 2))) < 200


@given(positions, st.integers(0, 10_000), st.integers(1, 255))
def test_a_byte_that_changed_is_found_or_gives_no_nonsense(given_positions, place, change):
    blob = bytearray(pack(given_positions))
    blob[place % len(blob)] ^= change
    try:
        found = unpack(bytes(blob))
    except CorruptArtifactError:
        return
    assert found == sorted(given_positions)  # the header's level alone says nothing


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no zlib",
        pack(range(100))[:-3],
        pack(range(100)) + b"more",
        zlib.compress(b"\x80"),  # a number that does not end
        zlib.compress(b"\x01\x00"),  # the same position twice
        zlib.compress(b"\xff" * 12 + b"\x01"),  # a position that no log reaches
    ],
)
def test_what_was_not_packed_is_refused(blob):
    with pytest.raises(CorruptArtifactError, match="data set"):
        unpack(blob)


def test_a_row_crosses_processes():
    row = DatasetRow(9, "ab", {"examples": 2, "agents": {"a": 2}}, {"balance": 2.0}, [1, 5], [7], 3.0)
    assert dataset_of_json(dataset_to_json(row)) == row
    with pytest.raises(CorruptArtifactError):
        dataset_of_json("{}")
    with pytest.raises(CorruptArtifactError):
        dataset_of_json("[")


def registered(log, examples, held_out=(), **fields):
    row = DatasetRow(log.tail.head(), "hash", {"examples": len(examples)}, {}, examples, held_out)
    told = {"kind": "fit", "parent": None, "upto": 0, "samples": 1, "passed": True, "reason": "", "folder": "f"}
    told |= {"settings": {}, "metrics": {}, "fine_tuned": False, "data_hash": "hash", "unless_forgotten_after": 2**60}
    added = add_version(log.writer, "words", dataset=row, **told | fields)
    return added[0]


def test_it_is_registered_with_its_version_or_not_at_all(log):
    log.decide(task=Task("one", session_id="s"))
    version = registered(log, [1])
    assert version.dataset == {"examples": 1}
    found = log.store.reader.query(lambda connection: read_dataset(connection, "words", 1))
    assert (found.counts, found.at) == ({"examples": 1}, version.at)
    log.forget("s")
    with pytest.raises(TypeError):
        registered(log, [1], unless_forgotten_after=0)  # there is no version
    assert log.query("SELECT count(*) FROM datasets") == [(1,)]
    assert log.store.reader.query(lambda connection: read_dataset(connection, "words", 2)) is None
    assert [one.dataset for one in log.store.reader.query(lambda c: versions(c, "words"))] == [{"examples": 1}]


def test_what_is_forgotten_or_archived_is_told_apart_from_what_is_there(log):
    for number in range(4):
        task = Task(f"text {number}", session_id=f"s{number}")
        log.tell(log.decide(task=task, at=1_000.0 + number), success=True)
    seqs = [seq for (seq,) in log.query("SELECT seq FROM decisions ORDER BY seq")]
    log.forget("s2")
    log.archive(1_000.5, log.tail.head())
    found = log.store.reader.query(lambda connection: presence(connection, seqs))
    assert found == ([seqs[1], seqs[3]], 1, 1)


def test_positions_of_versions_that_are_given_up_go_and_figures_stay(log):
    for number in range(4):
        registered(log, [number + 1], folder=f"folder-{number}")
    assert prune_versions(log.writer, "words", 2, None) == ["folder-1", "folder-0"]
    read = lambda number: log.store.reader.query(lambda c: read_dataset(c, "words", number))  # noqa: E731
    assert [(read(number).examples, read(number).counts) for number in (1, 2, 3)] == [
        (None, {"examples": 1}),
        (None, {"examples": 1}),
        ([3], {"examples": 1}),
    ]
    counts = log.store.reader.query(lambda connection: dataset_counts(connection, "words"))
    assert counts == {number: {"examples": 1} for number in (1, 2, 3, 4)}


def test_positions_that_were_spoilt_are_said(log):
    registered(log, [1, 2])
    log.writer.transact(lambda c, seq: c.execute("UPDATE datasets SET examples = x'00'") and None)
    with pytest.raises(CorruptArtifactError):
        log.store.reader.query(lambda connection: read_dataset(connection, "words", 1))
