"""The router as an MCP server: what clients of the newest protocol and of those before it see."""

import asyncio
import json
import logging
import subprocess
import sys
import time

import pytest

pytest.importorskip("mcp", reason="the framework of router-sdk-mcp")
pytest.importorskip("router_sdk_mcp", reason="plugins/mcp")
pytest.importorskip("jsonschema", reason="what the framework of router-sdk-mcp brings")

import jsonschema
from mcp import Client
from router_sdk_mcp import mcp_server

from router_sdk import Outcome, Proposal, Strategy, Task

MODES = ["auto", "legacy"]
"""The stateless envelope of 2026-07-28, and the handshake of all before it."""


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], epsilon=0.0)


@pytest.fixture(params=MODES)
async def client(router, request):
    connected, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def hold():  # in one task, since what is entered in a fixture is left in another
        async with Client(mcp_server(router), mode=request.param) as client:
            connected.set_result(client)
            await done.wait()

    holder = asyncio.create_task(hold())
    yield await connected
    done.set()
    await holder


async def call(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None
    return result.content[0].text


async def test_a_task_is_routed_recorded_and_explained(client, router):
    decision = await call(client, "route", text="refunds and invoices", session_id="s", explain=True)
    assert decision["agent"] == "billing"
    assert decision["propensity"] == 1.0
    assert decision["evidence"]
    kept = await call(
        client,
        "record",
        decision_id=decision["decision_id"],
        success=True,
        latency_ms=12,
        cost_usd=0.5,
        metrics={"m": 1},
    )
    assert kept == {"decision_id": decision["decision_id"], "recorded": True}
    router.flush()
    (example,) = router.examples
    assert (example.agent, example.reward, example.signals.latency_ms) == ("billing", 1.0, 12.0)
    told = await call(client, "explain", decision_id=decision["decision_id"])
    assert (told["strategy"], told["agent"]) == ("heuristic", "billing")


async def test_nothing_is_logged_by_a_ranking(client, router):
    found = await call(client, "rank", text="refunds and invoices", top_k=2)
    assert found["agents"][0]["agent"] == "billing"
    assert len(found["agents"]) == 2
    assert router.status()["store"]["decisions"] == 0


async def test_whom_to_ask_about_and_who_there_is(client, router):
    router.record(router.route("tables and charts"), Outcome(success=True))
    open_one = await call(client, "route", text="charts and tables")
    asked = (await call(client, "ask_about", n=5))["decisions"]
    assert [one["decision_id"] for one in asked] == [open_one["decision_id"]]
    assert asked[0]["text"] == "charts and tables"
    known = await call(client, "add_agent", name="fraud", description="stolen cards", capabilities=["b", "a"])
    assert known["capabilities"] == ["a", "b"]
    listed = json.loads((await client.read_resource("router://agents")).contents[0].text)
    assert [one["name"] for one in listed] == ["analyst", "billing", "coder", "fraud"]
    status = json.loads((await client.read_resource("router://status")).contents[0].text)
    assert status["store"]["decisions"] == 2


async def test_every_tool_has_a_schema_that_its_answer_keeps_and_says_what_it_does(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"route", "record", "rank", "explain", "ask_about", "add_agent"}
    decision = await call(client, "route", text="x", explain=True)
    given = {
        "route": {"text": "x"},
        "record": {"decision_id": decision["decision_id"], "success": True},
        "rank": {"text": "x"},
        "explain": {"decision_id": decision["decision_id"]},
        "ask_about": {},
        "add_agent": {"name": "new"},
    }
    for name, tool in tools.items():
        answer = await call(client, name, **given[name])
        jsonschema.validate(answer, tool.output_schema)
        jsonschema.validate(given[name], tool.input_schema)
        assert tool.description
        assert tool.title
        assert tool.annotations.open_world_hint is False
    assert tools["record"].input_schema["properties"].keys() == Outcome.model_fields.keys() | {
        "decision_id",
        "outcome_id",
    }
    looks = {name for name, tool in tools.items() if tool.annotations.read_only_hint}
    assert looks == {"rank", "explain", "ask_about"}
    assert {name for name, tool in tools.items() if tool.annotations.destructive_hint} == {"add_agent"}


async def test_what_the_router_refuses_is_told(client, router):
    assert "nothing to route by" in await refused(client, "route")
    assert "UnknownAgentError" in await refused(client, "route", text="x", exclude=["nobody"])
    assert "InvalidIdError" in await refused(client, "record", decision_id="7", success=True)
    assert "UnknownDecisionError" in await refused(client, "explain", decision_id="0" * 32)
    decision = await call(client, "route", text="x")
    assert "at least one part" in await refused(client, "record", decision_id=decision["decision_id"])
    assert "quality" in await refused(client, "record", decision_id=decision["decision_id"], quality=2)
    assert len(router.examples) == 0


@pytest.mark.parametrize("said", ["null", '["a", 1]', '{"b": 2}', "true", "7", '"quoted"'])
async def test_a_text_that_happens_to_be_json_stays_a_text(client, router, said):
    decision = await call(client, "route", text=said, session_id=said, idempotency_key=said)
    await call(client, "record", decision_id=decision["decision_id"], response=said, feedback_text=said, success=True)
    router.flush()
    kept = router.decision(decision["decision_id"]).task
    assert (kept.text, kept.session_id) == (said, said)


async def test_what_is_sent_twice_counts_once(client, router):
    first = await call(client, "route", text="x", idempotency_key="k")
    assert await call(client, "route", text="x", idempotency_key="k") == first
    assert "IdempotencyConflictError" in await refused(client, "route", text="y", idempotency_key="k")
    for _ in range(3):
        await call(client, "record", decision_id=first["decision_id"], success=True, outcome_id="o")
    assert router.status()["store"]["outcomes"] == 1


async def test_a_tenants_server_tells_and_takes_nothing_of_others(router):
    theirs = router.route(Task("x", tenant="other"))
    async with Client(mcp_server(router, tenant="mine")) as client:
        decision = await call(client, "route", text="x")
        assert router.decision(decision["decision_id"]).task.tenant == "mine"
        assert "WrongTenantError" in await refused(client, "explain", decision_id=theirs.decision_id)
        assert "WrongTenantError" in await refused(client, "record", decision_id=theirs.decision_id, success=True)
        asked = (await call(client, "ask_about", n=10))["decisions"]
        assert [one["decision_id"] for one in asked] == [decision["decision_id"]]
        assert [str(one.uri) for one in (await client.list_resources()).resources] == ["router://agents"]


class Odd(Strategy):
    """Scores that are no numbers."""

    name = "odd"

    def propose(self, task, agents, context):
        return Proposal(
            {agent.name: 1 / len(agents) for agent in agents}, {agent.name: float("nan") for agent in agents}
        )


async def test_no_number_that_json_lacks_is_sent(make_router):
    """It would be sent as null with success, and refused by the client, whose schema says number."""
    async with Client(mcp_server(make_router([Odd]))) as client:
        assert [one["score"] for one in (await call(client, "rank", text="x"))["agents"]] == [1 / 3] * 3


async def test_a_closed_router_and_a_store_that_cannot_be_written_are_told(client, router):
    decision = await call(client, "route", text="x")
    router.close()
    assert "RouterClosedError" in await refused(client, "record", decision_id=decision["decision_id"], success=True)
    assert "RouterClosedError" in await refused(client, "route", text="x")


def test_how_the_program_logs_is_left_alone(router):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    mcp_server(router)
    assert (root.handlers, root.level) == (before, level)


def test_the_entry_point_and_the_package_do_without_the_framework():
    hidden = "import sys; sys.modules.update({'mcp': None, 'mcp_types': None})\n"
    asks = "import router_sdk_mcp.hooks\ntry: router_sdk_mcp.mcp_server\nexcept ImportError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", hidden + asks], capture_output=True, text=True, check=True)
    assert "pip install 'mcp" in done.stdout


@pytest.mark.benchmark
async def test_what_a_call_costs_in_process(make_router):
    router = make_router(["heuristic"], store=":memory:")
    async with Client(mcp_server(router)) as client:
        costs = {"by hand": [], "mcp": []}
        for _ in range(300):
            begun = time.perf_counter()
            decision = await router.aroute("refunds and invoices")
            await router.arecord(decision.decision_id, Outcome(success=True))
            between = time.perf_counter()
            decision = await call(client, "route", text="refunds and invoices")
            await call(client, "record", decision_id=decision["decision_id"], success=True)
            costs["by hand"].append(between - begun)
            costs["mcp"].append(time.perf_counter() - between)
    p50 = {name: sorted(found)[150] * 1e6 for name, found in costs.items()}
    print(p50)
    assert p50["mcp"] - p50["by hand"] < 10_000
