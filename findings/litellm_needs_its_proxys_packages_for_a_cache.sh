#!/usr/bin/env bash
# litellm 1.110.2: installed by itself, it cannot answer out of a cache. With `litellm.cache = litellm.Cache(type="local")`
# the second of two equal calls of `await litellm.acompletion(..., caching=True)` raises ModuleNotFoundError for 'fastapi':
# what it does with a hit (litellm/caching/caching_handler.py) imports modules of its proxy, whose packages (fastapi, then
# orjson and soundfile) come with extras alone. With these three the same call answers. The cache in memory needs none.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2
cat > "$folder/ask.py" <<'PYTHON'
import asyncio, os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.cache = litellm.Cache(type="local")
message = [{"role": "user", "content": "hello"}]


async def main():
    for _ in range(2):
        call = litellm.acompletion("openai/x", messages=message, mock_response="hi", api_key="none", caching=True)
        answer = await call
        await asyncio.sleep(1)  # it fills the cache after it has answered
    return answer.choices[0].message.content


try:
    print("answered", asyncio.run(main()))
except ModuleNotFoundError as error:
    print("no module", error.name)
except Exception as error:
    print(type(error).__name__, str(error)[:200])
PYTHON
before="$("$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null | tail -1)"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastapi orjson soundfile
after="$("$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null | tail -1)"
echo "by itself: $before; with fastapi, orjson and soundfile: $after"
[ "$before" = "no module fastapi" ] && [ "$after" = "answered hi" ]
