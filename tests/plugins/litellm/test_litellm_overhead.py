"""What the adapter costs beside ``route`` and ``record`` by hand, in processor time: the machine may be busy."""

import asyncio
import os
import time

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches prices

pytest.importorskip("litellm.types.router", reason="the framework of router-sdk-litellm")
pytest.importorskip("router_sdk_litellm", reason="plugins/litellm")

import litellm
from call_costs import costs
from litellm.integrations.custom_logger import CustomLogger
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

    def __init__(self):
        super().__init__()
        self.told = asyncio.Event()

    async def async_filter_deployments(self, model, healthy_deployments, *more, **named):
        return healthy_deployments

    async def async_log_success_event(self, *given, **named):
        self.told.set()

    async def async_log_failure_event(self, *given, **named):
        pass


class Ours(RoutedModels):
    """Says when it was told."""

    def __init__(self, router):
        super().__init__(router)
        self.told = asyncio.Event()

    async def async_log_success_event(self, *given, **named):
        await super().async_log_success_event(*given, **named)
        self.told.set()


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

    lists = [litellm.callbacks, litellm._async_success_callback, litellm._async_failure_callback]
    own = [list(registered) for registered in lists]

    async def asked(plugin=None):
        """One call, and all that LiteLLM does after it."""
        for registered, before in zip(lists, own, strict=True):
            registered[:] = [*before, *filter(None, [plugin])]
        answer = await llm.acompletion("desk", messages=REFUND)
        if plugin is not None:
            await plugin.told.wait()
            plugin.told.clear()
        return answer

    def by_hand(plugin):
        async def call(i):
            decision = await hand.aroute("a refund please")
            begun = time.perf_counter()
            answer = await asked(plugin)
            latency_ms = (time.perf_counter() - begun) * 1_000
            fields = {"latency_ms": latency_ms, "tokens": answer.usage.total_tokens}
            await hand.arecord(decision.decision_id, Outcome(success=True, **fields))  # all that metadata can hold

        return call

    routed = Ours(ours)
    alone, idle, with_ours = await costs(by_hand(None), by_hand(Idle()), lambda i: asked(routed))
    assert len(ours.examples) == 300
    print(f"RoutedModels: {with_ours - alone:.0f} us over calling by hand, of which LiteLLM's own {idle - alone:.0f}")
    assert with_ours - alone < 2_000
