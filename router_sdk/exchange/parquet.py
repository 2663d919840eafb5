"""Examples as Parquet, a folder for each day, for warehouses and for reports over more rows than memory holds.

A row has what a line of JSON has, see ``lines``: what is a number, a text or a truth in a column of its type, anything
else as JSON. ``known`` is the position of the newest part. ``FOLDER/day=2026-11-30/part-0.parquet`` is how Hive,
DuckDB, Spark and Arrow name a partition (https://duckdb.org/docs/stable/data/partitioning/hive_partitioning), by UTC.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.lines import COLUMNS, FRESH, told_time
from router_sdk.private_files import PRIVATE_FILE, private_folder

ENDING = ".parquet"
KNOWN = "known"
_GROUP = 5_000
"""Rows of a day that are held until they are written."""
_TEXTS = {
    *("decision_id", "text", "task_type", "session_id", "tenant", "parent_decision_id", "agent", "strategy"),
    *("favourite", "source", "arm", "ran", "correct_agent", "response"),
}
_NUMBERS = {
    *("at", "max_cost_usd", "max_latency_ms", "confidence", "raw_confidence", "epsilon", "propensity", "reward"),
    *("session_propensity", "arm_probability", "quality", "feedback", "latency_ms", "cost_usd"),
}
_WHOLE = {"position", "model_version", "step", "tokens", KNOWN}
_TRUTHS = {"explored", "success", "no_agent_fits"}
_LISTS = {"eligible", "probabilities"}

Row = Mapping[str, Any]


def arrow() -> ModuleType:
    """The library that reads and writes Parquet.

    Raises:
        InvalidInputError: if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InvalidInputError("Parquet needs PyArrow: pip install 'router-sdk[parquet]'") from error
    found: ModuleType = pyarrow
    return found


def schema() -> Any:
    """The columns with their types, as an Arrow schema."""
    pa = arrow()
    types = {
        **dict.fromkeys(_TEXTS, pa.string()),
        **dict.fromkeys(_NUMBERS, pa.float64()),
        **dict.fromkeys(_WHOLE, pa.int64()),
        **dict.fromkeys(_TRUTHS, pa.bool_()),
        "eligible": pa.list_(pa.string()),
        "probabilities": pa.list_(pa.float32()),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in (*COLUMNS, KNOWN)])


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or those below a folder in the order of their names, which is that of the days."""
    return [path] if path.is_file() else sorted(one for one in path.rglob(f"*{ENDING}") if one.is_file())


def is_parquet(path: Path) -> bool:
    """Whether a path leads to such a file, or to a folder."""
    return path.suffix == ENDING or path.is_dir()


# -- out


class PartitionedWriter:
    """Writes rows into a folder for each day, each file whole or not at all.

    Args:
        folder: Where to; a file of an earlier export of the same day is replaced.

    Attributes:
        ids: Of each file, of which decision each of its rows is, or nothing.

    Raises:
        InvalidInputError: if PyArrow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._schema = folder, schema()
        self._open: dict[Path, Any] = {}
        self._rows: dict[Path, list[Row]] = {}
        self.ids: dict[Path, list[str]] = {}
        self._closing = ExitStack()

    def add(self, row: Row) -> None:
        """Take in one row, see ``lines.line_of``."""
        day = datetime.fromtimestamp(told_time(row["at"]), UTC).date().isoformat()
        path = self._folder / f"day={day}" / f"part-0{ENDING}"
        self.ids.setdefault(path, []).append(row.get("decision_id") or "")
        waiting = self._rows.setdefault(path, [])
        waiting.append(row)
        if len(waiting) >= _GROUP:
            self._write(path)

    def _write(self, path: Path) -> None:
        import pyarrow.parquet as pq

        writer = self._open.get(path)
        if writer is None:
            private_folder(path.parent)
            draft = _draft(path)
            draft.unlink(missing_ok=True)
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
            self._closing.callback(draft.unlink, missing_ok=True)
            writer = self._open[path] = self._closing.enter_context(pq.ParquetWriter(draft, self._schema))
        writer.write_table(_table(self._rows.pop(path), self._schema))

    def finish(self) -> None:
        """Write the rest, and let every file take its place."""
        for path in list(self._rows):
            self._write(path)
        for path, writer in self._open.items():
            writer.close()
            _draft(path).replace(path)

    def close(self) -> None:
        """Take away what did not take its place."""
        self._closing.close()


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _table(rows: Iterable[Row], columns: Any) -> Any:
    return arrow().Table.from_pylist([_cells(row) for row in rows], schema=columns)


def _cells(row: Row) -> dict[str, Any]:
    found = {name: _cell(name, value) for name, value in row.items()}
    parts = row.get("parts")
    return {**found, KNOWN: max((part["position"] for part in parts), default=None) if parts else None}


def _cell(name: str, value: Any) -> Any:
    if name in _TRUTHS or name in _TEXTS or value is None:
        return value
    if name in _NUMBERS:
        return float(value)
    if name in _WHOLE or name == "eligible":
        return value
    if name == "probabilities":
        return list(value.values())
    return json.dumps(value, ensure_ascii=False)


# -- back again


def read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a file, or of all files below a folder, with their numbers from 1, as lines of JSON have them.

    Raises:
        InvalidInputError: if there is none, or one cannot be read.
    """
    pa = arrow()
    import pyarrow.parquet as pq

    files = parquet_files(path)
    if not files:
        raise InvalidInputError(f"{path.name}: there is no {ENDING} file in it")
    number = 0
    for each in files:
        try:
            with pq.ParquetFile(each) as file:
                for batch in file.iter_batches(_GROUP):
                    for cells in batch.to_pylist():
                        number += 1
                        yield number, _values(cells)
        except (OSError, pa.ArrowException) as error:
            words = str(error).partition("\n")[0]
            raise InvalidInputError(f"cannot read {each}: {words}") from error


def _values(cells: Mapping[str, Any]) -> Row:
    """A row as a line of JSON has it; a file that somebody else wrote has other columns, which stay as they are."""
    row = {name: value for name, value in cells.items() if value is not None and name != KNOWN}
    typed = _TEXTS | _NUMBERS | _WHOLE | _TRUTHS | _LISTS
    if row.get("decision_id") is not None or FRESH in row:
        names, shares = row.get("eligible", []), row.get("probabilities", [])
        if isinstance(shares, list):
            row["probabilities"] = dict(zip(names, shares, strict=True)) if shares else {}
        for name in row.keys() & set(COLUMNS) - typed:
            if isinstance(row[name], str):
                row[name] = json.loads(row[name])
    return row


# -- and forgotten


def take_out_of_parquet(path: Path, gone: Collection[str]) -> None:
    """Take the rows of some decisions out of a file.

    Raises:
        ValueError: if it is no such file any more.
    """
    pa = arrow()
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    draft = _draft(path)
    try:
        with pq.ParquetFile(path) as source:
            if "decision_id" not in source.schema_arrow.names:
                raise ValueError("its columns are others")
            ids = pa.array(sorted(gone), pa.string())
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE))
            with pq.ParquetWriter(draft, source.schema_arrow) as target:
                for batch in source.iter_batches(_GROUP):
                    kept = pc.invert(pc.is_in(batch.column("decision_id"), ids))
                    target.write_batch(batch.filter(kept))
        draft.replace(path)
    except pa.ArrowException as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    finally:
        draft.unlink(missing_ok=True)
