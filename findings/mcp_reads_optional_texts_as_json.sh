#!/usr/bin/env bash
# mcp 2.3.0: a text given for a parameter of type "str | None" is read as JSON first: "null" arrives as None, and a text that
# looks like a list or an object is refused.
#
# Seen with mcp 2.3.0, pydantic 2.14.4, CPython 3.11, Linux x86_64; two tools of MCPServer that return repr() of their argument:
#
#                    text: str       text: str | None = None
#   given "null":    'null'          None
#   given '["a"]':   '["a"]'         an error: Input should be a valid string
#   given "7":       '7'             '7'
#
# Expected, from the published schema (anyOf string, null): a JSON string is a string. The client's text "null" is lost without
# an error. Parameters that may hold any text should be plain str with a default.
#
# Source: FuncMetadata.pre_parse_json in mcp/server/mcpserver/utilities/func_metadata.py of
# github.com/modelcontextprotocol/python-sdk, which says that it is for clients that send lists as texts.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/texts.py" <<'PYTHON'
import asyncio

from mcp import Client
from mcp.server.mcpserver import MCPServer


def plain(text: str) -> str:
    return repr(text)


def optional(text: str | None = None) -> str:
    return repr(text)


async def main():
    server = MCPServer("texts", log_level="CRITICAL")
    server.add_tool(plain)
    server.add_tool(optional)
    said = []
    async with Client(server) as client:
        for given in ("null", '["a"]', "7"):
            for tool in ("plain", "optional"):
                answer = await client.call_tool(tool, {"text": given})
                said.append("refused" if answer.is_error else answer.content[0].text)
    print(" ".join(said))


asyncio.run(main())
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mcp==2.3.0 pydantic==2.14.4
said="$("$folder/venv/bin/python" "$folder/texts.py" 2> "$folder/log")" || { cat "$folder/log"; exit 1; }
echo "plain and optional, for null, [\"a\"] and 7: $said"
[ "$said" = "'null' None '[\"a\"]' refused '7' '7'" ]
