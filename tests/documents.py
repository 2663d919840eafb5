"""Python blocks of documents, each run as somebody runs it who copies it: by itself, in an empty folder."""

import re
from pathlib import Path

from router_sdk import Router

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document):
    """Every Python block of a document, by its path from the project's folder; signatures of hooks are none."""
    found = _BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    return [block for block in found if not re.fullmatch(r"def \w+\([^)]*\) -> [^:]+\n", block)]


def run(document, block):
    """What a block has defined once it has run; its routers are closed."""
    names = {"__name__": "__main__"}
    try:
        exec(compile(block, document, "exec"), names)
    finally:
        for value in names.values():
            if isinstance(value, Router):
                value.close()
    return names
