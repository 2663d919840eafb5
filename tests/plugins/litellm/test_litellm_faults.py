"""A failure at each callback of the adapter in turn, on the router's side and on LiteLLM's.

Nothing is doubled, nothing is credited to who did not do it, and a call ends as it would without the router.
"""

import asyncio
import os
from typing import NamedTuple

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches prices

pytest.importorskip("litellm.types.router", reason="the framework of router-sdk-litellm")
pytest.importorskip("router_sdk_litellm", reason="plugins/litellm")

import litellm
from adapter_faults import RECORDING, ROUTING, Fault, Log, broken, callbacks, lost
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.types.router import ClassifierPlugin
from router_sdk_litellm import RoutedModels, RoutedTiers

from router_sdk import Agent

pytestmark = pytest.mark.filterwarnings("ignore:Items? .*ReadOnly:UserWarning")  # what pydantic says of LiteLLM's types
AGENTS = [
    Agent("openai/billing", description="invoices and refunds"),
    Agent("openai/technical", description="errors and crashes"),
    Agent("openai/spare", description="anything else"),
]
TIERS = [Agent("SIMPLE", description="greetings"), Agent("COMPLEX", description="proofs and programs")]
REFUND = [{"role": "user", "content": "a refund please"}]
PROOF = [{"role": "user", "content": "proofs and programs: please write one, and explain each of its steps in full"}]
FAILS = "litellm.InternalServerError"
FILTERS = callbacks(RoutedModels, CustomLogger)


def deployment(group, model, answer=None):
    params = {"model": model, "api_key": "none", "mock_response": answer or f"{model} did it"}
    return {"model_name": group, "litellm_params": params, "model_info": {"id": f"{group}/{model}"}}


class Scenario(NamedTuple):
    """What the models answer, how the call ends, and what is to be told."""

    ended: str
    told: list
    billing: str | None = None
    technical: str | None = None
    options: dict = {}


DID, DID_NOT = ("openai/billing", 1.0, "routed"), ("openai/billing", 0.0, "routed")
ANOTHER, NOR_ANOTHER = ("openai/technical", 1.0, "routed"), ("openai/technical", 0.0, "routed")
SPARE = ("openai/spare", 1.0, "routed")
LAST = {"fallbacks": [{"desk": ["last"]}]}

SCENARIOS = {
    "it answers": Scenario("openai/billing did it", [DID]),
    "it fails": Scenario("InternalServerError", [DID_NOT], FAILS),
    "a retry": Scenario("openai/technical did it", [DID_NOT, ANOTHER], FAILS, options={"num_retries": 1}),
    "a retry in vain": Scenario(
        "InternalServerError", [DID_NOT, NOR_ANOTHER], FAILS, FAILS, options={"num_retries": 1}
    ),
    "a fallback": Scenario("openai/spare did it", [DID_NOT, SPARE], FAILS, FAILS, options=LAST),
    "a retry, then a fallback": Scenario(
        "openai/spare did it", [DID_NOT, NOR_ANOTHER, SPARE], FAILS, FAILS, options={**LAST, "num_retries": 1}
    ),
}
WAYS = ["asked", "streamed"]


@pytest.fixture(autouse=True)
def registered():
    """LiteLLM's callbacks are the process's; a test's are taken out again."""

    def lists():
        return {
            name: value
            for name, value in vars(litellm).items()
            if name.endswith(("callbacks", "callback"))
            if isinstance(value, list)
        }

    before = {name: list(value) for name, value in lists().items()}

    def forget():
        for name, value in lists().items():
            value[:] = before.get(name, [])

    yield forget
    forget()


@pytest.fixture
def log(make_router):
    return Log(make_router(["heuristic"], agents=AGENTS, epsilon=0.0, store=":memory:"))


@pytest.fixture
def tiers(make_router):
    return Log(make_router(["heuristic"], agents=TIERS, epsilon=0.0, store=":memory:"))


def made(scenario):
    group = [
        deployment("desk", "openai/billing", scenario.billing),
        deployment("desk", "openai/technical", scenario.technical),
    ]
    models = [*group, deployment("last", "openai/spare")]
    return litellm.Router(model_list=models, **{"num_retries": 0, "retry_after": 0, **scenario.options})


async def ran(llm, way, messages=REFUND, group="desk"):
    """The words of an answer, or the name of the exception."""
    try:
        answer = await llm.acompletion(group, messages=messages, stream=way == "streamed")
        if way == "streamed":
            return "".join([part.choices[0].delta.content or "" async for part in answer])
        return answer.choices[0].message.content
    except Exception as error:
        return type(error).__name__


async def told(log, count=0, fault=None):
    """What is recorded once LiteLLM has called back so often, which it does after it has answered."""
    async with asyncio.timeout(20):
        while True:
            await GLOBAL_LOGGING_WORKER.flush()
            found = await asyncio.to_thread(log.told)
            if len(found) + (fault.raised if fault else 0) >= count:
                return found
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("way", WAYS)
async def test_without_a_failure_of_the_routers_all_is_told(log, registered, way):
    for name, scenario in SCENARIOS.items():
        registered()
        router = log.begin()
        litellm.callbacks.append(RoutedModels(router))
        assert await ran(made(scenario), way) == scenario.ended, name
        assert sorted(await told(log, len(scenario.told))) == sorted(scenario.told), name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("callback", FILTERS)
async def test_where_an_outcome_cannot_be_recorded_the_call_ends_as_it_would(
    log, registered, monkeypatch, caplog, callback, way
):
    entered = 0
    for name, scenario in SCENARIOS.items():
        registered()
        with monkeypatch.context() as patch:
            router = log.begin()
            fault = Fault(patch, router, RECORDING)
            patch.setattr(RoutedModels, callback, fault.within(vars(RoutedModels)[callback]))
            litellm.callbacks.append(RoutedModels(router))
            caplog.clear()
            assert await ran(made(scenario), way) == scenario.ended, name
            assert lost(scenario.told, await told(log, len(scenario.told), fault)) == fault.raised, name
            assert ("without the outcome" in caplog.text) == bool(fault.raised), name
            entered += fault.entered
    assert entered


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("callback", FILTERS)
async def test_where_the_router_cannot_decide_litellm_does(log, registered, monkeypatch, callback, after):
    """At the first attempt, or at the next one: what that comes to is no outcome of the decision before it."""
    for name, scenario in SCENARIOS.items():
        registered()
        with monkeypatch.context() as patch:
            router = log.begin()
            before = router.status()["store"]["decisions"]
            fault = Fault(patch, router, ROUTING, after)
            patch.setattr(RoutedModels, callback, fault.within(vars(RoutedModels)[callback]))
            litellm.callbacks.append(RoutedModels(router))
            ended = await ran(made(scenario), "asked")
            await asyncio.to_thread(router.flush)
            decided = router.status()["store"]["decisions"] - before
            found = await told(log, decided)
            assert len(found) == decided, name  # each attempt that was routed has an outcome, and no other
            assert {source for _, _, source in found} <= {"routed"}, name
            if fault.raised == 0:
                assert (ended, sorted(found)) == (scenario.ended, sorted(scenario.told)), name
            elif after:
                assert found[:1] == scenario.told[:1], name


async def test_what_a_group_answers_that_is_not_routed_is_no_outcome_of_the_one_before_it(log):
    router, scenario = log.begin(), SCENARIOS["a fallback"]
    litellm.callbacks.append(RoutedModels(router, groups=["desk"]))
    for _ in range(2):  # what comes late of the first is there when the second is
        assert await ran(made(scenario), "asked") == scenario.ended
    assert await told(log, 2) == [DID_NOT, DID_NOT]


async def test_a_programs_own_name_for_a_call_loses_no_attempt_of_it(log):
    router, scenario = log.begin(), SCENARIOS["a retry"]
    litellm.callbacks.append(RoutedModels(router))
    for _ in range(2):
        llm = made(scenario)
        await llm.acompletion("desk", messages=REFUND, litellm_call_id="mine")
    assert sorted(await told(log, 4)) == sorted(2 * scenario.told)


async def test_tiers_and_the_models_of_a_tier_are_told_of_beside_each_other(tiers, make_router):
    models = Log(make_router(["heuristic"], agents=["openai/a", "openai/b"], epsilon=0.0, store=":memory:"))
    litellm.callbacks += [plugin := RoutedTiers(tiers.begin()), RoutedModels(models.begin())]
    assert await ran(tiered(plugin), "asked", PROOF, "smart") == "large did it"
    assert await told(tiers, 1) == [("COMPLEX", 1.0, "routed")]
    assert await told(models, 1) == [("openai/b", 1.0, "routed")]


TOLD_WITHOUT = {"async_filter_deployments": [], "async_log_success_event": [0.0], "async_log_failure_event": [1.0]}
"""With which rewards are outcomes that do not need a callback."""


@pytest.mark.parametrize("callback", FILTERS)
async def test_a_callback_that_is_itself_broken_doubles_nothing_and_credits_nobody_else(
    log, registered, monkeypatch, callback
):
    for name, scenario in SCENARIOS.items():
        registered()
        with monkeypatch.context() as patch:
            router = log.begin()
            patch.setattr(RoutedModels, callback, broken(vars(RoutedModels)[callback]))
            litellm.callbacks.append(RoutedModels(router))
            await ran(made(scenario), "asked")
            expected = [one for one in scenario.told if one[1] in TOLD_WITHOUT[callback]]
            assert sorted(await told(log, len(expected))) == sorted(expected), name


async def test_a_stream_that_is_left_early_tells_nothing(log):
    router = log.begin()
    litellm.callbacks.append(RoutedModels(router))
    llm = made(SCENARIOS["it answers"])
    stream = await llm.acompletion("desk", messages=REFUND, stream=True)
    async for _ in stream:
        break
    await ran(llm, "asked")
    assert await told(log, 1) == [DID]
    assert router.status()["store"]["decisions"] == 2


async def test_who_is_cancelled_while_an_outcome_is_written_has_it_written_once(log, monkeypatch):
    """As LiteLLM's logging does that takes too long."""
    router = log.begin()
    arecord = router.arecord

    async def cancelled_there(*given, **named):
        asyncio.current_task().cancel()
        await arecord(*given, **named)

    monkeypatch.setattr(router, "arecord", cancelled_there)
    litellm.callbacks.append(RoutedModels(router))
    llm = made(SCENARIOS["it answers"])
    assert await ran(llm, "asked") == "openai/billing did it"
    assert await told(log, 1) == [DID]


def tiered(tiers, large="large did it", **options):
    config = {
        "classifier_type": "custom",
        "classifier_plugin": tiers,
        "tiers": {"SIMPLE": "small", "MEDIUM": "small", "COMPLEX": "large", "REASONING": "large"},
    }
    smart = {"model": "auto_router/complexity_router", "complexity_router_config": config}
    smart["complexity_router_default_model"] = "small"
    models = [deployment("small", "openai/a", "small did it"), deployment("large", "openai/b", large)]
    models.append({"model_name": "smart", "litellm_params": smart})
    return litellm.Router(model_list=models, **{"num_retries": 0, "retry_after": 0, **options})


TIERED = {
    "it answers": ({}, "large did it", [("COMPLEX", 1.0, "routed")]),
    "it fails": ({"large": FAILS}, "InternalServerError", [("COMPLEX", 0.0, "routed")]),
    "a fallback": (
        {"large": FAILS, "fallbacks": [{"large": ["small"]}]},
        "small did it",
        [("COMPLEX", 0.0, "routed")],
    ),
}


@pytest.mark.parametrize("asked", [ROUTING, RECORDING])
@pytest.mark.parametrize("callback", callbacks(RoutedTiers, CustomLogger, ClassifierPlugin))
async def test_tiers(tiers, registered, monkeypatch, callback, asked):
    entered = 0
    for name, (options, ended, expected) in TIERED.items():
        registered()
        with monkeypatch.context() as patch:
            router = tiers.begin()
            fault = Fault(patch, router, asked)
            patch.setattr(RoutedTiers, callback, fault.within(vars(RoutedTiers)[callback]))
            litellm.callbacks.append(plugin := RoutedTiers(router))
            assert await ran(tiered(plugin, **options), "asked", PROOF, "smart") in {ended, "small did it"}, name
            assert lost(expected, await told(tiers, len(expected), fault)) == fault.raised, name
            entered += fault.entered
    assert entered
