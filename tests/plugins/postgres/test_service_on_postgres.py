"""What ``deploy/compose.postgres.yaml`` starts: the service on PostgreSQL, by its own command and variables."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_the_compose_file_is_whole():
    router = yaml.safe_load((DEPLOY / "compose.postgres.yaml").read_text())["services"]["router"]
    assert router["environment"]["ROUTER_STORE"].startswith("postgresql://router@database/router?folder=")
    assert "postgres" in router["build"]["args"]["PLUGINS"].split()


@pytest.mark.services
def test_its_command_serves_on_postgresql(store_url):
    command = json.loads(re.search(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[1])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    told = [sys.executable, "-c", "from router_sdk.cli import main; main()"]
    environment = {**os.environ, "ROUTER_STORE": store_url}
    key = subprocess.run([*told, "keys", "create", "app", "--json"], env=environment, check=True, capture_output=True)
    secret = json.loads(key.stdout)["key"]
    subprocess.run([*told, "agents", "add", "billing", "--description", "invoices"], env=environment, check=True)
    command[command.index("--host") + 1] = "127.0.0.1"
    with subprocess.Popen([*told, *command, "--port", str(port)], env=environment) as service:
        try:
            decision = _post(port, secret, "/v1/route", {"task": "my invoice is wrong"})
            assert decision["agent"] == "billing"
            outcome = {"decision_id": decision["decision_id"], "outcome": {"success": True}}
            assert _post(port, secret, "/v1/outcomes", outcome)["recorded"] == 1
        finally:
            service.terminate()


def _post(port, key, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    deadline = time.monotonic() + 60.0
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
