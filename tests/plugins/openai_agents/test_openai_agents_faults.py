"""A failure at each callback of the adapter in turn, on the router's side and on the SDK's.

Nothing is doubled, nothing is credited to who did not do it, and a run ends as it would without the router.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest

pytest.importorskip("agents.testing", reason="the framework of router-sdk-openai-agents")
pytest.importorskip("router_sdk_openai_agents", reason="plugins/openai_agents")

from adapter_faults import RECORDING, ROUTING, Fault, Log, broken, callbacks, lost
from agents import (
    Agent,
    GuardrailFunctionOutput,
    Handoff,
    ModelRetrySettings,
    ModelSettings,
    OutputGuardrail,
    RunConfig,
    RunHooks,
    Runner,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message, function_call
from router_sdk_openai_agents import RoutedRun, narrowed, pick

from router_sdk import Agent as Routable
from router_sdk import Router, RouterError

QUIET = RunConfig(tracing_disabled=True)
ROUTABLE = [
    Routable("billing", description="invoices and refunds", examples=["I was charged twice"]),
    Routable("technical", description="errors and crashes", examples=["the app crashes"]),
]
HOOKS = callbacks(RoutedRun, RunHooks)


def agent(name, *steps, **fields):
    steps = steps or [[assistant_message(f"{name} did it")]]
    return Agent(name, instructions="Help.", model=ScriptedModel(steps), **fields)


def hands_over(name):
    return [function_call(Handoff.default_tool_name(Agent(name)), {}, call_id=f"to-{name}")]


def late():
    return TimeoutError("too slow")


async def trips(context, agent, given):
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)


@function_tool
def look() -> str:
    """Look something up."""
    return "nothing"


def again():
    at_once = {"initial_delay": 0.0}
    return ModelSettings(retry=ModelRetrySettings(max_retries=1, backoff=at_once, policy=lambda context: True))


def looping():
    return agent("billing", *([[function_call("look", {}, call_id=f"c{i}")] for i in range(9)]), tools=[look])


class Scenario(NamedTuple):
    """Who begins, how the run ends, and what is to be told."""

    first: Callable[[], Agent]
    ended: str
    told: list


DID, DID_NOT = ("billing", 1.0, "routed"), ("billing", 0.0, "routed")
TOOK_OVER, FAILED_THEN = ("technical", 1.0, "observed"), ("technical", 0.0, "observed")

SCENARIOS = {
    "it answers": Scenario(lambda: agent("billing"), "billing did it", [DID]),
    "it fails": Scenario(lambda: agent("billing", late()), "TimeoutError", [DID_NOT]),
    "the SDK asks it again": Scenario(
        lambda: agent("billing", late(), [assistant_message("billing did it")], model_settings=again()),
        "billing did it",
        [DID],
    ),
    "the SDK asks it again in vain": Scenario(
        lambda: agent("billing", late(), late(), model_settings=again()), "TimeoutError", [DID_NOT]
    ),
    "it hands over": Scenario(
        lambda: agent("billing", hands_over("technical"), handoffs=[agent("technical")]),
        "technical did it",
        [DID, TOOK_OVER],
    ),
    "who took over fails": Scenario(
        lambda: agent("billing", hands_over("technical"), handoffs=[agent("technical", late())]),
        "TimeoutError",
        [DID, FAILED_THEN],
    ),
    "its output is refused": Scenario(
        lambda: agent("billing", output_guardrails=[OutputGuardrail(trips)]),
        "OutputGuardrailTripwireTriggered",
        [DID_NOT],
    ),
    "too many turns": Scenario(looping, "MaxTurnsExceeded", [DID_NOT]),
}
WAYS = ["run", "streamed"]


@pytest.fixture
def log(make_router):
    return Log(make_router(["heuristic"], agents=ROUTABLE, epsilon=0.0, store=":memory:"))


async def ran(router, scenario, way):
    """What a run ended with: its output, or the name of its exception."""
    text = "a refund please"
    try:
        async with pick(router, [scenario.first(), agent("technical")], text) as run:
            options = {"hooks": run, "run_config": QUIET, "max_turns": 3}
            if way == "run":
                return (await Runner.run(run.agent, text, **options)).final_output
            ended = Runner.run_streamed(run.agent, text, **options)
            async for _ in ended.stream_events():
                pass
            return ended.final_output
    except RouterError:
        raise
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("way", WAYS)
async def test_without_a_failure_of_the_routers_all_is_told(log, way):
    for name, scenario in SCENARIOS.items():
        router = log.begin()
        assert await ran(router, scenario, way) == scenario.ended, name
        assert log.told() == scenario.told, name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("callback", HOOKS)
async def test_where_an_outcome_cannot_be_recorded_the_run_ends_as_it_would(log, monkeypatch, caplog, callback, way):
    entered = 0
    for name, scenario in SCENARIOS.items():
        with monkeypatch.context() as patch:
            router = log.begin()
            fault = Fault(patch, router, RECORDING)
            patch.setattr(RoutedRun, callback, fault.within(vars(RoutedRun)[callback]))
            caplog.clear()
            assert await ran(router, scenario, way) == scenario.ended, name
            assert lost(scenario.told, log.told()) == fault.raised, name
            assert caplog.text.count("goes on without the outcome") == fault.raised, name
            entered += fault.entered
    assert entered


@pytest.mark.parametrize("callback", HOOKS)
async def test_a_router_that_cannot_decide_says_so_before_anything_runs(log, monkeypatch, callback):
    router = log.begin()
    fault = Fault(monkeypatch, router, ROUTING)
    monkeypatch.setattr(RoutedRun, callback, fault.within(vars(RoutedRun)[callback]))
    if callback == "__aenter__":  # there is nobody else to run
        with pytest.raises(RouterError, match="the disk is full"):
            await ran(router, SCENARIOS["it answers"], "run")
        assert log.told() == []
    else:
        assert await ran(router, SCENARIOS["it hands over"], "run") == "technical did it"
        assert fault.raised == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("callback", HOOKS)
async def test_a_callback_that_is_itself_broken_doubles_nothing_and_credits_nobody_else(
    log, monkeypatch, callback, way
):
    for scenario in SCENARIOS.values():
        with monkeypatch.context() as patch:
            router = log.begin()
            patch.setattr(RoutedRun, callback, broken(vars(RoutedRun)[callback]))
            await ran(router, scenario, way)
            told_of = log.told()
            successes = [one for one in told_of if one[1] == 1.0]
            lost(scenario.told, successes)  # a run that is broken off is a failure of who was at work
            assert len({one[0] for one in told_of}) == len(told_of)


@pytest.mark.parametrize("method", ["arecord", "observe"])
async def test_who_is_cancelled_while_an_outcome_is_written_has_it_written_once(log, monkeypatch, method):
    router, original = log.begin(), getattr(Router, method)
    loop = asyncio.get_running_loop()

    async def arecord(*given, **named):
        running.cancel()
        await original(router, *given, **named)

    def observe(*given, **named):
        loop.call_soon_threadsafe(running.cancel)
        return original(router, *given, **named)

    monkeypatch.setattr(router, method, {"arecord": arecord, "observe": observe}[method])
    running = asyncio.create_task(ran(router, SCENARIOS["it hands over"], "run"))
    with pytest.raises(asyncio.CancelledError):
        await running
    expected = [DID] if method == "arecord" else [DID, TOOK_OVER]
    async with asyncio.timeout(20):
        while len(log.told()) < len(expected):
            await asyncio.sleep(0.001)
    assert log.told() == expected


async def test_a_stream_that_is_left_early_or_cancelled_tells_nothing(log):
    for leave in (lambda streamed: None, lambda streamed: streamed.cancel()):
        router = log.begin()
        async with pick(router, [agent("billing")], "a refund please") as run:
            streamed = Runner.run_streamed(run.agent, "a refund please", hooks=run, run_config=QUIET)
            async for _ in streamed.stream_events():
                leave(streamed)
                break
            streamed.cancel()
        assert log.told() == []


async def test_a_stream_that_is_read_after_the_context_was_left_is_told_of(log):
    router = log.begin()
    async with pick(router, [agent("billing")], "a refund please") as run:
        streamed = Runner.run_streamed(run.agent, "a refund please", hooks=run, run_config=QUIET)
    async for _ in streamed.stream_events():
        pass
    assert log.told() == [DID]


async def test_where_hand_offs_cannot_be_ranked_all_are_offered(log, monkeypatch, caplog):
    router = log.begin()
    desks = narrowed(router, [agent("billing"), agent("technical")], top_k=1)
    fault = Fault(monkeypatch, router, ["rank"])
    first = agent("billing", hands_over("technical"), handoffs=desks)
    with fault:
        ended = await Runner.run(first, "a refund please", run_config=QUIET)
    assert ended.final_output == "technical did it"
    assert (fault.raised, len(first.model.first_call.handoffs)) == (1, 2)
    assert "all hand-offs are offered" in caplog.text
