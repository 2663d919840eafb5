#!/usr/bin/env bash
# openai-agents 0.24.0: RunHooks.on_agent_end is called before the output guardrails, also of an output that they refuse.
#
# Seen with openai-agents 0.24.0, openai 3.57.0, CPython 3.11, Linux x86_64; an agent with a scripted model (the SDK's own) and
# an output guardrail that trips:
#
#   called in this order: on_agent_end, output guardrail
#   raised by the run:    OutputGuardrailTripwireTriggered
#
# Expected, from "Called when the agent produces a final output": that there is one. Who counts successes in on_agent_end counts
# a refused output as one, and no hook tells of the refusal; only the exception of the run does. The same hook is also called
# with the words of a handler for max_turns, which is no output of the agent.
#
# Source: run_final_output_hooks and run_output_guardrails in agents/run_internal/run_loop.py of
# github.com/openai/openai-agents-python.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/order.py" <<'PYTHON'
import asyncio

from agents import Agent, GuardrailFunctionOutput, OutputGuardrail, OutputGuardrailTripwireTriggered, RunConfig, RunHooks, Runner
from agents.testing import ScriptedModel, assistant_message

order = []


class Hooks(RunHooks):
    async def on_agent_end(self, context, agent, output):
        order.append("on_agent_end")


async def trips(context, agent, output):
    order.append("output guardrail")
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)


agent = Agent("a", model=ScriptedModel([[assistant_message("no")]]), output_guardrails=[OutputGuardrail(trips)])
try:
    asyncio.run(Runner.run(agent, "x", hooks=Hooks(), run_config=RunConfig(tracing_disabled=True)))
except OutputGuardrailTripwireTriggered:
    order.append("tripped")
print(*order, sep=", ")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai-agents==0.24.0 openai==3.57.0
said="$("$folder/venv/bin/python" "$folder/order.py")"
echo "in this order: $said"
[ "$said" = "on_agent_end, output guardrail, tripped" ]
