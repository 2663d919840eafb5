"""What each version was trained on: positions of decisions, packed, beside counts and settings.

What the log holds of a decision stands in the log alone. So what is forgotten or archived later is gone from here, too,
and a position says no more than that there was something.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import CorruptArtifactError

if TYPE_CHECKING:
    from router_sdk.engine import Connection

DATASETS = """
ALTER TABLE model_versions RENAME TO model_versions_5;
CREATE TABLE model_versions (
    strategy TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('fit', 'pretrain', 'external', 'import')),
    parent INTEGER,
    upto INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    passed INTEGER NOT NULL CHECK (passed IN (0, 1)),
    reason TEXT NOT NULL,
    folder TEXT NOT NULL,
    settings TEXT NOT NULL,
    metrics TEXT NOT NULL,
    fine_tuned INTEGER CHECK (fine_tuned IN (0, 1)),
    data_hash TEXT,
    pruned_at REAL,
    PRIMARY KEY (strategy, version)
) STRICT, WITHOUT ROWID;
INSERT INTO model_versions SELECT * FROM model_versions_5;
DROP TABLE model_versions_5;

CREATE TABLE datasets (
    strategy TEXT NOT NULL,
    version INTEGER NOT NULL,
    at REAL NOT NULL,
    upto INTEGER NOT NULL,
    data_hash TEXT NOT NULL,
    counts TEXT NOT NULL,
    settings TEXT NOT NULL,
    examples BLOB,
    held_out BLOB,
    PRIMARY KEY (strategy, version)
) STRICT
"""
"""The sixth migration. Positions are NULL where the version's files were given up."""

_MOST_BYTES = 1 << 26
"""Longest that positions may be once they are unpacked."""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """What a version was trained on, as positions in a log.

    Attributes:
        upto: Position up to which the log was read.
        data_hash: Equal for equal examples and settings.
        counts: How many examples of which kind.
        settings: What of ``TrainingConfig`` was set, as JSON values.
        examples: Positions of the decisions that it was trained on; None where they were given up.
        held_out: Of those that judged it alone.
        at: When the version was registered, in seconds since the epoch.
    """

    upto: int
    data_hash: str
    counts: Mapping[str, Any]
    settings: Mapping[str, Any]
    examples: Sequence[int] | None = field(repr=False)
    held_out: Sequence[int] | None = field(repr=False)
    at: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values, but for the positions."""
        told = {name: getattr(self, name) for name in ("at", "upto", "data_hash")}
        return {**told, "counts": dict(self.counts), "settings": dict(self.settings)}


class Presence(NamedTuple):
    """What of some decisions the log still holds.

    Attributes:
        there: Positions of those it holds whole.
        forgotten: How many were forgotten.
        archived: How many are in an archive.
    """

    there: list[int]
    forgotten: int
    archived: int


# -- positions, packed


def pack(positions: Iterable[int]) -> bytes:
    """Positions as the differences between one and the next, seven bits to a byte (LEB128), compressed.

    Args:
        positions: Different numbers from 0, in any order.
    """
    packed, last = bytearray(), 0
    for position in sorted(set(positions)):
        gap, last = position - last, position
        while gap > 0x7F:
            packed.append(gap & 0x7F | 0x80)
            gap >>= 7
        packed.append(gap)
    return zlib.compress(bytes(packed), 9)


def unpack(blob: bytes) -> list[int]:
    """Inverse of ``pack``, ascending.

    Raises:
        CorruptArtifactError: if ``pack`` did not write it.
    """
    try:
        reader = zlib.decompressobj()
        packed = reader.decompress(blob, _MOST_BYTES)
        whole = reader.eof and not reader.unused_data
    except zlib.error as error:
        raise CorruptArtifactError(f"a data set's positions cannot be read: {error}") from error
    found, last, gap, shift = [], 0, 0, 0
    for byte in packed:
        gap |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            last += gap
            found.append(last)
            gap = shift = 0
    if not whole or shift or last >= 2**63 or len(set(found)) < len(found):
        raise CorruptArtifactError("a data set's positions cannot be read: they are cut off, or no positions")
    return found


# -- rows


def add_dataset(connection: Connection, strategy: str, version: int, at: float, row: DatasetRow) -> None:
    """Log what a version was trained on, in the transaction that registers it."""
    told = (json.dumps(dict(row.counts)), json.dumps(dict(row.settings)))
    packed = (pack(row.examples or ()), pack(row.held_out or ()))
    values = (strategy, version, at, row.upto, row.data_hash, *told, *packed)
    connection.execute("INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def read_dataset(connection: Connection, strategy: str, version: int) -> DatasetRow | None:
    """What a version was trained on; None where that was not noted, as earlier releases did not.

    Raises:
        CorruptArtifactError: if its positions are no positions.
    """
    query = """SELECT upto, data_hash, counts, settings, examples, held_out, at FROM datasets
               WHERE strategy = ? AND version = ?"""
    row = connection.execute(query, (strategy, version)).fetchone()
    if row is None:
        return None
    upto, data_hash, counts, settings, examples, held_out, at = row
    learnt, judged = (None if blob is None else unpack(blob) for blob in (examples, held_out))
    return DatasetRow(upto, data_hash, json.loads(counts), json.loads(settings), learnt, judged, at)


def dataset_counts(connection: Connection, strategy: str) -> dict[int, dict[str, Any]]:
    """The figures alone of a strategy's data sets, by version."""
    query = "SELECT version, counts FROM datasets WHERE strategy = ?"
    return {version: json.loads(counts) for version, counts in connection.execute(query, (strategy,))}


def give_up_datasets(connection: Connection, strategy: str, versions: Iterable[int]) -> None:
    """Drop the positions of versions whose files are given up; figures and settings stay."""
    query = "UPDATE datasets SET examples = NULL, held_out = NULL WHERE strategy = ? AND version = ?"
    connection.executemany(query, [(strategy, version) for version in versions])


def presence(connection: Connection, positions: Sequence[int]) -> Presence:
    """What the log still holds of these decisions."""
    query = """SELECT d.seq, CASE WHEN f.decision_id IS NULL THEN 0 ELSE 1 END FROM decisions d
               LEFT JOIN forgotten_decisions f ON f.decision_id = d.decision_id
               WHERE d.seq IN (SELECT value FROM json_each(?)) ORDER BY d.seq"""
    rows = connection.execute(query, (json.dumps(list(positions)),)).fetchall()
    there = [seq for seq, forgotten in rows if not forgotten]
    return Presence(there, len(rows) - len(there), len(positions) - len(rows))


# -- beside a fit's other results


def dataset_to_json(row: DatasetRow) -> str:
    """A row as it crosses from the process that fits."""
    return json.dumps({**row.to_dict(), "examples": list(row.examples or ()), "held_out": list(row.held_out or ())})


def dataset_of_json(text: str) -> DatasetRow:
    """Inverse of ``dataset_to_json``.

    Raises:
        CorruptArtifactError: if it is none.
    """
    try:
        return DatasetRow(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise CorruptArtifactError(f"what a fit says of its data set cannot be read: {error}") from error
