"""SQLite's connection to a log: it inserts many rows at once, and keeps the file small and free of what was erased."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

_ROWS, _PAGES = 256, 256
"""Rows to a statement, and free pages that are given back to the file system at once."""


class LogConnection(sqlite3.Connection):
    """See ``router_sdk.engine.Connection``."""

    def insert_rows(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]], known: bool = False) -> None:
        """Insert all rows, 256 to a statement: SQLite binds a limited number of values."""
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            values = part[0] if len(part) == 1 else tuple(chain.from_iterable(part))
            self.execute(_insert(table, columns, len(part), known), values)

    def steady(self) -> None:
        """A read transaction sees what was there at its first question."""
        self.execute("BEGIN")
        self.execute("SELECT count(*) FROM sqlite_schema").fetchone()

    def size(self) -> int:
        """Space of the pages that are in use, in bytes."""
        (pages,) = self.execute("PRAGMA page_count").fetchone()
        (free,) = self.execute("PRAGMA freelist_count").fetchone()
        (size,) = self.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def stretches(self) -> None:
        """A file has none."""

    def give_back(self) -> None:
        """Give free pages back to the file system."""
        for _ in range(_PAGES):  # one by one: Python 3.11 ends a statement without columns after its first step
            self.execute("PRAGMA incremental_vacuum(1)").fetchall()

    def overwrite(self) -> None:
        """Leave no erased session's id in its index; what stood in cells is overwritten by ``secure_delete``."""
        self.execute("REINDEX payloads_by_session")


@lru_cache(maxsize=1024)
def _insert(table: str, columns: str, rows: int, known: bool) -> str:
    """One multi-row INSERT: a statement per row would hand the interpreter lock back and forth."""
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    end = " ON CONFLICT DO NOTHING" if known else ""
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * rows)}{end}"
