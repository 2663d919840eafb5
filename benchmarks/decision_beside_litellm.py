"""A routing decision over HTTP beside LiteLLM's proxy with its adaptive router, in one run.

    python benchmarks/decision_beside_litellm.py PATH_OF_ITS_COMMAND [--rounds 5] [--seconds 3] [--connections 32]

The proxy's models answer at once, with ``mock_response``, so that nobody is called: what is left is its own work, of
which the decision is a part that cannot be asked for alone. Ours is ``POST /v1/route`` with three agents, on disk,
learning. Both are one process, and take turns; the client is another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from gateway import KEY, proxy, until
from service import TASK, cpu_s, figures, load, ready, running

MODELS = ("small", "medium", "large")


def config() -> str:
    """Three models that answer at once, and the adaptive router before them."""
    models: list[dict[str, object]] = [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/m", "api_key": "sk-none", "mock_response": "answered"},
            "model_info": {
                "input_cost_per_token": 1e-7 * tier,
                "adaptive_router_preferences": {"quality_tier": tier, "strengths": []},
            },
        }
        for tier, name in enumerate(MODELS, 1)
    ]
    chosen = {
        "model": "auto_router/adaptive_router",
        "adaptive_router_default_model": MODELS[0],
        "adaptive_router_config": {"available_models": list(MODELS), "weights": {"quality": 0.7, "cost": 0.3}},
    }
    return json.dumps({"model_list": [*models, {"model_name": "auto", "litellm_params": chosen}]})  # YAML, too


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("litellm", help="the command of its proxy, in an environment of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--connections", type=int, default=32)
    told = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "router.json").write_text(json.dumps({"agents": MODELS, "strategies": ["thompson"]}))
        serve = [sys.executable, "-c", "from router_sdk.cli import main; main()", "serve", "--port", "0", "--insecure"]
        ours, our_pid = stack.enter_context(running([*serve, "--store", "router.db"], folder))
        until(lambda: ready(ours))
        theirs = 40_000 + os.getpid() % 20_000
        their_pid = proxy(stack, folder, config(), told.litellm, theirs)
        asked = json.dumps({"task": TASK}).encode()
        chat = json.dumps({"model": "auto", "messages": [{"role": "user", "content": TASK["text"]}]}).encode()
        turns = (
            (ours, our_pid, "/v1/route", asked, ""),
            (theirs, their_pid, "/v1/chat/completions", chat, KEY),
        )

        def turn(which: int, seconds: float) -> tuple[float, float, float]:
            """Requests a second, the 99th percentile in ms, and processor time a request in ms."""
            port, pid, path, body, key = turns[which]
            before = cpu_s(pid)
            took = asyncio.run(load(port, path, lambda: body, told.connections, seconds, key))
            return (*figures(took, seconds), 1e3 * (cpu_s(pid) - before) / len(took))

        def answers() -> bool:
            try:
                turn(1, 0.2)
            except (OSError, AssertionError, asyncio.IncompleteReadError):
                return False
            return True

        until(answers)
        rounds = []
        for number in range(told.rounds):
            first = number % 2
            found = {which: turn(which, told.seconds) for which in (first, 1 - first)}
            rounds.append((found[0], found[1]))
    rates = sorted(mine[0] / other[0] for mine, other in rounds)
    tails = sorted(mine[1] / other[1] for mine, other in rounds)
    for name, which in (("ours", 0), ("LiteLLM", 1)):
        rate, tail, spent = (statistics.median(one[which][i] for one in rounds) for i in range(3))
        print(f"{name:8} {rate:8,.0f}/s, p99 {tail:6.1f} ms, {spent:.2f} ms of processor a request")
    print(f"requests a second: {statistics.median(rates):.1f} x ({rates[0]:.1f} to {rates[-1]:.1f})", end="; ")
    print(f"p99: {statistics.median(tails):.3f} x ({tails[0]:.3f} to {tails[-1]:.3f})")


if __name__ == "__main__":
    main()
