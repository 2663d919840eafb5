"""What happens around a log in PostgreSQL: lost connections, poolers, older tables, shelves elsewhere."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import NotAStoreError, SchemaVersionError, StoreUnavailableError
from router_sdk.store import Store
from router_sdk.testing import StoreTrial

pytestmark = pytest.mark.services


@pytest.fixture
def trial(store_url, tmp_path):
    with StoreTrial(store_url, tmp_path) as made:
        yield made


def end_every_connection(database):
    psycopg = pytest.importorskip("psycopg")
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    with psycopg.connect(database, autocommit=True) as server:
        return server.execute(f"SELECT count(pg_terminate_backend(pid)) {others}").fetchone()[0]


def test_a_database_that_begins_transactions_otherwise_gives_positions_once(store_url, database, tmp_path):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(database, autocommit=True) as server:
        name = server.info.dbname
        server.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    with StoreTrial(store_url, tmp_path / "1") as one, StoreTrial(store_url, tmp_path / "2") as other:
        threads = [threading.Thread(target=lambda of=each: [of.decide() for _ in range(30)]) for each in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.rows("SELECT count(*), max(seq) FROM decisions") == [(60, 60)]


def test_whoever_loses_the_server_goes_on_with_another_connection(trial, database):
    decision = trial.decide()
    tail = trial.tail()
    for number in range(3):
        assert end_every_connection(database) >= 2
        trial.tell(decision, quality=number / 3)
        assert trial.rows("SELECT count(*) FROM outcomes") == [(number + 1,)]
        assert tail.head() == number + 2
    tail.close()


def test_a_commit_whose_answer_was_lost_is_not_done_again(trial, monkeypatch):
    from router_sdk_postgres.faults import ConnectionLostError
    from router_sdk_postgres.writing import PostgresWriting

    decision, end = trial.decide(), PostgresWriting._end
    lost = iter([True, False, True])

    def cut(self, server):
        after = next(lost, None)
        if after:
            end(self, server)
        if after is not None:
            server.close()
            raise ConnectionLostError("on purpose")
        end(self, server)

    monkeypatch.setattr(PostgresWriting, "_end", cut)
    trial.tell(decision, quality=0.25)  # it was committed
    trial.tell(decision, quality=0.5)  # it was not, and then it was
    assert trial.rows("SELECT quality FROM outcomes ORDER BY seq") == [(0.25,), (0.5,)]


class Pooler:
    """Stands between, as PgBouncer does: the process that it names is not the one that answers."""

    def __init__(self, path):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._path = path
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    @staticmethod
    def _pass(source, target, names):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if names and (place := data.find(b"K\x00\x00\x00\x0c")) >= 0:
                    data = data[: place + 5] + b"\x00\x00\x00\x01" + data[place + 9 :]
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self._listener.close()


def test_a_pooler_is_refused_with_the_reason(cluster, tmp_path):
    pooler = Pooler(f"{cluster.folder}/.s.PGSQL.5432")
    try:
        with pytest.raises(StoreUnavailableError, match="a connection pooler answers in PostgreSQL's place"):
            Store(f"postgresql://router@127.0.0.1:{pooler.port}/postgres?sslmode=disable&folder={tmp_path}/a")
    finally:
        pooler.close()


def test_older_tables_are_brought_up_to_date(store_url, database, tmp_path):
    psycopg = pytest.importorskip("psycopg")
    with StoreTrial(store_url, tmp_path) as trial:
        trial.tell(trial.decide(), quality=0.5)
    with psycopg.connect(database, autocommit=True) as server:
        server.execute("SET search_path = router")
        server.execute("DROP TABLE access_keys; ALTER TABLE outcomes DROP COLUMN actor; UPDATE release SET version = 1")
    with pytest.raises(StoreUnavailableError, match="open a router on it once"):
        Store(store_url, read_only=True)
    with StoreTrial(store_url, tmp_path) as trial:
        assert trial.rows("SELECT quality, actor FROM outcomes") == [(0.5, None)]
        assert trial.rows("SELECT count(*) FROM access_keys") == [(0,)]
        trial.tell(trial.decide(), quality=0.75)
    with psycopg.connect(database, autocommit=True) as server:
        server.execute("UPDATE router.release SET version = 1000")
    with pytest.raises(SchemaVersionError, match="upgrade router-sdk"):
        Store(store_url)


def test_another_programs_schema_is_left_alone(store_url, database):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(database, autocommit=True) as server:
        server.execute("CREATE SCHEMA router; CREATE TABLE router.invoices (number bigint)")
    with pytest.raises(NotAStoreError, match="another program's tables"):
        Store(store_url)


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_folders_stand_where_fsspec_reaches(store_url, tmp_path, kind):
    pytest.importorskip("fsspec")
    where = f"file://{tmp_path}/bucket" if kind == "file" else f"memory://{tmp_path.name}"
    first, second = f"{store_url}/1&artifacts={where}", f"{store_url}/2&artifacts={where}"
    held = []

    def fill(folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "state").write_bytes(b"\x00" * 100_000)

    def load(folder):
        held.append((folder / "inner" / "state").read_bytes())

    with StoreTrial(first, tmp_path) as one, StoreTrial(second, tmp_path) as two:
        one.store.snapshots.save("s", "mark", 1, fill)
        assert two.store.snapshots.restore("s", lambda cursor: "mark", load) == 1
        assert held == [b"\x00" * 100_000]
        two.store.snapshots.discard(two.store.snapshots.before(5))
        shelf = one.store.engine.shelf()
        assert shelf.abandoned("snapshots", []) == []
        assert one.rows("SELECT count(*) FROM artifacts") == [(0,)]


def test_hashes_are_the_same_on_all_machines(store_url, tmp_path):
    stores = [Store(f"{store_url}/{number}", privacy="hmac") for number in (1, 2)]
    assert stores[0].privacy.session("s") == stores[1].privacy.session("s") != "s"
    outcome = Outcome(response="said")
    payloads = {store.entry("0" * 32, outcome, outcome.signals()).payload for store in stores}
    assert len(payloads) == 1
    for store in stores:
        store.close()


def test_two_logs_do_not_share_a_folder(store_url):
    Store(store_url).close()
    with pytest.raises(NotAStoreError, match="another log's folder"):
        Store(f"{store_url}&schema=other")
    Store(store_url).close()


def test_a_file_and_a_database_share_no_folder(database, tmp_path):
    Store(f"{database}&folder={tmp_path}/one.db.artifacts").close()
    with pytest.raises(NotAStoreError, match="the folder of a log in another database"):
        Store(tmp_path / "one.db")
    assert not (tmp_path / "one.db").exists()
    Store(tmp_path / "two.db").close()
    with pytest.raises(NotAStoreError, match=r"the store in the file two\.db"):
        Store(f"{database}&folder={tmp_path}/two.db.artifacts&schema=two")


FORKS = """
import os, sys
from router_sdk import Outcome, Router, Task

with Router(["a", "b"], ["thompson"], sys.argv[1], seed=1) as router:
    def some():
        for _ in range(5):
            router.record(router.route(Task(task_type="t")), Outcome(success=True))
    some()
    child = os.fork()
    some()
    if child == 0:
        router.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert router.status()["store"]["outcomes"] == 15
"""


def test_a_fork_has_connections_of_its_own(store_url):
    subprocess.run([sys.executable, "-W", "error", "-c", FORKS, store_url], check=True, timeout=60)


IDLE_FORKS = """
import os, sys, threading
from router_sdk import Router, Task

with Router(["a", "b"], ["thompson"], sys.argv[1], seed=1) as router:
    router.route(Task(task_type="t"))
    router.flush()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            store = router._parts.store
            threads = {one.name for one in threading.enumerate()}
            idle = threads.isdisjoint({"router-learner", "router-log", "router-news"}) and store._end_news is None
            idle = idle and store.engine._pool is None and store.leadership._lease._thread is None
            router.route(Task(task_type="t"))
            router.flush()
            router._parts.learner.drain()
            busy = store._end_news is not None  # since the learner looks around
            router.close()
            os._exit(0 if idle and busy else 1)
        assert os.waitpid(child, 0)[1] == 0
    router.flush()
    assert router.status()["store"]["decisions"] == 6
"""


def test_a_child_hears_of_news_from_its_first_use_on(store_url):
    command = [sys.executable, "-W", "error", "-c", IDLE_FORKS, store_url]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr == ""


REFUSED_S = 3.0
"""Far less than a server is waited for that cannot be reached."""


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"dbname": "router_test_none"}, "make it (CREATE DATABASE)"),
        ({"user": "router_test_nobody"}, "make it (CREATE ROLE … LOGIN)"),
    ],
)
def test_what_is_not_there_is_said_at_once(cluster, tmp_path, wrong, advice, read_only):
    told = {"user": "router", "dbname": "postgres", **wrong}
    url = f"postgresql:///{told['dbname']}?user={told['user']}&host={cluster.folder}&folder={tmp_path}/a&patience_s=60"
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=re.escape(advice)):
        Store(url, read_only=read_only)
    assert time.monotonic() - began < REFUSED_S


def test_a_wrong_password_is_said_at_once(cluster, tmp_path):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(cluster.url, autocommit=True) as server:
        server.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    rules = cluster.folder / "data" / "pg_hba.conf"
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
    with psycopg.connect(cluster.url, autocommit=True) as server:
        server.execute("SELECT pg_reload_conf()")
    url = f"postgresql:///postgres?user=guarded&host={cluster.folder}&folder={tmp_path}/a&patience_s=60"
    began = time.monotonic()
    for password in ("", "&password=wrong"):
        with pytest.raises(StoreUnavailableError, match="give the right password") as refused:
            Store(f"{url}{password}")
        assert "wrong" not in str(refused.value)
    assert time.monotonic() - began < 2 * REFUSED_S


@pytest.mark.parametrize("read_only", [False, True])
def test_a_server_that_is_away_is_waited_for_as_long_as_the_url_says(cluster, tmp_path, read_only):
    url = f"{cluster.url}&folder={tmp_path}/a&patience_s="
    Store(f"{url}60").close()
    cluster.crash()
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"waited for 0\.5 s"):
        Store(f"{url}0.5", read_only=read_only)
    assert 0.2 < time.monotonic() - began < REFUSED_S
    starts = threading.Timer(0.3, cluster.start)
    starts.start()
    Store(f"{url}60", read_only=read_only).close()
    starts.join()


def test_a_reader_beside_the_router_sees_its_tenants_rows_alone(store_url, database, tmp_path):
    psycopg = pytest.importorskip("psycopg")
    url = f"{store_url}&row_security=on"
    with Router(["a", "b"], ["heuristic"], url, seed=1) as router:
        for tenant in ("acme", "other", None):
            decision = router.route(Task(f"a question of {tenant}", tenant=tenant))
            router.record(decision, Outcome(success=True, response=f"an answer to {tenant}"))
        router.flush()
    with psycopg.connect(database, autocommit=True) as server:
        reader = server.info.dbname
        server.execute(f"CREATE ROLE {reader}; GRANT USAGE ON SCHEMA router TO {reader}")
        server.execute(f"GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA router TO {reader}")
        try:
            server.execute(f"SET search_path = router; SET ROLE {reader}")
            texts = "SELECT coalesce(text, response) FROM payloads ORDER BY seq"
            assert server.execute(texts).fetchall() == []
            server.execute("SET router.tenant = 'acme'")
            assert server.execute(texts).fetchall() == [("a question of acme",), ("an answer to acme",)]
            assert server.execute("SELECT DISTINCT tenant FROM decisions").fetchall() == [("acme",)]
            assert server.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)
            assert server.execute("SELECT count(*) FROM agents").fetchone()[0] > 0
            for table in ("meta", "dead_letters", "access_keys", "intents", "artifacts"):
                assert server.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
            assert server.execute("UPDATE decisions SET tenant = 'acme'").rowcount == 0
            assert server.execute("DELETE FROM outcomes").rowcount == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):  # as the router's own sessions have it
                server.execute("SET row_security = off; SELECT count(*) FROM decisions")
        finally:
            server.execute(f"RESET ROLE; DROP OWNED BY {reader}; DROP ROLE {reader}")
    with Router(["a", "b"], ["heuristic"], f"{store_url}&row_security=off", seed=1) as router:
        assert router.status()["store"]["outcomes"] == 3
        query = "SELECT count(*) FROM pg_class WHERE relrowsecurity"
        assert router._parts.store.reader.query(lambda connection: connection.execute(query).fetchone()) == (0,)


def test_who_may_not_make_tables_is_told(store_url, database, tmp_path):
    psycopg = pytest.importorskip("psycopg")
    from psycopg.conninfo import make_conninfo

    with psycopg.connect(database, autocommit=True) as server:
        name = server.info.dbname
        server.execute(f"CREATE ROLE {name} LOGIN")
        fields = {"user": name, "dbname": name, "host": server.info.host, "port": server.info.port}
    try:
        with psycopg.connect(make_conninfo(**fields)):
            pass
    except psycopg.OperationalError:
        pytest.skip("the server wants a password")
    else:
        where = f"postgresql:///{name}?user={name}&host={fields['host']}&port={fields['port']}&folder={tmp_path}/x"
        with pytest.raises(StoreUnavailableError, match="does not allow it"):
            Store(where)
    finally:
        with psycopg.connect(database, autocommit=True) as server:
            server.execute(f"DROP ROLE {name}")
