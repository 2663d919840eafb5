"""A desk of thirty agents: triage is offered the five that fit best, and the router learns who took over."""

import asyncio

from agents import Agent, Handoff, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message, function_call
from router_sdk_openai_agents import narrowed, watch

from router_sdk import Agent as Routable
from router_sdk import Router

TOPICS = ["refunds", "parcels", "passwords", "crashes", "discounts", "contracts"]
DESKS = [Routable(f"{topic} desk {i}", description=f"{topic} in region {i}") for topic in TOPICS for i in range(5)]


async def main() -> None:
    """Play one run, with scripted models instead of real ones."""
    desks = [Agent(one.name, model=ScriptedModel([[assistant_message("done")]])) for one in DESKS]
    chosen = Handoff.default_tool_name(desks[2])
    script = ScriptedModel([[function_call(chosen, {}, call_id="1")]])
    text = "I wait for two refunds in region 2"
    with Router(DESKS, ["heuristic"], ":memory:") as router:
        triage = Agent("triage", model=script, handoffs=narrowed(router, desks))
        async with watch(router, text) as run:
            ended = await Runner.run(triage, text, hooks=run, run_config=RunConfig(tracing_disabled=True))
        offered = [one.agent_name for one in script.calls[0].handoffs]
        print(f"offered {len(offered)} of {len(desks)}:", ", ".join(offered))
        print(f"{ended.last_agent.name} answered: {ended.final_output}")
        router.flush()
        print("learnt:", [(example.agent, example.reward) for example in router.examples])


if __name__ == "__main__":
    asyncio.run(main())
