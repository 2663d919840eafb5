import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from router_sdk.cli.app import app

ROUTER = [sys.executable, "-c", "from router_sdk.cli import main; main()"]


def run(*arguments):
    """A command in this process, in the current folder."""
    return CliRunner().invoke(app, arguments)


@contextmanager
def serving(folder, *options):
    """``router serve`` on a free port, with its log; ended as a supervisor ends it."""
    log = folder / "serve.log"
    with log.open("w") as stderr:
        process = subprocess.Popen([*ROUTER, "serve", "--port", "0", "--json", *options], cwd=folder, stderr=stderr)
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        with httpx2.Client(base_url=found[1], timeout=30) as client:
            while True:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx2.TransportError:
                    assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield client, process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTER_PLUGINS", "server,thompson,heuristic")  # what else is installed has no say
    (tmp_path / "router.toml").write_text('strategies = ["thompson"]\nstore = "router.db"\n')
    return tmp_path


def test_a_stranger_serves_with_a_key(folder):
    made = json.loads(run("keys", "create", "app", "--scope", "admin", "--scope", "route", "--json").stdout)
    assert made["scopes"] == ["route", "admin"]
    with serving(folder) as (client, _):
        key = {"authorization": f"Bearer {made['key']}"}
        assert client.put("/v1/agents/billing", json={}).status_code == 401
        assert client.put("/v1/agents/billing", json={}, headers=key).status_code == 200
        assert client.post("/v1/route", json={"task": "x"}, headers=key).json()["agent"] == "billing"
        listed = json.loads(run("keys", "list", "--json").stdout)["keys"]
        assert [one["key_id"] for one in listed] == [made["key_id"]]
        assert run("keys", "revoke", made["key_id"]).exit_code == 0
        end = time.monotonic() + 30
        while client.get("/v1/agents", headers=key).status_code != 401:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert "revoked" in run("keys", "list").stdout
    lines = [json.loads(line) for line in (folder / "serve.log").read_text().splitlines()]
    assert {"at", "level", "logger", "message", "process"} <= lines[0].keys()


def test_who_follows_a_fit_does_not_keep_the_service_from_its_end(folder, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(folder))
    with serving(folder, "--insecure") as (client, process):
        (fits,) = folder.glob("router-service-*/fits")
        (fits / f"{1:016x}").write_text('{"state": "running"}')
        with client.stream("GET", f"/v1/fits/{1:016x}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: fit"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0  # it would wait for answers for half a minute
            assert [line for line in lines if line.startswith("event")] == []
    assert "Traceback" not in (folder / "serve.log").read_text()
    assert list(folder.glob("router-service-*")) == []


def test_nobody_is_let_in_without_a_key_from_elsewhere(folder):
    done = run("serve", "--insecure", "--host", "0.0.0.0")
    assert done.exit_code == 2
    assert "router keys create" in done.stderr


def test_a_port_that_is_taken_is_said_with_what_to_do(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
        assert done.exit_code == 2
        assert f"--port {port}: another program listens on 127.0.0.1:{port} already" in done.stderr
        assert "take another port" in done.stderr
        assert done.stderr.count("\n") == 1
        told = json.loads(run("serve", "--port", str(port), "--json").stderr)["error"]
        assert (told["type"], told["exit_code"]) == ("InvalidInputError", 2)


def test_an_address_of_no_machine_is_said_with_what_to_do(folder):
    for host in ("192.0.2.1", "x" * 70):
        done = run("serve", "--port", "0", "--host", host)
        assert done.exit_code == 2
        assert f"--host {host}: nobody can listen there" in done.stderr
        assert "127.0.0.1" in done.stderr


def test_a_mistake_in_the_configuration_is_said_once(folder):
    (folder / "router.toml").write_text("colour = 1\n")
    done = run("serve")
    assert done.exit_code == 2
    assert "colour" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_store_that_cannot_be_opened_is_said_in_a_line(folder):
    (folder / "router.db").write_text("no database " * 1_000)
    done = subprocess.run([*ROUTER, "serve", "--port", "0"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "cannot start: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.reliability
@pytest.mark.parametrize("workers", [2])
def test_workers_share_a_port_a_store_and_their_figures(folder, workers):
    with serving(folder, "--insecure", "--workers", str(workers)) as (client, _):
        for name in ("a", "b"):
            assert client.put(f"/v1/agents/{name}", json={}).status_code == 200
        end = time.monotonic() + 30
        base = str(client.base_url)
        served = 0
        while served < 40:  # the other worker follows the store within two seconds
            assert time.monotonic() < end
            with httpx2.Client(base_url=base) as fresh:
                served += fresh.post("/v1/route", json={"task": "x"}).status_code == 200
        text = client.get("/metrics").text
        told = re.findall(r'^router_requests_total{path="/v1/route",status="200"} (\S+)$', text, re.M)
        assert [float(one) for one in told] == [float(served)]


@pytest.mark.reliability
def test_kill_9_of_workers_under_load_loses_no_outcome_and_counts_each_once(folder):
    rounds, acknowledged = 6, {}
    with serving(folder, "--insecure", "--workers", "2") as (client, process):
        client.put("/v1/agents/a", json={})
        for number in range(rounds):
            workers = _children(process.pid)
            assert workers
            decision = _patiently(client, "/v1/route", {"task": "x"})["decision_id"]
            for i in range(60):
                report = {"decision_id": decision, "outcome": {"quality": 0.5}, "outcome_id": f"{number}-{i}"}
                if i == 20:
                    os.kill(workers[number % len(workers)], signal.SIGKILL)
                _patiently(client, "/v1/outcomes", report)
                acknowledged[f"{number}-{i}"] = decision
        told = client.get("/v1/status").json()["store"]
    assert told["outcomes"] == len(acknowledged) == rounds * 60


@pytest.mark.reliability
def test_a_worker_that_dies_in_a_health_check_is_replaced_at_once(folder):
    with serving(folder, "--insecure", "--workers", "2") as (_, process):
        before = set(_children(process.pid))
        victim = min(before)
        os.kill(victim, signal.SIGSTOP)  # it answers no check any more
        time.sleep(1.5)  # so that one waits for its answer
        os.kill(victim, signal.SIGKILL)
        end = time.monotonic() + 15
        while not set(_children(process.pid)) - before:
            assert time.monotonic() < end  # the check itself would wait for half a minute
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("each", "at_most"),
    [
        pytest.param(150, 1.5, marks=pytest.mark.slow),
        pytest.param(10_000, 1.2, marks=pytest.mark.reliability),
    ],
)
def test_outcomes_one_by_one_cost_against_one_decision_what_they_do_against_many(folder, each, at_most):
    limit = 1_000  # of outcomes that a decision takes
    with serving(folder, "--insecure") as (client, process):
        client.put("/v1/agents/a", json={})
        route = {"tasks": ["x"] * 50}
        batches = [client.post("/v1/route", json=route).json()["decisions"] for _ in range(each // 50 + 1)]
        warmed, *many = [[told["decision_id"] for told in batch] for batch in batches]
        many = [decision_id for batch in many for decision_id in batch]
        one = client.post("/v1/route", json={"task": "x"}).json()["decision_id"]
        if each < limit:  # those that come first are told at once
            report = {"decision_id": one, "outcome": {"quality": 0.5}}
            client.post("/v1/outcomes", json={"outcomes": [report] * limit})
        _reported(client, warmed)
        statuses, spent = {}, {}
        for name, ids in {"many": many, "one": [one] * each}.items():
            before = _cpu_s(process.pid)
            statuses[name] = Counter(_reported(client, ids))
            client.post("/v1/snapshot")  # all of it is learnt
            spent[name] = _cpu_s(process.pid) - before
        (performance,) = client.get("/v1/agents/performance").json()["agents"]
    recorded = limit if each >= limit else 0
    assert statuses == {"many": Counter({200: each}), "one": Counter({200: recorded, 409: each - recorded})}
    assert performance["executions"] == len(warmed) + each + 1  # told a thousand times, it happened once
    assert spent["one"] <= at_most * spent["many"]
    print(f"{each:,} outcomes, one a request: {spent['many']:.2f} s against {each:,}, {spent['one']:.2f} s against one")


def _reported(client, ids, connections=8):
    """Report an outcome of each decision, one request each; gives the statuses."""
    address = client.base_url

    def work(mine):
        connection = http.client.HTTPConnection(address.host, address.port, timeout=60)
        statuses = []
        for decision_id in mine:
            body = json.dumps({"decision_id": decision_id, "outcome": {"quality": 0.5}})
            connection.request("POST", "/v1/outcomes", body, {"content-type": "application/json"})
            with connection.getresponse() as answer:
                answer.read()
                statuses.append(answer.status)
        connection.close()
        return statuses

    with ThreadPoolExecutor(connections) as pool:
        return [
            status for found in pool.map(work, (ids[i::connections] for i in range(connections))) for status in found
        ]


def _cpu_s(pid):
    """Processor time that a process has spent, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid):
    """Processes that serve for another one."""
    done = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    rows = [line.split(None, 1) for line in done.stdout.splitlines()]
    return [int(child) for child, words in rows if "spawn_main" in words]


def _patiently(client, path, body):
    """Send until it is answered, as a client does whose service restarts."""
    end = time.monotonic() + 60
    while True:
        try:
            answer = client.post(path, json=body)
            if answer.status_code == 200:
                return answer.json()
        except httpx2.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.02)
