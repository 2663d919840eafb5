"""Writes ``docs/openapi.json``: the service as FastAPI describes it. ``--check`` fails if the file is stale."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from router_sdk_server import ServiceSettings, create_app

PAGE = Path(__file__).with_name("openapi.json")


def described() -> str:
    """The description, as it is written."""
    return json.dumps(create_app(ServiceSettings()).openapi(), indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if the file is stale")
    fresh = described()
    if parser.parse_args().check:
        if PAGE.read_text(encoding="utf-8") != fresh:
            sys.exit(f"{PAGE.name} is stale: run python docs/generate_openapi.py")
    else:
        PAGE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
