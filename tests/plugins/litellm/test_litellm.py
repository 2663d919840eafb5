"""A real ``litellm.Router`` with mock answers: who is asked, and what is recorded of it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches prices

pytest.importorskip("litellm.types.router", reason="the framework of router-sdk-litellm")
pytest.importorskip("router_sdk_litellm", reason="plugins/litellm")

import litellm
import router_sdk_litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import ClassifierPlugin, RoutingPlugin
from router_sdk_litellm import RoutedModels, RoutedTiers

from router_sdk import Agent, Outcome

pytestmark = pytest.mark.filterwarnings("ignore:Items? .*ReadOnly:UserWarning")  # what pydantic says of LiteLLM's types
AGENTS = [
    Agent("openai/billing", description="invoices and refunds"),
    Agent("openai/technical", description="errors and crashes"),
    Agent("openai/spare", description="anything else"),
]
REFUND = [{"role": "user", "content": "a refund please"}]
FAILS = "litellm.InternalServerError"


def deployment(group, model, answer=None, **more):
    params = {"model": model, "api_key": "none", "mock_response": answer or f"{model} did it", **more}
    return {"model_name": group, "litellm_params": params, "model_info": {"id": f"{group}/{model}/{len(more)}"}}


BOTH = [deployment("desk", "openai/billing"), deployment("desk", "openai/technical")]
FAILING = [deployment("desk", "openai/billing", FAILS), deployment("desk", "openai/technical")]


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


@pytest.fixture(autouse=True)
def callbacks(monkeypatch):
    """LiteLLM's callbacks are the process's; a test's are taken out again."""
    before = {
        name: list(value)
        for name, value in vars(litellm).items()
        if name.endswith(("callbacks", "callback"))
        if isinstance(value, list)
    }
    yield litellm.callbacks
    for name, value in before.items():
        getattr(litellm, name)[:] = value


@pytest.fixture
def routed(router, callbacks):
    callbacks.append(RoutedModels(router))
    return callbacks[-1]


def made(deployments=BOTH, **options):
    options = {"num_retries": 0, "retry_after": 0, **options}
    return litellm.Router(model_list=deployments, **options)


async def ask(llm, messages=REFUND, group="desk", **options):
    answer = await llm.acompletion(group, messages=messages, **options)
    return answer.choices[0].message.content


async def told(router, count):
    """What is recorded; LiteLLM calls back after it has answered."""
    async with asyncio.timeout(20):
        while True:
            await asyncio.to_thread(router.flush)
            if len(router.examples) >= count:
                break
            await asyncio.sleep(0.01)
    return [(example.agent, example.reward, example.source) for example in router.examples]


async def test_the_chosen_model_is_asked_and_its_answer_is_the_outcome(router, routed):
    llm = made([deployment("desk", "openai/billing", input_cost_per_token=0.001, output_cost_per_token=0.002), BOTH[1]])
    assert await ask(llm, metadata={"session_id": "thread-7"}) == "openai/billing did it"
    assert await told(router, 1) == [("openai/billing", 1.0, "routed")]
    (example,) = router.examples
    assert example.signals.tokens == 30
    assert example.signals.cost_usd == pytest.approx(0.01 + 0.04)
    assert example.signals.latency_ms > 0
    assert example.task.session_id == "thread-7"


async def test_a_model_without_a_price_costs_an_unknown_amount(router, routed):
    await ask(made())
    await told(router, 1)
    assert router.examples[-1].signals.cost_usd is None


async def test_a_retry_asks_another_model_and_both_are_told_of(router, routed):
    llm = made(FAILING, num_retries=2)
    assert await ask(llm) == "openai/technical did it"
    assert await told(router, 2) == [("openai/billing", 0.0, "routed"), ("openai/technical", 1.0, "routed")]
    assert router.status()["store"]["decisions"] == 2


async def test_a_fallback_is_routed_among_its_own_and_credited(router, routed):
    """What LiteLLM keeps of a plugin's narrowing would leave nobody of the fallback's group."""
    group = [deployment("desk", "openai/billing", FAILS), deployment("desk", "openai/technical", FAILS)]
    llm = made([*group, deployment("last", "openai/spare")], fallbacks=[{"desk": ["last"]}])
    assert await ask(llm) == "openai/spare did it"
    assert await told(router, 2) == [("openai/billing", 0.0, "routed"), ("openai/spare", 1.0, "routed")]


async def test_a_fallback_to_a_model_that_is_no_agent_goes_on(router, routed):
    group = [deployment("desk", "openai/billing", FAILS), deployment("desk", "openai/technical", FAILS)]
    llm = made([*group, deployment("last", "openai/stranger")], fallbacks=[{"desk": ["last"]}])
    assert await ask(llm) == "openai/stranger did it"
    assert await told(router, 1) == [("openai/billing", 0.0, "routed")]


async def test_a_model_in_cooldown_is_not_chosen(router, routed):
    llm = made([deployment("desk", "openai/billing", "litellm.RateLimitError"), BOTH[1]])
    with pytest.raises(litellm.RateLimitError):
        await ask(llm)
    for _ in range(3):
        assert await ask(llm) == "openai/technical did it"
    assert await told(router, 4) == [("openai/billing", 0.0, "routed")] + [("openai/technical", 1.0, "routed")] * 3


async def test_two_deployments_of_one_model_stay(router, routed):
    twice = [deployment("desk", "openai/billing", "one", organization="1"), deployment("desk", "openai/billing", "two")]
    llm = made([*twice, BOTH[1]])
    assert {await ask(llm) for _ in range(40)} == {"one", "two"}


async def test_a_stream_is_told_of_once_when_it_has_ended(router, routed):
    stream = await made().acompletion("desk", messages=REFUND, stream=True)
    assert router.examples[-1:] == []
    async for _ in stream:
        pass
    assert await told(router, 1) == [("openai/billing", 1.0, "routed")]
    await asyncio.sleep(0)
    assert len(router.examples.parts(router.examples[-1].decision_id)) == 1


async def test_a_cancelled_call_records_nothing(router, routed, callbacks):
    begun = asyncio.Event()

    class Tells(CustomLogger):
        async def async_filter_deployments(self, model, healthy_deployments, *more, **named):
            begun.set()
            return healthy_deployments

    callbacks.append(Tells())
    llm = made(
        [deployment("desk", "openai/billing", mock_delay=60), deployment("desk", "openai/technical", mock_delay=60)]
    )
    running = asyncio.create_task(ask(llm))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await ask(made())
    assert await told(router, 1) == [("openai/billing", 1.0, "routed")]
    assert router.status()["store"]["decisions"] == 2


async def test_an_answer_out_of_a_cache_is_nobodys(router, routed, monkeypatch):
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
    llm = made(cache_responses=True)
    await ask(llm, caching=True)
    await told(router, 1)
    await ask(llm, caching=True)
    await ask(llm, [{"role": "user", "content": "the app crashes: errors"}], caching=True)
    found = await told(router, 2)
    assert found == [("openai/billing", 1.0, "routed"), ("openai/technical", 1.0, "routed")]


async def test_where_the_router_fails_the_call_goes_on(router, routed):
    llm = made()
    router.close()
    assert await ask(llm) in {"openai/billing did it", "openai/technical did it"}


async def test_a_failure_within_the_task_does_not_end_the_call(router, callbacks):
    callbacks.append(RoutedModels(router, task=lambda messages, metadata: 1 / 0))
    assert await ask(made()) in {"openai/billing did it", "openai/technical did it"}


async def test_nothing_to_route_by_goes_on(router, routed):
    assert await ask(made(), [{"role": "assistant", "content": "hello"}])
    assert router.status()["store"]["decisions"] == 0


async def test_a_group_that_is_not_to_be_routed_is_left_alone(router, callbacks):
    callbacks.append(RoutedModels(router, groups=["other"]))
    answers = {await ask(made()) for _ in range(40)}
    assert len(answers) == 2
    assert router.status()["store"]["decisions"] == 0


async def test_agents_may_have_names_of_their_own(make_router, callbacks):
    router = make_router(["heuristic"], agents=["cheap", Agent("strong", description="a refund")], epsilon=0.0)
    callbacks.append(RoutedModels(router, {"cheap": "openai/technical", "strong": "openai/billing"}))
    assert await ask(made()) == "openai/billing did it"
    assert await told(router, 1) == [("strong", 1.0, "routed")]


def test_models_that_cannot_be_told_apart_are_refused(router):
    with pytest.raises(ValueError, match="no agent is called stranger"):
        RoutedModels(router, {"stranger": "openai/x"})
    with pytest.raises(ValueError, match="two agents have one model"):
        RoutedModels(router, {"openai/billing": "openai/x", "openai/spare": "openai/x"})


async def test_a_filter_after_ours_that_lets_another_answer_credits_that_one(router, routed, callbacks):
    class Overrules(CustomLogger):
        async def async_filter_deployments(self, model, healthy_deployments, *more, **named):
            return [BOTH[1]]

    callbacks.append(Overrules())
    assert await ask(made()) == "openai/technical did it"
    assert await told(router, 1) == [("openai/technical", 1.0, "observed")]


async def test_what_a_policy_plugin_denies_is_not_chosen(router, routed):
    class Denies:
        async def run(self, context):
            context.candidate_models = [one for one in context.candidate_models if one != "openai/billing"]
            return context

    assert isinstance(Denies(), RoutingPlugin)
    llm = made([*BOTH, deployment("desk", "openai/spare")], plugins=[Denies()])
    assert await ask(llm) != "openai/billing did it"
    assert (await told(router, 1))[0][0] in {"openai/technical", "openai/spare"}


async def test_late_feedback_joins_a_call(router, routed):
    await ask(made())
    await told(router, 1)
    router.record(router.examples[-1].decision_id, Outcome(feedback=-1.0))
    router.flush()
    assert router.examples[-1].reward == 0.0


async def test_calls_at_once_are_told_of_each_for_itself(router, routed):
    llm = made(FAILING, num_retries=1)
    answers = await asyncio.gather(*(ask(llm) for _ in range(20)))
    assert set(answers) == {"openai/technical did it"}
    await asyncio.to_thread(router.flush)
    found = await told(router, router.status()["store"]["decisions"])  # each attempt has one, and an outcome
    assert len({example.decision_id for example in router.examples}) == len(found)
    assert found.count(("openai/technical", 1.0, "routed")) == 20


async def test_a_slow_callback_does_not_confuse_attempts(router, callbacks):
    class Slow(CustomLogger):
        async def async_log_failure_event(self, *given):
            await asyncio.sleep(0.2)

    callbacks.append(Slow())
    callbacks.append(RoutedModels(router))
    assert await ask(made(FAILING, num_retries=1)) == "openai/technical did it"
    assert sorted(await told(router, 2)) == [("openai/billing", 0.0, "routed"), ("openai/technical", 1.0, "routed")]


# -- tiers


TIERS = [
    Agent("SIMPLE", description="greetings"),
    Agent("MEDIUM", description="summaries"),
    Agent("COMPLEX", description="proofs and programs"),
    Agent("REASONING", description="riddles"),
]
PROOF = [{"role": "user", "content": "proofs and programs: please write one, and explain each of its steps in full"}]


def tiered(tiers, large="large did it", **options):
    config = {
        "classifier_type": "custom",
        "classifier_plugin": tiers,
        "tiers": {"SIMPLE": "small", "MEDIUM": "small", "COMPLEX": "large", "REASONING": "large"},
    }
    smart = {"model": "auto_router/complexity_router", "complexity_router_config": config}
    smart["complexity_router_default_model"] = "small"
    deployments = [deployment("small", "openai/a", "small did it"), deployment("large", "openai/b", large)]
    return made([*deployments, {"model_name": "smart", "litellm_params": smart}], **options)


@pytest.fixture
def tiers(make_router, callbacks):
    router = make_router(["heuristic"], agents=TIERS, epsilon=0.0)
    callbacks.append(RoutedTiers(router))
    return router, callbacks[-1]


async def test_a_tier_is_chosen_and_its_answer_is_the_outcome(tiers):
    router, plugin = tiers
    assert isinstance(plugin, ClassifierPlugin)
    llm = tiered(plugin)
    assert await ask(llm, PROOF, "smart") == "large did it"
    assert await told(router, 1) == [("COMPLEX", 1.0, "routed")]
    answers = await asyncio.gather(*(ask(llm, PROOF, "smart") for _ in range(10)))
    assert answers == ["large did it"] * 10
    assert await told(router, 11) == [("COMPLEX", 1.0, "routed")] * 11


async def test_a_tier_that_fails_is_told_of_and_its_fallback_is_not(tiers):
    router, plugin = tiers
    llm = tiered(plugin, FAILS, fallbacks=[{"large": ["small"]}])
    assert await ask(llm, PROOF, "smart") == "small did it"
    assert await told(router, 1) == [("COMPLEX", 0.0, "routed")]


async def test_a_classifier_that_fails_declines(tiers):
    router, plugin = tiers
    llm = tiered(plugin)
    router.close()
    assert await ask(llm, PROOF, "smart") in ("small did it", "large did it")


# -- the rest


def test_without_the_framework_the_import_says_what_to_install():
    program = "import sys; sys.modules['litellm'] = None; import router_sdk_litellm"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: router_sdk_litellm needs litellm" in done.stderr


def test_the_example_runs():
    example = Path(router_sdk_litellm.__file__).parents[1] / "examples" / "two_models.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert "learnt" in done.stdout
