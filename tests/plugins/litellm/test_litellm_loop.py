"""The adapter never holds the event loop while the log is written, on a disk that takes 60 ms for each commit."""

import asyncio
import os

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches prices

pytest.importorskip("litellm.types.router", reason="the framework of router-sdk-litellm")
pytest.importorskip("router_sdk_litellm", reason="plugins/litellm")

import litellm
from adapter_faults import callbacks
from litellm.integrations.custom_logger import CustomLogger
from loop_steps import assert_free, slow_writer, watched
from router_sdk_litellm import RoutedModels

from router_sdk import Agent

pytestmark = pytest.mark.filterwarnings("ignore:Items? .*ReadOnly:UserWarning")
AGENTS = [Agent("openai/billing", description="invoices and refunds"), Agent("openai/technical", description="errors")]


def deployment(model, answer):
    params = {"model": model, "api_key": "none", "mock_response": answer}
    return {"model_name": "desk", "litellm_params": params, "model_info": {"id": model}}


async def test_a_calls_callbacks(make_router, monkeypatch):
    router, longest = make_router(["heuristic"], agents=AGENTS, epsilon=0.0), {}
    for name in callbacks(RoutedModels, CustomLogger):
        longest[name] = []
        monkeypatch.setattr(RoutedModels, name, watched(vars(RoutedModels)[name], longest[name]))
    for name, value in list(vars(litellm).items()):
        if name.endswith(("callbacks", "callback")) and isinstance(value, list):
            monkeypatch.setattr(litellm, name, list(value))
    litellm.callbacks.append(RoutedModels(router))
    models = [deployment("openai/billing", "litellm.InternalServerError"), deployment("openai/technical", "done")]
    slow_writer(monkeypatch, router)
    for _ in range(6):  # a router of its own for each: the other would be in cooldown
        llm = litellm.Router(model_list=models, num_retries=1, retry_after=0)
        await llm.acompletion("desk", messages=[{"role": "user", "content": "a refund please"}])
    async with asyncio.timeout(20):
        while min(len(found) for found in longest.values()) < 6:
            await asyncio.sleep(0.005)
    assert_free(longest)
