"""A PostgreSQL database of its own for each test, where there is a server; see ``--services``."""

import os
import secrets

import pytest

SERVER = os.environ.get("ROUTER_TEST_POSTGRES", "postgresql:///postgres")
"""Read before the tests' own variables are taken away: where a PostgreSQL is, by a user who may make databases."""


@pytest.fixture(scope="session")
def server():
    psycopg = pytest.importorskip("psycopg")
    try:
        with psycopg.connect(SERVER, autocommit=True, connect_timeout=5) as found:
            found.execute("SELECT 1")
    except psycopg.OperationalError as error:
        pytest.skip(f"PostgreSQL is not there: {error}")
    return SERVER


@pytest.fixture
def database(server):
    """The URL of an empty database, which goes with the test."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    name = f"router_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        fields = {**conninfo_to_dict(server), "dbname": name}
        where = fields.get("host", "")
        user = f"{fields['user']}@" if fields.get("user") else ""
        secret = f"&password={fields['password']}" if fields.get("password") else ""
        port = f":{fields['port']}" if fields.get("port") else ""
        inside = where if not where.startswith("/") else ""
        beside = f"&host={where}" if where.startswith("/") else ""
        yield f"postgresql://{user}{inside}{port}/{name}?application_name=router-test{beside}{secret}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store_url(database, tmp_path):
    """The URL of a store in it, with its folder in the test's own."""
    return f"{database}&folder={tmp_path}/artifacts"
