"""A group of two models behind ``litellm.Router``: the router chooses, and learns from each call."""

import asyncio
import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import fetches prices

import litellm
from router_sdk_litellm import RoutedModels

from router_sdk import Agent, Router

AGENTS = [
    Agent("openai/small", description="greetings and small talk", examples=["hello"]),
    Agent("openai/large", description="proofs and programs", examples=["prove that there are infinitely many primes"]),
]


def deployment(model: str, answer: str) -> dict[str, object]:
    """A model of the group ``chat`` that answers without a network."""
    return {"model_name": "chat", "litellm_params": {"model": model, "api_key": "none", "mock_response": answer}}


async def main() -> None:
    """Ask twice, and look at what was learnt; the large model is out of order."""
    deployments = [deployment("openai/small", "hi"), deployment("openai/large", "litellm.InternalServerError")]
    with Router(AGENTS, ["heuristic"], ":memory:", epsilon=0.0) as router:
        litellm.callbacks.append(RoutedModels(router))
        llm = litellm.Router(model_list=deployments, num_retries=1, retry_after=0)
        for text in ("hello", "prove that there are infinitely many primes"):
            answer = await llm.acompletion("chat", messages=[{"role": "user", "content": text}])
            print(f"{text!r}:", answer.choices[0].message.content)
        async with asyncio.timeout(10):
            while len(router.examples) < 3:  # LiteLLM calls back after it has answered
                await asyncio.sleep(0.05)
                router.flush()
        print("learnt:", [(example.agent, example.reward) for example in router.examples])


if __name__ == "__main__":
    asyncio.run(main())
