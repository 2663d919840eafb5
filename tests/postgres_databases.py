"""A PostgreSQL database of its own for each test, where there is a server; see ``--services``."""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SERVER = os.environ.get("ROUTER_TEST_POSTGRES") or os.environ.get("TEST_POSTGRES", "postgresql:///postgres")
"""Where a PostgreSQL is, by a user who may make databases. It is read before the tests' own variables are taken away,
and kept under a name that is none of the router's for the workers, which start after that."""
os.environ["TEST_POSTGRES"] = SERVER


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


class Cluster:
    """A PostgreSQL server of one's own, that may be crashed."""

    def __init__(self, binaries):
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="router-pg-", dir="/tmp"))
        self._user = {"user": "postgres"} if os.getuid() == 0 else {}
        if self._user:
            shutil.chown(self.folder, **self._user)
        self._run("initdb", "-A", "trust", "-U", "router", "--no-sync", "-E", "UTF8", "--locale=C")
        self._listens = "-c listen_addresses=''"
        self.start()
        self.url = f"postgresql://router@/postgres?host={self.folder}"

    def _run(self, program, *words):
        command = [self._binaries / program, "-D", self.folder / "data", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **self._user)

    def start(self):
        options = f"-k {self.folder} {self._listens} -c shared_buffers=32MB"
        self._run("pg_ctl", "-w", "-l", self.folder / "log", "-o", options, "start")

    def listen(self, addresses, port, network):
        """Start again at these addresses, for whoever is in a network."""
        self.crash()
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")
        self._listens = f"-c listen_addresses={','.join(addresses)} -c port={port}"
        self.start()

    def crash(self):
        """Stop as a machine does that loses its power, but for the disk's own cache."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster():
    """A server that is the test's own."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [shutil.which("initdb")]
    if found[-1] is None:
        pytest.skip("PostgreSQL's own programs are not there")
    made = Cluster(Path(found[-1]).parent)
    yield made
    made.close()
