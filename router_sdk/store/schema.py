"""Append-only named migrations, and whether a file is a store of this release."""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from typing import TYPE_CHECKING

from router_sdk.engine import Schema
from router_sdk.errors import NotAStoreError, SchemaVersionError
from router_sdk.store.datasets import DATASETS
from router_sdk.store.rows import ENOUGH, MOST_OUTCOMES
from router_sdk.store.tables import (
    ACCESS_KEYS,
    BOUNDS,
    EXPERIMENTS,
    FIRST,
    MOVERS,
    ORDER,
    QUARANTINES,
    SHADOWED,
    TENANTS,
    VERSIONS,
)

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

SCHEMA_VERSION = 10
"""Number of the newest migration, kept in SQLite's ``user_version``: equal means that nothing is to be done."""

APPLICATION_ID = 0x52534447
"""SQLite's ``application_id`` of a store; files from before there was one are known by their tables."""

EVENT_TABLES = ("decisions", "outcomes", "agents", "forgotten", "quarantines", "experiments")
"""Tables whose ``seq`` is drawn from the one commit-ordered sequence."""


def migrations() -> Migrations:
    """All migrations, oldest first. Add to the end and raise ``SCHEMA_VERSION``; never edit one."""
    from sqlite_utils import Migrations

    named = Migrations("router_sdk")

    @named()
    def m0001_log(db: Database) -> None:
        _execute(db, FIRST, 1)

    @named()
    def m0002_versions(db: Database) -> None:
        _execute(db, VERSIONS, 2)

    @named()
    def m0003_order(db: Database) -> None:
        _execute(db, ORDER, 3)
        forgotten = db.execute("SELECT decision_ids FROM forgotten").fetchall()
        ids = [(decision_id,) for (joined,) in forgotten for decision_id in joined.split()]
        db.conn.executemany("INSERT OR IGNORE INTO forgotten_decisions VALUES (?)", ids)
        db.execute("INSERT INTO meta VALUES ('store_id', lower(hex(randomblob(16))))")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    @named()
    def m0004_bounds_and_tenants(db: Database) -> None:
        _execute(db, f"{BOUNDS};\n{TENANTS}", 4)

    @named()
    def m0005_probation(db: Database) -> None:
        _execute(db, "ALTER TABLE alias_history ADD COLUMN seq INTEGER", 5)

    @named()
    def m0006_datasets(db: Database) -> None:
        _execute(db, DATASETS, 6)

    @named()
    def m0007_quarantine(db: Database) -> None:
        _execute(db, QUARANTINES, 7)

    @named()
    def m0008_experiments(db: Database) -> None:
        _execute(db, EXPERIMENTS, 8)

    @named()
    def m0009_access_keys(db: Database) -> None:
        _execute(db, ACCESS_KEYS, 9)

    @named()
    def m0010_who_moved_an_alias(db: Database) -> None:
        _execute(db, MOVERS, 10)

    return named


_RANDOM = {"store_id": 16, "store_secret": 32}
"""What migrations put into ``meta``: so many random bytes."""


@cache
def schema() -> Schema:
    """The newest tables, as SQLite says that they are once every migration is done."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection)
        query = (
            "SELECT sql FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL AND tbl_name NOT LIKE '\\_%' ESCAPE '\\'"
        )
        made = [sql for kind in ("table", "index") for (sql,) in connection.execute(query, (kind,))]
        return Schema(SCHEMA_VERSION, tuple(made), EVENT_TABLES, (MOST_OUTCOMES, ENOUGH), SHADOWED, _RANDOM)
    finally:
        connection.close()


def _execute(db: Database, statements: str, version: int) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")


@cache
def _table_names() -> frozenset[str]:
    """Tables of the newest schema."""
    every = (FIRST, VERSIONS, ORDER, DATASETS, QUARANTINES, EXPERIMENTS, ACCESS_KEYS)
    return frozenset(re.findall(r"CREATE TABLE (\w+)", "".join(every)))


def missing_tables(connection: sqlite3.Connection) -> list[str]:
    """Tables that a database of the newest schema should have, and has not."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return sorted(_table_names() - there)


def lacks(tables: list[str]) -> str:
    """What to say of a store without these tables."""
    return (
        f"the database says that it is a store, and lacks the tables {', '.join(tables)}; restore a backup (router "
        "restore), or name another file"
    )


def newer(version: int) -> str:
    """What to say of a file that a newer release wrote."""
    return f"the store has schema {version}, this release knows {SCHEMA_VERSION}: upgrade router-sdk to open it"


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema; does nothing, and imports nothing, where it already is.

    Raises:
        SchemaVersionError: if a newer release wrote the file.
        NotAStoreError: if tables are missing.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(newer(version))
    if version < SCHEMA_VERSION:
        from sqlite_utils import Database

        migrations().apply(Database(connection))
    if missing := missing_tables(connection):
        raise NotAStoreError(lacks(missing))
