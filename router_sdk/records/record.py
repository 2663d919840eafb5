"""The boundary record: frozen, strict about unknown fields, finite, with a named error."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    StringConstraints,
    ValidationError,
)

from router_sdk.errors import InvalidInputError, StrategyError
from router_sdk.spelling import normal

MAX_TEXT_CHARS = 1_000_000
"""Longest text, response or feedback text that is accepted, in characters."""

MAX_NAME_CHARS = 200

_SHOWN = reprlib.Repr()
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
        ValueError: if it holds a number that is not finite, half a surrogate pair, or more than a text may.
    """
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None
    if size > MAX_TEXT_CHARS:
        raise ValueError(f"must take at most {MAX_TEXT_CHARS} bytes as JSON, takes {size}")
    return value


PrivacyMode = Literal["full", "redacted", "hmac", "none"]
"""What of a text is kept: all, all but what looks personal, a keyed hash, or nothing."""


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


Name = Annotated[
    str, StringConstraints(max_length=MAX_NAME_CHARS), AfterValidator(check_name), BeforeValidator(_spelled)
]
"""What people call something, in Unicode's form NFC."""
AgentName = Annotated[
    str, StringConstraints(max_length=MAX_NAME_CHARS), AfterValidator(check_agent_name), BeforeValidator(_spelled)
]
"""The name of an agent, which may be a model's, such as ``openai/gpt-5``; in Unicode's form NFC."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), BeforeValidator(_spelled)]
"""A name that may hold any character, in Unicode's form NFC."""
Labels = BeforeValidator(_apart)
"""Beside a mapping by ``Label``: no two of its keys are one name."""
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(check_json)]


def describe(error: ValidationError) -> str:
    """Say in one line per fault what is wrong with which field, without echoing long values."""
    lines = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"][:8]) or "record"
        given = fault.get("input")
        length = f", {len(given)} characters" if isinstance(given, str) and len(given) > _SHOWN.maxstring else ""
        lines.append(f"{where}: {fault['msg']} (got {_SHOWN.repr(given)}{length})")
    return "; ".join(lines)


def blame(error: BaseException) -> str:
    """Name an error for the log without quoting a foreign one: its message may hold what a user wrote."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, StrategyError) else kind


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
            super().__init__(**fields)
        except ValidationError as error:
            raise self.fault(f"{type(self).__name__}: {describe(error)}") from None

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
