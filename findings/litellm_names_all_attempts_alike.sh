#!/usr/bin/env bash
# litellm 1.110.2: attempts of a request have ids of their own, litellm_call_id, unless the caller names one: then all have it.
#
# Seen with litellm 1.110.2, CPython 3.11, Linux x86_64; a litellm.Router with two models, of which one fails, one retry, and a
# CustomLogger that notes kwargs["litellm_call_id"] in its failure and success events:
#
#   without an id of the caller's: two ids
#   with litellm_call_id="mine":   mine, mine
#
# Expected, from each attempt having its own id as a rule: that it is one. Who stores what came of an attempt under it, so that
# what is delivered twice counts once, drops the success that came after a failure as soon as a program names its calls.
#
# Source: function_setup in litellm/utils.py of github.com/BerriAI/litellm takes litellm_call_id from the arguments where it is
# there, and makes one where it is not; litellm.Router hands the same arguments to each attempt.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/ids.py" <<'PYTHON'
import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from litellm.integrations.custom_logger import CustomLogger

seen = []


class Notes(CustomLogger):
    async def async_filter_deployments(self, model, healthy_deployments, *more, **named):
        failing = [one for one in healthy_deployments if one["model_info"]["id"] == "failing"]
        return failing if failing and not seen else [one for one in healthy_deployments if one not in failing]

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        seen.append(kwargs["litellm_call_id"])

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        seen.append(kwargs["litellm_call_id"])


def model(name, answer):
    params = {"model": f"openai/{name}", "api_key": "none", "mock_response": answer}
    return {"model_name": "desk", "litellm_params": params, "model_info": {"id": name}}


async def ids(**options):
    seen.clear()
    models = [model("failing", "litellm.InternalServerError"), model("well", "done")]
    llm = litellm.Router(model_list=models, num_retries=1, retry_after=0)
    await llm.acompletion("desk", messages=[{"role": "user", "content": "x"}], **options)
    async with asyncio.timeout(30):
        while len(seen) < 2:
            await asyncio.sleep(0.01)
    return list(seen)


async def main():
    litellm.callbacks.append(Notes())
    print(len(set(await ids())), *await ids(litellm_call_id="mine"))


asyncio.run(main())
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2
said="$("$folder/venv/bin/python" -W ignore "$folder/ids.py" 2> /dev/null)"
echo "ids without one of the caller's, and with one: $said"
[ "$said" = "2 mine mine" ]
