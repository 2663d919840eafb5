"""What the adapter costs beside ``route`` and ``record`` by hand, in processor time: the machine may be busy."""

import os
import time

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches prices

pytest.importorskip("litellm.types.router", reason="the framework of router-sdk-litellm")
pytest.importorskip("router_sdk_litellm", reason="plugins/litellm")

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from router_sdk_litellm import RoutedModels

from router_sdk import Agent, Outcome

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore:Items? .*ReadOnly:UserWarning"),  # what pydantic says of LiteLLM's types
]
AGENTS = [Agent("openai/billing", description="invoices and refunds"), Agent("openai/technical", description="errors")]
REFUND = [{"role": "user", "content": "a refund please"}]


class Idle(CustomLogger):
    """Is asked and told of as ours is, and does nothing."""

    async def async_filter_deployments(self, model, healthy_deployments, *more, **named):
        return healthy_deployments

    async def async_log_success_event(self, *given):
        pass

    async def async_log_failure_event(self, *given):
        pass


def deployment(model):
    params = {"model": model, "api_key": "none", "mock_response": f"{model} did it"}
    return {"model_name": "desk", "litellm_params": params, "model_info": {"id": model}}


async def test_what_a_call_costs_over_calling_by_hand(make_router, tmp_path, monkeypatch):
    for name, value in list(vars(litellm).items()):
        if name.endswith(("callbacks", "callback")) and isinstance(value, list):
            monkeypatch.setattr(litellm, name, list(value))
    ours = make_router(["heuristic"], agents=AGENTS, epsilon=0.0, store=tmp_path / "ours.db")
    hand = make_router(["heuristic"], agents=AGENTS, epsilon=0.0, store=tmp_path / "hand.db")
    llm = litellm.Router(model_list=[deployment("openai/billing"), deployment("openai/technical")], num_retries=0)

    async def by_hand():
        decision = await hand.aroute("a refund please")
        begun = time.perf_counter()
        answer = await llm.acompletion("desk", messages=REFUND)
        latency_ms = (time.perf_counter() - begun) * 1_000
        fields = {"latency_ms": latency_ms, "tokens": answer.usage.total_tokens}
        await hand.arecord(decision, Outcome(success=True, **fields))

    async def with_ours():
        await llm.acompletion("desk", messages=REFUND)

    async def cost(call, plugin):
        if plugin is not None:
            litellm.callbacks.append(plugin)
        begun = time.process_time()
        for _ in range(20):
            await call()
        await GLOBAL_LOGGING_WORKER.flush()
        ours.flush()
        hand.flush()
        took = (time.process_time() - begun) / 20 * 1e6
        for registered in (litellm.callbacks, litellm._async_success_callback, litellm._async_failure_callback):
            if plugin in registered:
                registered.remove(plugin)
        return took

    found, own, routed, idle = [], [], RoutedModels(ours), Idle()
    for _ in range(30):
        plain = await cost(by_hand, None)
        own.append(await cost(by_hand, idle) - plain)
        found.append(await cost(with_ours, routed) - plain)
    assert len(ours.examples) == 600
    print(
        f"RoutedModels: {sorted(found)[15]:.0f} us over calling by hand, of which LiteLLM's own {sorted(own)[15]:.0f}"
    )
    assert sorted(found)[15] < 2_000
