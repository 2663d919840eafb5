"""The boundary record: frozen, strict about unknown fields, finite, with a named error."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from router_sdk.errors import InvalidInputError, StrategyError
from router_sdk.records.faults import UNKNOWN, fault_words, models_called
from router_sdk.records.fields import MAX_NAME_CHARS
from router_sdk.records.plain import plain


class _Short(reprlib.Repr):
    """Shows the beginning and the end of what is long."""

    def repr_int(self, value: int, level: int) -> str:
        """Python writes no integer of more than 4,300 digits."""
        bits = value.bit_length()
        return f"an integer of {bits} bits" if bits > 1_000 else super().repr_int(value, level)


_SHOWN = _Short()
_SHOWN.maxstring = _SHOWN.maxother = 80
_SHOWN.maxlevel = 2


def describe(error: ValidationError) -> str:
    """Say in one line per fault what is wrong with which field, without echoing long values."""
    lines, models = [], models_called(error.title)
    for fault in error.errors(include_url=False):
        where = ".".join(str(part)[:MAX_NAME_CHARS] for part in fault["loc"][:8]) or "record"
        said = f"{where}: {fault_words(fault, models)}"
        if fault["type"] in UNKNOWN or fault["type"] == "missing":  # the key is at fault, not what it has
            lines.append(said)
            continue
        given = fault.get("input")
        length = f", {len(given)} characters" if isinstance(given, str) and len(given) > _SHOWN.maxstring else ""
        lines.append(f"{said} (got {_SHOWN.repr(given)}{length})")
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
    def rebuilt(cls, fields: dict[str, Any], told: set[str]) -> Self:
        """The record from all its fields, as they were checked when it was made: nothing is looked at again.

        Args:
            fields: Every field, in the order of the class.
            told: Which of them were given.
        """
        made, assign = cls.__new__(cls), object.__setattr__
        assign(made, "__dict__", fields)
        assign(made, "__pydantic_fields_set__", told)
        assign(made, "__pydantic_extra__", None)
        assign(made, "__pydantic_private__", None)
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
