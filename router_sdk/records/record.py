"""The boundary record: frozen, strict about unknown fields, finite, with a named error."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from router_sdk.errors import InvalidInputError

MAX_TEXT_CHARS = 1_000_000
"""Longest text, response or feedback text that is accepted, in characters."""

MAX_NAME_CHARS = 200


def check_name(value: str) -> str:
    """Return ``value`` if it can serve as a name in files, tables and logs.

    Raises:
        ValueError: if it is blank, looks like a path, or holds control characters.
    """
    if not value or value != value.strip():
        raise ValueError("must not be empty or start or end with white space")
    if value.startswith(".") or "/" in value or "\\" in value:
        raise ValueError("must not look like a path: leave out '/', '\\' and a leading '.'")
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


PrivacyMode = Literal["full", "redacted", "hmac", "none"]
"""What of a text is kept: all, all but what looks personal, a keyed hash, or nothing."""

Name = Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS), AfterValidator(check_name)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]


def describe(error: ValidationError) -> str:
    """Say in one line per fault what is wrong with which field, without echoing long values."""
    lines = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"]) or "record"
        given = repr(fault.get("input"))
        shown = given if len(given) <= 80 else f"{given[:77]}... ({len(given)} characters)"
        lines.append(f"{where}: {fault['msg']} (got {shown})")
    return "; ".join(lines)


class Record(BaseModel):
    """Base of everything a caller hands in. Subclasses name their own error in ``fault``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, revalidate_instances="never")
    fault: ClassVar[type[InvalidInputError]] = InvalidInputError

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise self.fault(f"{type(self).__name__}: {describe(error)}") from None
