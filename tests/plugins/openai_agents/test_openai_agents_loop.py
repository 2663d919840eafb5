"""The adapter never holds the event loop while the log is written, on a disk that takes 60 ms for each commit."""

import asyncio

import pytest

pytest.importorskip("agents.testing", reason="the framework of router-sdk-openai-agents")
pytest.importorskip("router_sdk_openai_agents", reason="plugins/openai_agents")

from adapter_faults import callbacks
from agents import Agent, Handoff, RunConfig, RunHooks, Runner
from agents.testing import ScriptedModel, assistant_message, function_call
from loop_steps import assert_free, slow_writer, watched
from router_sdk_openai_agents import RoutedRun, narrowed, pick
from router_sdk_openai_agents.handoffs import _Offers

from router_sdk import Agent as Routable

QUIET = RunConfig(tracing_disabled=True)
ROUTABLE = [Routable("billing", description="invoices and refunds"), Routable("technical", description="errors")]


async def test_a_runs_hooks_and_the_narrowing_of_its_hand_offs(make_router, monkeypatch):
    router, longest = make_router(["heuristic"], agents=ROUTABLE, epsilon=0.0), {}
    for owner, names in [(RoutedRun, callbacks(RoutedRun, RunHooks)), (_Offers, ["_of"])]:
        for name in names:
            longest[name] = []
            monkeypatch.setattr(owner, name, watched(vars(owner)[name], longest[name]))
    slow_writer(monkeypatch, router)

    async def run():
        last = Agent("technical", model=ScriptedModel([[assistant_message("done")]]))
        call = function_call(Handoff.default_tool_name(last), {}, call_id="c")
        first = Agent("billing", model=ScriptedModel([[call]]), handoffs=narrowed(router, [last]))
        async with pick(router, [first], "a refund please") as run:
            return await Runner.run(run.agent, "a refund please", hooks=run, run_config=QUIET)

    ended = await asyncio.gather(*(run() for _ in range(6)))
    assert [one.last_agent.name for one in ended] == ["technical"] * 6
    assert_free(longest)
