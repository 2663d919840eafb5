"""A server that acknowledges every byte and answers nothing is not waited for without end."""

import contextlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from router_sdk.errors import StoreUnavailableError
from router_sdk.testing import StoreTrial

pytestmark = [pytest.mark.services, pytest.mark.slow]

SILENCE_S = 0.5


class Proxy:
    """Stands between; while it is still, connections stay open and nothing is passed on."""

    def __init__(self, path):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._path = path
        self.passes = threading.Event()
        self.passes.set()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with self._listener:
            while True:
                client, _ = self._listener.accept()
                if self._closed:
                    client.close()
                    return
                threading.Thread(target=self._meet, args=(client,), daemon=True).start()

    def _meet(self, client):
        self.passes.wait()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._path)
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self.passes.wait()
                target.sendall(data)
        self.passes.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self._closed = True
        self.passes.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()


@pytest.fixture
def proxied(database, tmp_path, monkeypatch):
    psycopg = pytest.importorskip("psycopg")
    from router_sdk_postgres import server

    monkeypatch.setattr(server, "SILENCE_S", SILENCE_S)
    with psycopg.connect(database) as found:
        info = found.info
        if not info.host.startswith("/"):
            pytest.skip("the server is not at a local socket")
        proxy = Proxy(f"{info.host}/.s.PGSQL.{info.port}")
        where = f"postgresql://{info.user}@127.0.0.1:{proxy.port}/{info.dbname}?sslmode=disable&gssencmode=disable"
    with StoreTrial(f"{where}&connect_timeout=2&folder={tmp_path}/artifacts", tmp_path) as trial:
        yield proxy, trial
    proxy.close()


def test_who_reads_gives_up_and_reads_again_once_it_answers(proxied):
    proxy, trial = proxied
    assert trial.rows("SELECT count(*) FROM outcomes") == [(0,)]
    proxy.passes.clear()
    began = time.monotonic()
    try:
        with pytest.raises(StoreUnavailableError):
            trial.rows("SELECT count(*) FROM outcomes")
        assert time.monotonic() - began < 20.0
    finally:
        proxy.passes.set()
    assert trial.rows("SELECT count(*) FROM outcomes") == [(0,)]


FORKS = """
import os, sys, time
from router_sdk import Router, Task
from router_sdk_postgres import server

server.SILENCE_S = 0.5
with Router(["a", "b"], ["thompson"], sys.argv[1], seed=1) as router:
    router.route(Task(task_type="t"))
    router.flush()
    print("there", flush=True)
    sys.stdin.readline()
    time.sleep(1.5)  # the learner looks once a second
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    print(time.monotonic() - began, flush=True)
    sys.stdin.readline()
"""


def test_a_fork_does_not_wait_for_it_for_good(proxied):
    proxy, trial = proxied
    command = [sys.executable, "-c", FORKS, trial.store.engine.location]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as program:
        assert program.stdout.readline() == "there\n"
        proxy.passes.clear()
        try:
            program.stdin.write("\n")
            program.stdin.flush()
            waited_s = float(program.stdout.readline())
        finally:
            proxy.passes.set()
        program.communicate("\n")
    assert waited_s < 20.0


def test_who_writes_writes_once_it_answers_and_once_only(proxied):
    proxy, trial = proxied
    decision = trial.decide()
    trial.tell(decision, quality=0.25)
    proxy.passes.clear()
    thaws = threading.Timer(SILENCE_S + 3.0, proxy.passes.set)  # the connection is given up before
    thaws.start()
    trial.tell(decision, quality=0.5)
    thaws.join()
    assert trial.rows("SELECT quality FROM outcomes ORDER BY seq") == [(0.25,), (0.5,)]


def test_a_long_answer_of_a_server_that_is_there_is_waited_for(proxied):
    _, trial = proxied
    assert trial.rows(f"SELECT count(pg_sleep({4 * SILENCE_S}))") == [(1,)]
