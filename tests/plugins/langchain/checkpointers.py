"""Checkpointers of LangGraph's: in memory, in a SQLite file, and on a PostgreSQL server."""

import os
import sqlite3
import uuid
from contextlib import closing, contextmanager

import pytest
from langgraph.checkpoint.memory import InMemorySaver


@contextmanager
def checkpointer(kind, folder):
    """A new one of a kind; skips where its package or its server is not there."""
    if kind == "memory":
        yield InMemorySaver()
    elif kind == "sqlite":
        sqlite = pytest.importorskip("langgraph.checkpoint.sqlite", reason="a checkpointer on disk")
        with closing(sqlite3.connect(folder / "checkpoints.db", check_same_thread=False)) as connection:
            yield sqlite.SqliteSaver(connection)
    else:
        postgres = pytest.importorskip("langgraph.checkpoint.postgres", reason="a checkpointer on PostgreSQL")
        with schema() as connection:
            made = postgres.PostgresSaver(connection)
            made.setup()
            yield made


@contextmanager
def schema():
    """A connection to a schema of its own, on the server of ``PGHOST`` or of this machine."""
    psycopg = pytest.importorskip("psycopg")
    host = os.environ.get("PGHOST", "/var/run/postgresql")
    options = {"dbname": os.environ.get("PGDATABASE", "postgres"), "autocommit": True, "connect_timeout": 5}
    try:
        connection = psycopg.connect(host=host, row_factory=psycopg.rows.dict_row, **options)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL: {error}")
    name = f"checkpoints_{uuid.uuid4().hex}"
    with connection:
        connection.execute(f"create schema {name}")
        try:
            connection.execute(f"set search_path to {name}")
            yield connection
        finally:
            connection.execute(f"drop schema {name} cascade")
