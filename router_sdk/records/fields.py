"""What the fields of records may hold: kinds of texts, names and numbers, and how long and how large they may be.

Bounds of numbers are far beyond what anything costs, takes or counts. Whatever learns squares and sums what it is
given, and must still be finite after that. A number within them can be taken back again without leaving much behind:
sums of costs and latencies are kept in double precision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from router_sdk.records.plain import INTEGERS, exact
from router_sdk.spelling import normal

MAX_TEXT_CHARS = 1_000_000
"""Longest text, response or feedback text that is accepted, in characters."""

MAX_NAME_CHARS = 200

MAX_ITEMS = 10_000
"""Most features, metrics, examples, capabilities or past agents that one record holds."""

MAX_NUMBER = 1e30
"""Largest magnitude of a feature or metric."""
MAX_COST_USD = 1e9
"""Largest cost of one call, in US dollars."""
MAX_LATENCY_MS = 1e12
"""Largest latency of one call, in milliseconds: 31 years."""
MAX_TOKENS = 2**53
"""Most tokens of one call; beyond it a double does not tell one from the next."""

_LONG = re.compile(r"\d{19}")


def check_agent_name(value: str) -> str:
    """Return ``value`` if it can serve as an agent's name in tables and logs; ``openai/gpt-5`` and ``a:b`` can.

    Raises:
        ValueError: if it is blank, could lead to another folder, or holds control characters.
    """
    if not value or value != value.strip():
        raise ValueError("must not be empty or start or end with white space")
    if "\\" in value or any(not part or part.startswith(".") for part in value.split("/")):
        raise ValueError("must not look like a path: leave out '\\', a leading '.', and '/' but between two words")
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


def check_name(value: str) -> str:
    """Return ``value`` if it can serve as a name in files, tables and logs.

    Raises:
        ValueError: if it is blank, looks like a path, or holds control characters.
    """
    if "/" in value:
        raise ValueError("must not look like a path: leave out '/', '\\' and a leading '.'")
    return check_agent_name(value)


def check_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` if it can be stored as JSON.

    Raises:
        ValueError: if it holds a number that is not finite, an integer that does not fit into 64 bits, half a surrogate
            pair, or more than a text may.
    """
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None
    if _LONG.search(written):
        _check_integers(value)
    size = len(written.encode())
    if size > MAX_TEXT_CHARS:
        raise ValueError(f"must take at most {MAX_TEXT_CHARS} bytes as JSON, takes {size}")
    return value


def _check_integers(value: Any) -> None:
    if isinstance(value, int) and value not in INTEGERS:
        raise ValueError("must hold integers of 64 bits at most; write longer ones as text")
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_integers(inner)


PrivacyMode = Literal["full", "redacted", "hmac", "none"]
"""What of a text is kept: all, all but what looks personal, a keyed hash, or nothing."""


class _Real:
    """A float among other kinds of value, checked without a call of Python; what only converts to one is none."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-MAX_NUMBER, le=MAX_NUMBER)
        own = core_schema.chain_schema([core_schema.is_instance_schema(float), number])
        return core_schema.json_or_python_schema(json_schema=number, python_schema=own)


class _Feature:
    """One fault for all kinds of value that a feature may have."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = (
            f"must be a boolean, a text, or a number between {-MAX_NUMBER:g} and {MAX_NUMBER:g}; integers of 64 bits"
        )
        return core_schema.custom_error_schema(handler(source), "feature_value", custom_error_message=words)


def _spelled(value: Any) -> Any:
    return normal(value) if isinstance(value, str) else value


def _apart(value: Any) -> Any:
    """Two names that differ in their Unicode form alone are one name."""
    if isinstance(value, Mapping):
        spelled: dict[Any, Any] = {}
        for name in value:
            if spelled.setdefault(_spelled(name), name) is not name:
                raise ValueError(f"{name!r:.80} stands twice, in two Unicode forms")
    return value


_Name = StringConstraints(strict=True, max_length=MAX_NAME_CHARS)
Name = Annotated[str, _Name, AfterValidator(check_name), BeforeValidator(_spelled)]
"""What people call something, in Unicode's form NFC."""
AgentName = Annotated[str, _Name, AfterValidator(check_agent_name), BeforeValidator(_spelled)]
"""The name of an agent, which may be a model's, such as ``openai/gpt-5``; in Unicode's form NFC."""
Label = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=MAX_NAME_CHARS), BeforeValidator(_spelled)
]
"""A name that may hold any character, in Unicode's form NFC."""
OneSpelling = BeforeValidator(_apart)
"""Beside a mapping by ``Label``: no two of its keys are one name."""
Labels = Annotated[
    frozenset[Label],
    Field(max_length=MAX_ITEMS),
    PlainSerializer(sorted, when_used="json"),
    WithJsonSchema({"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True}),
]
"""A set, written in an order that is the same in every process."""
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT_CHARS)]
Exact = BeforeValidator(exact)
"""Put it behind a number's own constraints: what is given is the number that is kept."""
Cost = Annotated[float, Field(strict=True, ge=0, le=MAX_COST_USD), Exact]
Latency = Annotated[float, Field(strict=True, ge=0, le=MAX_LATENCY_MS), Exact]
Number = Annotated[float, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER), Exact]
Share = Annotated[float, Field(strict=True, ge=0, le=1), Exact]
FeatureValue = Annotated[
    StrictBool | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | Annotated[float, _Real] | Text, _Feature
]
Metadata = Annotated[dict[StrictStr, JsonValue], AfterValidator(check_json)]
