"""The boundary record: frozen, strict about unknown fields, finite, with a named error."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    PlainSerializer,
    StrictStr,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from router_sdk.errors import InvalidInputError, StrategyError
from router_sdk.records.bounds import MAX_COST_USD, MAX_LATENCY_MS, MAX_NUMBER
from router_sdk.records.plain import INTEGERS, exact, plain
from router_sdk.spelling import normal

MAX_TEXT_CHARS = 1_000_000
"""Longest text, response or feedback text that is accepted, in characters."""

MAX_NAME_CHARS = 200

MAX_ITEMS = 10_000
"""Most features, metrics, examples, capabilities or past agents that one record holds."""

_LONG = re.compile(r"\d{19}")


class _Short(reprlib.Repr):
    """Shows the beginning and the end of what is long."""

    def repr_int(self, value: int, level: int) -> str:
        """Python writes no integer of more than 4,300 digits."""
        bits = value.bit_length()
        return f"an integer of {bits} bits" if bits > 1_000 else super().repr_int(value, level)


_SHOWN = _Short()
_SHOWN.maxstring = _SHOWN.maxother = 80
_SHOWN.maxlevel = 2


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
Real = Annotated[float, _Real]
Metadata = Annotated[dict[StrictStr, JsonValue], AfterValidator(check_json)]


def describe(error: ValidationError) -> str:
    """Say in one line per fault what is wrong with which field, without echoing long values."""
    lines = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part)[:MAX_NAME_CHARS] for part in fault["loc"][:8]) or "record"
        given = fault.get("input")
        length = f", {len(given)} characters" if isinstance(given, str) and len(given) > _SHOWN.maxstring else ""
        lines.append(f"{where}: {fault['msg']} (got {_SHOWN.repr(given)}{length})")
    return "; ".join(lines)


def blame(error: BaseException) -> str:
    """Name an error for the log without quoting a foreign one: its message may hold what a user wrote."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, StrategyError) else kind


def _plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with values of Python's own types, see ``plain``.

    Raises:
        ValueError: naming the field of a number that would lose digits.
    """
    found = {}
    for name, value in fields.items():
        try:
            found[name] = plain(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


class Record(BaseModel):
    """Base of everything a caller hands in. Subclasses name their own error in ``fault``.

    Attributes:
        fault: What is raised where a field is malformed.
        short_form: The field that a plain text stands for, if a text will do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, revalidate_instances="never")
    fault: ClassVar[type[InvalidInputError]] = InvalidInputError
    short_form: ClassVar[str | None] = None

    def __init__(self, **fields: Any) -> None:
        try:
            try:
                super().__init__(**fields)
            except ValidationError:  # so that what is plain already does not pay for what is not
                if any(isinstance(value, Iterator) for value in fields.values()):  # it cannot be read twice
                    raise
                super().__init__(**_plain_fields(fields))
        except ValidationError as error:
            raise self.fault(f"{type(self).__name__}: {describe(error)}") from None
        except ValueError as error:
            raise self.fault(f"{type(self).__name__}: {error}") from None

    @classmethod
    def of(cls, value: object) -> Self:
        """Turn what a caller passed into this record: the record itself, a mapping of its fields, or the short form.

        Raises:
            InvalidInputError: the record's own kind of it, if it is none of these or malformed.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and cls.short_form is not None:
            return cls(**{cls.short_form: value})
        if isinstance(value, Mapping):
            return cls.from_fields(value)
        short = "" if cls.short_form is None else f", a text as its {cls.short_form}"
        name = cls.__name__
        raise cls.fault(f"{name}: expected {name}{short}, or a mapping of its fields, got {type(value).__name__}")

    @classmethod
    def kept(cls, fields: Any) -> Self:
        """The record from what was kept of it, which may be less than a caller must give: each field is checked.

        Raises:
            ValidationError: if a field is unknown or malformed.
        """
        if isinstance(fields, cls):
            return fields
        made = cls.__new__(cls)
        cls.__pydantic_validator__.validate_python(fields, self_instance=made)
        return made

    @classmethod
    def from_fields(cls, fields: Mapping[Any, Any]) -> Self:
        """Build the record from a mapping that nobody has looked at yet.

        Raises:
            InvalidInputError: the record's own kind of it, if a field is unknown, missing or malformed.
        """
        strange = [key for key in fields if not isinstance(key, str)]
        if strange:
            raise cls.fault(f"{cls.__name__}: field names are texts, got {strange[0]!r}")
        missing = [name for name, field in cls.model_fields.items() if field.is_required() and name not in fields]
        if missing:
            raise cls.fault(f"{cls.__name__}: {', '.join(missing)} must be given")
        return cls(**fields)
