"""A whole log into an empty store of another engine: every row as it is, and every folder beside it.

Positions, the log's own time, ids and secrets stay what they were, so that what was learnt is found again in the
snapshots, to the last bit, and a caller's retry is known in the new place.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import CorruptArtifactError, InvalidInputError
from router_sdk.lifetime import no_fork
from router_sdk.private_files import private_folder, write_private
from router_sdk.store.artifacts import check_artifact, files_in
from router_sdk.store.backup import copy_private
from router_sdk.store.coordination import put_notes
from router_sdk.store.folders import Folders
from router_sdk.store.schema import schema
from router_sdk.store.shared_leadership import ASKED, LEADER
from router_sdk.store.transaction import HEAD

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.store.store import Store

_PIECE = 5_000
_LEFT = ("consumers",)
"""Tables that tell of processes that will not come to the new place."""
_OWN = ("consumers", "meta")
"""Tables in which an empty store may have rows."""
_FOLDERS = {
    "snapshots": "SELECT folder FROM snapshots",
    "versions": "SELECT folder FROM model_versions WHERE pruned_at IS NULL",
    "reports": "SELECT strategy || '-' || version || '.json' FROM model_versions",
}
_FILES = ("archive", "exports")
_KEY = "privacy_key"
"""Row of ``meta`` with what ``privacy.key`` holds, where an engine serves many machines."""


class Migrated(NamedTuple):
    """What was copied.

    Attributes:
        head: Newest position of the log.
        rows: How many, by table.
        folders: How many snapshots, versions and reports.
        missing: Those that the old store names and has not got whole.
    """

    head: int
    rows: dict[str, int]
    folders: int
    missing: tuple[str, ...]


def migrate(source: Store, target: Store) -> Migrated:
    """Copy a log, as it is at one moment. Nobody may write to either meanwhile, or what they write is left behind.

    Args:
        source: Opened for reading alone.
        target: Opened, and empty.

    Raises:
        InvalidInputError: if the target is the source, shares its folder, or is not empty; then nothing was touched.
        StoreUnavailableError: if either cannot be reached; then the target's tables are as empty as before.
    """
    rows: dict[str, int] = {}
    missing: list[str] = []
    folders = 0
    if source.folder.resolve() == target.folder.resolve():
        shown = target.engine.shown
        raise InvalidInputError(f"{shown} is the store that is to be copied, or shares its folder; name another one")
    with no_fork(), closing(source.engine.reader()) as old:
        old.steady()

        def check(new: Connection, seq: int) -> None:
            if seq != 1 or any(new.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in _tables(_OWN)):
                raise InvalidInputError(f"{target.engine.shown} is not empty; a log goes into a store of its own")

        target.writer.transact(check)
        for kind, query in _FOLDERS.items():
            begin, end = (Folders(one.folder, kind, one.engine.shelf()) for one in (source, target))
            for (name,) in old.execute(query).fetchall():
                if _copy_folder(begin, end, name):
                    folders += 1
                else:
                    missing.append(f"{kind}/{name}")
        for kind in _FILES:
            for path in files_in(source.folder / kind) if (source.folder / kind).is_dir() else ():
                copy_private(path, target.folder / path.relative_to(source.folder))
        secret = _secret(source, old)
        if secret is not None:
            write_private(private_folder(target.folder) / "privacy.key", secret)

        def work(new: Connection, seq: int) -> int:
            check(new, seq)
            stretches = new.stretches()
            shared = new.execute("SELECT 1 FROM meta WHERE name = ?", (_KEY,)).fetchone() is not None
            for table, columns in _tables(_LEFT).items():
                rows[table] = 0
                for piece in _pieces(old, table, columns):
                    rows[table] += len(piece)
                    if table == "meta":
                        piece = [(name, value) for name, value in piece if name not in (_KEY, LEADER, ASKED)]
                        new.executemany("DELETE FROM meta WHERE name = ?", [(name,) for name, _ in piece])
                    new.insert_rows(table, ", ".join(columns), piece, known=table == "meta")
                    if stretches is not None and table == "decisions":  # of which the first are written before the rest
                        stretches.extend(piece[-1][0])
            if shared and secret is not None:
                put_notes(new, [(_KEY, secret.hex())])
            return int(new.execute(HEAD).fetchone()[0])

        head = target.writer.transact(work)
    return Migrated(head, rows, folders, tuple(missing))


def _secret(source: Store, old: Connection) -> bytes | None:
    """Under which texts are hashed: from the folder, or from the row of an engine that serves many machines."""
    key = source.folder / "privacy.key"
    if key.exists():
        return key.read_bytes()
    row = old.execute("SELECT value FROM meta WHERE name = ?", (_KEY,)).fetchone()
    return None if row is None else bytes.fromhex(row[0])


def _tables(left: Collection[str]) -> dict[str, list[str]]:
    """The log's tables but these, with their columns; those first that others' rules look into."""
    found: dict[str, list[str]] = {}
    for statement in schema().statements:
        if (made := re.match(r'CREATE TABLE "?(\w+)"? \(', statement)) and made[1] not in left:
            found[made[1]] = re.findall(r"(?:[(,]\s*)(\w+) (?:INTEGER|REAL|TEXT|BLOB)\b", statement)
    return dict(sorted(found.items(), key=lambda one: one[0] != "decisions"))


def _pieces(old: Connection, table: str, columns: list[str]) -> Iterator[list[tuple[Any, ...]]]:
    """A table's rows, in pieces where they are many: those have a whole number as their key."""
    told = ", ".join(columns)
    key = next((name for name in ("seq", "id", "token") if name == columns[0]), None)
    if key is None or table == "vectors":  # of which several have one position
        rows = [tuple(row) for row in old.execute(f"SELECT {told} FROM {table}")]
        yield from (rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE))
        return
    last = -1
    query = f"SELECT {told} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?"
    while piece := [tuple(row) for row in old.execute(query, (last, _PIECE))]:
        yield piece
        last = piece[-1][0]


def _copy_folder(begin: Folders, end: Folders, name: str) -> bool:
    """Copy one that is whole; whether it was."""
    try:
        source, target = begin.path(name), end.root / name
        if source.is_file():
            copy_private(source, target)
        else:
            check_artifact(source)
            shutil.rmtree(target, ignore_errors=True)
            for path in files_in(source):
                copy_private(path, target / path.relative_to(source))
    except (CorruptArtifactError, FileNotFoundError):
        return False
    end.share(target)
    return True
