"""Describes a data set's agents from the file that may lie beside it: ``NAME.agents.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router_sdk.errors import InvalidAgentError, InvalidInputError
from router_sdk.records import Agent

TYPICAL_TOKENS = 1_000
"""Tokens in and out that an expected cost per call is worked out for, from prices per million."""

AGENT_FIELDS = frozenset(Agent.model_fields) - {"name"}


def read_sidecar(data: Path) -> dict[str, dict[str, Any]]:
    """What stands beside a data file about its agents: name to fields of :class:`Agent`; empty without a file.

    Besides an agent's own fields, ``usd_per_mtok_in`` and ``usd_per_mtok_out`` are understood as prices.

    Raises:
        InvalidInputError: if the file is not a JSON object of objects.
    """
    path = data.with_name(data.name.split(".")[0] + ".agents.json")
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidInputError(f"{path.name}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(fields, dict) for fields in found.values()):
        raise InvalidInputError(
            f'{path.name}: expected an object with an object per agent, such as {{"name": {{"description": …}}}}'
        )
    return {name: _agent_fields(fields) for name, fields in found.items()}


def described_agent(name: str, fields: Mapping[str, Any], source: str) -> Agent:
    """An agent of a data set.

    Raises:
        InvalidAgentError: if its name or a field is malformed; the message names ``source``.
    """
    try:
        return Agent(name, **fields)
    except InvalidAgentError as error:
        raise InvalidAgentError(f"{source}: agent {name!r:.60}: {error}") from None


def _agent_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in fields.items() if key in AGENT_FIELDS}
    other = {key: value for key, value in fields.items() if key not in AGENT_FIELDS}
    prices = [other[key] for key in ("usd_per_mtok_in", "usd_per_mtok_out") if isinstance(other.get(key), (int, float))]
    if prices:
        known.setdefault("cost_usd", sum(prices) / len(prices) * TYPICAL_TOKENS / 1e6)
    if other:
        known["metadata"] = {**known.get("metadata", {}), **other}
    return known
