"""Real runs of the Agents SDK with its own scripted models: who is offered, who works, and what is recorded of it."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("agents.testing", reason="the framework of router-sdk-openai-agents")
pytest.importorskip("router_sdk_openai_agents", reason="plugins/openai_agents")

import router_sdk_openai_agents
from agents import (
    Agent,
    GuardrailFunctionOutput,
    Handoff,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelBehaviorError,
    OutputGuardrail,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    RunHooks,
    Runner,
    Usage,
    UserError,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message, function_call
from call_costs import costs
from router_sdk_openai_agents import narrowed, pick, watch

from router_sdk import Agent as Routable
from router_sdk import Outcome

QUIET = RunConfig(tracing_disabled=True)
ROUTABLE = [
    Routable("billing", description="invoices and refunds", examples=["I was charged twice"]),
    Routable("technical", description="errors and crashes", examples=["the app crashes"]),
]


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=ROUTABLE, epsilon=0.0)


def model(*steps):
    usage = Usage(requests=1, input_tokens=100, output_tokens=10, total_tokens=110)
    return ScriptedModel(steps, default_usage=usage)


def says(text="done"):
    return [assistant_message(text)]


def hands_over(name):
    return [function_call(Handoff.default_tool_name(Agent(name)), {}, call_id=f"to-{name}")]


def agent(name, *steps, **fields):
    return Agent(name, instructions="Help.", model=model(*(steps or [says(f"{name} did it")])), **fields)


@pytest.fixture
def both():
    return [agent("billing"), agent("technical")]


def told(router):
    router.flush()
    return [(example.agent, example.reward, example.source) for example in router.examples]


async def run(run, text="a refund please", first=None, **options):
    async with run:
        return await Runner.run(first or run.agent, text, hooks=run, run_config=QUIET, **options)


async def test_the_chosen_agent_begins_and_its_end_is_the_outcome(router, both):
    picked = pick(router, both, "a refund please", prices={"billing": (1.0, 10.0)})
    ended = await run(picked)
    assert (ended.last_agent.name, ended.final_output) == ("billing", "billing did it")
    assert told(router) == [("billing", 1.0, "routed")]
    (example,) = router.examples
    assert example.decision_id == picked.decision.decision_id
    assert (example.signals.tokens, example.signals.cost_usd) == (110, pytest.approx(200 / 1e6))
    assert example.signals.latency_ms > 0


async def test_later_feedback_joins_it(router, both):
    picked = pick(router, both, [{"role": "user", "content": "a refund please"}])
    await run(picked)
    router.record(picked.decision, Outcome(feedback=-1.0))
    assert told(router) == [("billing", 0.0, "routed")]


async def test_streaming_records_once(router, both):
    async with pick(router, both, "a refund please") as picked:
        streamed = Runner.run_streamed(picked.agent, "a refund please", hooks=picked, run_config=QUIET)
        async for _ in streamed.stream_events():
            pass
    assert told(router) == [("billing", 1.0, "routed")]
    assert router.examples[-1].signals.tokens == 110


async def test_a_hand_off_is_told_of_for_both(router, both):
    technical = both[1]
    first = agent("billing", hands_over("technical"), handoffs=[technical])
    picked = pick(router, [first, technical], "a refund please", prices={"technical": (1.0, 0.0)})
    ended = await run(picked)
    assert ended.last_agent.name == "technical"
    assert told(router) == [("billing", 1.0, "routed"), ("technical", 1.0, "observed")]
    assert [example.signals.tokens for example in router.examples] == [110, 110]
    assert router.examples[-1].signals.cost_usd == pytest.approx(100 / 1e6)
    task = router.decision(router.examples[-1].decision_id).task
    assert task.parent_decision_id == picked.decision.decision_id


async def test_triage_of_ones_own_is_watched(router, both):
    triage = agent("triage", hands_over("technical"), handoffs=both)
    await run(watch(router, "the app crashes"), "the app crashes", triage)
    assert told(router) == [("technical", 1.0, "observed")]
    assert router.examples[-1].propensity is None


async def test_who_takes_over_again_is_told_of_again(router):
    billing = agent("billing", hands_over("technical"), says())
    technical = agent("technical", hands_over("billing"))
    billing.handoffs, technical.handoffs = [technical], [billing]
    await run(pick(router, [billing, technical], "a refund please"))
    assert told(router) == [
        ("billing", 1.0, "routed"),
        ("technical", 1.0, "observed"),
        ("billing", 1.0, "observed"),
    ]


async def test_an_error_of_the_model_is_a_failure_and_is_raised(router):
    failing = agent("billing", TimeoutError("too slow"))
    with pytest.raises(TimeoutError, match="too slow"):
        await run(pick(router, [failing], "a refund please"))
    assert told(router) == [("billing", 0.0, "routed")]


async def test_a_failure_after_a_hand_off_is_that_of_who_took_over(router):
    failing = agent("technical", TimeoutError("too slow"))
    first = agent("billing", hands_over("technical"), handoffs=[failing])
    with pytest.raises(TimeoutError):
        await run(pick(router, [first], "a refund please"))
    assert told(router) == [("billing", 1.0, "routed"), ("technical", 0.0, "observed")]


async def test_too_many_turns_are_a_failure(router):
    @function_tool
    def look() -> str:
        """Look something up."""
        return "nothing"

    loops = agent("billing", *([[function_call("look", {}, call_id=f"c{i}")] for i in range(5)]), tools=[look])
    with pytest.raises(MaxTurnsExceeded):
        await run(pick(router, [loops], "a refund please"), max_turns=2)
    assert told(router) == [("billing", 0.0, "routed")]
    assert router.examples[-1].signals.tokens == 220


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_guardrail_that_trips_is_a_failure(router, blocking):
    async def trips(context, agent, given):
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    guarded = agent("billing", input_guardrails=[InputGuardrail(trips, run_in_parallel=not blocking)])
    with pytest.raises(InputGuardrailTripwireTriggered):
        await run(pick(router, [guarded], "a refund please"))
    guarded = agent("technical", output_guardrails=[OutputGuardrail(trips)])
    with pytest.raises(OutputGuardrailTripwireTriggered):
        await run(pick(router, [guarded], "the app crashes"))
    assert told(router) == [("billing", 0.0, "routed"), ("technical", 0.0, "routed")]


async def test_a_tool_that_there_is_not_is_a_failure(router):
    wrong = agent("billing", [function_call("nothing_of_that_name", {}, call_id="c")])
    with pytest.raises(ModelBehaviorError):
        await run(pick(router, [wrong], "a refund please"))
    assert told(router) == [("billing", 0.0, "routed")]


async def test_a_misuse_of_the_sdk_is_nobodys_failure(router, both):
    with pytest.raises(UserError):
        async with pick(router, both, "a refund please"):
            raise UserError("no model")
    assert told(router) == []


async def test_a_cancelled_run_records_nothing(router):
    begun = asyncio.Event()

    @function_tool
    async def hangs() -> str:
        """Never ends."""
        begun.set()
        await asyncio.Event().wait()
        return ""

    stuck = agent("billing", [function_call("hangs", {}, call_id="c")], tools=[hangs])
    running = asyncio.create_task(run(pick(router, [stuck], "a refund please")))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told(router) == []


async def test_a_run_that_waits_for_approval_is_told_of_when_it_has_ended(router):
    @function_tool(needs_approval=True)
    def refund() -> str:
        """Refund."""
        return "refunded"

    careful = agent("billing", [function_call("refund", {}, call_id="c")], says(), tools=[refund])
    picked = pick(router, [careful], "a refund please")
    ended = await run(picked)
    assert ended.interruptions
    assert told(router) == []
    state = ended.to_state()
    state.approve(ended.interruptions[0])
    async with picked:
        ended = await Runner.run(careful, state, hooks=picked, run_config=QUIET)
    assert ended.final_output == "done"
    assert told(router) == [("billing", 1.0, "routed")]
    assert router.status()["store"]["decisions"] == 1


async def test_a_handler_of_too_many_turns_makes_a_success_of_them(router):
    """The SDK gives its words to the hooks as any final output: whether that is a failure, the program has to say."""

    @function_tool
    def look() -> str:
        """Look something up."""
        return "nothing"

    loops = agent("billing", *([[function_call("look", {}, call_id=f"c{i}")] for i in range(5)]), tools=[look])
    handlers = {"max_turns": lambda data: "gave up"}
    picked = pick(router, [loops], "a refund please")
    ended = await run(picked, max_turns=2, error_handlers=handlers)
    assert ended.final_output == "gave up"
    assert told(router) == [("billing", 1.0, "routed")]
    router.record(picked.decision, Outcome(success=False))
    assert told(router) == [("billing", 0.0, "routed")]


async def test_runs_at_once_are_told_of_each_for_itself(router):
    async def one(i):
        name = ROUTABLE[i % 2].name
        text = ROUTABLE[i % 2].examples[0]
        return await run(pick(router, [agent("billing"), agent("technical")], text), text), name

    for ended, name in await asyncio.gather(*(one(i) for i in range(20))):
        assert ended.last_agent.name == name
    assert sorted(told(router)) == [("billing", 1.0, "routed")] * 10 + [("technical", 1.0, "routed")] * 10


# -- narrowed hand-offs


def desk(count=30):
    return [Routable(f"desk {i}", description=f"topic{i} matters and questions") for i in range(count)]


@pytest.fixture
def large(make_router):
    return make_router(["heuristic"], agents=[*desk(), Routable("mine")], epsilon=0.0)


def offered(triage, call=-1):
    return [one.agent_name for one in triage.model.calls[call].handoffs]


async def test_of_thirty_hand_offs_five_are_offered(large):
    agents = [agent(one.name) for one in desk()]
    triage = agent("triage", hands_over("desk 7"), handoffs=narrowed(large, agents))
    await run(watch(large, "about topic7"), "about topic7", triage)
    assert len(offered(triage)) == 5
    assert "desk 7" in offered(triage)
    assert told(large) == [("desk 7", 1.0, "observed")]


async def test_what_is_offered_stays_as_it_is_within_a_run(large):
    @function_tool
    def learn() -> str:
        """Meanwhile the router learns that topic7 is somebody else's."""
        for i in range(10, 20):
            large.add_agent(Routable(f"desk {i}", description="topic7 topic7", examples=["about topic7"]))
        return "learnt"

    agents = [agent(one.name) for one in desk()]
    steps = [[function_call("learn", {}, call_id="c")], hands_over("desk 7")]
    triage = agent("triage", *steps, handoffs=narrowed(large, agents), tools=[learn])
    ended = await run(watch(large, "about topic7"), "about topic7", triage)
    assert ended.last_agent.name == "desk 7"
    assert offered(triage, 0) == offered(triage, 1)
    again = agent("triage", says(), handoffs=narrowed(large, agents))
    await run(watch(large, "about topic7"), "about topic7", again)
    assert offered(again) != offered(triage)


async def test_the_router_is_asked_once_a_turn(large, monkeypatch):
    asked, rank = [], large.rank
    monkeypatch.setattr(large, "rank", lambda task, **more: asked.append(task.text) or rank(task, **more))
    triage = agent("triage", says(), handoffs=narrowed(large, [agent(one.name) for one in desk()]))
    conversation = [{"role": "user", "content": "about topic7"}, {"role": "assistant", "content": "what of it?"}]
    conversation.append({"role": "user", "content": [{"type": "input_text", "text": "yes"}]})
    await run(watch(large, conversation), conversation, triage)
    assert asked == ["about topic7\nyes"]


async def test_nothing_to_rank_by_offers_all(large):
    triage = agent("triage", says(), handoffs=narrowed(large, [agent(one.name) for one in desk()]))
    async with watch(large, "x") as watching:
        given = [{"role": "assistant", "content": "hello"}]
        await Runner.run(triage, given, hooks=watching, run_config=QUIET)
    assert len(offered(triage)) == 30


def test_two_names_that_are_one_tool_are_refused(make_router):
    """The SDK would warn, and send the last of them alone."""
    router = make_router(["heuristic"], agents=["Refund desk", "refund_desk"])
    with pytest.raises(ValueError, match="'Refund desk' and 'refund_desk' would both be the tool"):
        narrowed(router, [agent("Refund desk"), agent("refund_desk")])


def test_strangers_and_options_that_contradict_are_refused(router, both):
    with pytest.raises(ValueError, match="no agent is called stranger"):
        narrowed(router, [*both, agent("stranger")])
    with pytest.raises(ValueError, match="no agent is called stranger"):
        pick(router, [*both, agent("stranger")], "x")
    with pytest.raises(ValueError, match="unique"):
        pick(router, [*both, agent("billing")], "x")
    with pytest.raises(ValueError, match="top_k"):
        narrowed(router, both, top_k=0)
    with pytest.raises(ValueError, match="is_enabled"):
        narrowed(router, both, is_enabled=True)


def test_without_the_framework_the_import_says_what_to_install():
    program = "import sys; sys.modules['agents'] = None; import router_sdk_openai_agents"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: router_sdk_openai_agents needs openai-agents" in done.stderr


def test_the_example_runs():
    example = Path(router_sdk_openai_agents.__file__).parents[1] / "examples" / "triage.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert "offered" in done.stdout
    assert "learnt" in done.stdout


async def test_an_agent_used_as_a_tool_is_told_of_beside_the_one_that_uses_it(router):
    helper = agent("technical")
    asks = agent("billing", [function_call("ask", {"input": "x"}, call_id="c")], says())
    async with pick(router, [asks], "refund") as own:
        tool = helper.as_tool("ask", "Ask.", hooks=own, run_config=QUIET)
        own.agent.tools = [tool]
        await Runner.run(own.agent, "refund", hooks=own, run_config=QUIET)
    assert sorted(told(router)) == [("billing", 1.0, "routed"), ("technical", 1.0, "observed")]


class Idle(RunHooks):
    """Is called as ours are, and does nothing."""

    async def on_agent_start(self, context, agent):
        pass

    async def on_handoff(self, context, from_agent, to_agent):
        pass

    async def on_agent_end(self, context, agent, output):
        pass


@pytest.mark.benchmark
async def test_what_a_run_costs_over_calling_by_hand(make_router):
    router = make_router(["heuristic"], agents=ROUTABLE, epsilon=0.0, store=":memory:")

    def fresh():
        return [agent("billing"), agent("technical")]

    async def ours():
        async with pick(router, fresh(), "a refund please") as picked:
            await Runner.run(picked.agent, "a refund please", hooks=picked, run_config=QUIET)

    async def by_hand():
        made = {one.name: one for one in fresh()}
        decision = await router.aroute("a refund please")
        begun = time.perf_counter()
        ended = await Runner.run(made[decision.agent], "a refund please", run_config=QUIET)
        usage, latency_ms = ended.context_wrapper.usage, (time.perf_counter() - begun) * 1_000
        await router.arecord(decision, Outcome(success=True, latency_ms=latency_ms, tokens=usage.total_tokens))

    async def same_form():  # hooks that do nothing
        made = {one.name: one for one in fresh()}
        decision = await router.aroute("a refund please")
        ended = await Runner.run(made[decision.agent], "a refund please", hooks=Idle(), run_config=QUIET)
        usage = ended.context_wrapper.usage
        await router.arecord(decision, Outcome(success=True, latency_ms=1.0, tokens=usage.total_tokens))

    plain, own, with_ours = await costs(lambda i: by_hand(), lambda i: same_form(), lambda i: ours())
    print(f"pick: {with_ours - plain:.0f} us over calling by hand, of which the SDK's own {own - plain:.0f}")
    assert with_ours - plain < 2_000
