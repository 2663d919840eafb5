"""``router mcp`` as its own process: over its standard streams, and over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the framework of router-sdk-mcp")
pytest.importorskip("router_sdk_mcp", reason="plugins/mcp")

import router_sdk_mcp
from mcp import Client, MCPError, StdioServerParameters, stdio_client

from router_sdk import Agent, Outcome, Router

AGENTS = [Agent("billing", description="invoices and refunds"), Agent("technical", description="errors and crashes")]


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The plugin as an installed distribution, whether or not it is one here."""
    info = tmp_path / "site" / "router_sdk_mcp-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: router-sdk-mcp\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[router_sdk]\nmcp = router_sdk_mcp.hooks\n")
    places = [str(info.parent), str(Path(router_sdk_mcp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with Router(AGENTS, ["heuristic"], tmp_path / "router.db") as router:
        router.route("x")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "ROUTER_STRATEGIES": '["heuristic"]'}


@pytest.fixture
def command(environment, tmp_path):
    program = "from router_sdk.cli import main; main()"
    arguments = ["-c", program, "mcp", "--store", str(tmp_path / "router.db")]
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment, cwd=tmp_path)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_over_standard_streams_outcomes_are_on_disk_when_it_answers(command, tmp_path, mode):
    async with Client(stdio_client(command), mode=mode) as client:
        decision = (await client.call_tool("route", {"text": "refunds"})).structured_content
        told = {"decision_id": decision["decision_id"], "success": True}
        assert not (await client.call_tool("record", told)).is_error
        with Router(AGENTS, ["heuristic"], tmp_path / "router.db", read_only=True) as other:
            assert other.examples[-1].decision_id == decision["decision_id"]
        assert json.loads((await client.read_resource("router://status")).contents[0].text)["statistics"]


@asynccontextmanager
async def over_http(command, *more):
    served = subprocess.Popen(
        [command.command, *command.args, "--transport", "http", "--port", "0", *more],
        env=command.env,
        cwd=command.cwd,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        found = None
        while found is None:
            line = served.stderr.readline()
            assert line, "it ended before it served"
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        yield f"http://127.0.0.1:{found[1]}/mcp", served
    finally:
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=20)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_over_http(command, mode):
    async with over_http(command, "--tenant", "acme") as (url, _):
        async with Client(url, mode=mode) as client:
            decision = (await client.call_tool("route", {"text": "refunds"})).structured_content
        async with Client(url, mode=mode) as another:
            told = {"decision_id": decision["decision_id"], "quality": 0.5}
            assert not (await another.call_tool("record", told)).is_error


@pytest.mark.benchmark
async def test_what_a_step_costs_over_standard_streams(command, tmp_path):
    with Router(AGENTS, ["heuristic"], tmp_path / "by_hand.db") as router:
        async with Client(stdio_client(command)) as client:
            by_hand, over = [], []
            for _ in range(400):
                begun = time.perf_counter()
                decision = router.route("refunds")
                router.record(decision.decision_id, Outcome(success=True))
                between = time.perf_counter()
                decision = (await client.call_tool("route", {"text": "refunds"})).structured_content
                await client.call_tool("record", {"decision_id": decision["decision_id"], "success": True})
                by_hand.append(between - begun)
                over.append(time.perf_counter() - between)
    p50 = [sorted(found)[200] * 1_000 for found in (by_hand, over)]
    print(f"by hand {p50[0]:.3f} ms, over standard streams {p50[1]:.3f} ms, p50")
    assert p50[1] - p50[0] < 10.0  # two calls, on a busy machine


async def test_a_store_that_cannot_be_used_is_said_before_it_serves(command, tmp_path):
    (tmp_path / "no.db").write_text("something else")
    command.args[-1] = str(tmp_path / "no.db")
    done = subprocess.run(
        [command.command, *command.args], env=command.env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no database" in done.stderr
    assert done.stdout == ""
    with pytest.raises((MCPError, ExceptionGroup)):
        async with Client(stdio_client(command)) as client:
            await client.list_tools()
