"""Values as PostgreSQL takes and gives them: what goes in comes out the same, to the last bit.

Whole numbers are ``bigint``, booleans are 0 and 1 as SQLite has them, and sums are numbers of Python. A text of
PostgreSQL holds no character 0, which names of sets of agents are joined by, and people may write: it is put into
other characters, which Unicode keeps free for a program's own use, and taken out again where such texts are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import cache
from typing import Any

from psycopg.adapt import AdaptersMap, Buffer
from psycopg.types.bool import BoolDumper
from psycopg.types.numeric import Int8Dumper, NumericBinaryLoader, NumericLoader
from psycopg.types.string import StrDumperUnknown, TextBinaryLoader, TextLoader

_ESCAPE = "\ufdd0"
_ZERO = f"{_ESCAPE}0"
_ITSELF = f"{_ESCAPE}1"


def escaped(text: str) -> str:
    """A text that PostgreSQL takes."""
    if _ESCAPE in text:
        text = text.replace(_ESCAPE, _ITSELF)
    return text.replace("\x00", _ZERO) if "\x00" in text else text


def original(text: str) -> str:
    """Inverse of ``escaped``."""
    return text.replace(_ZERO, "\x00").replace(_ITSELF, _ESCAPE) if _ESCAPE in text else text


def kind_of(value: Any) -> str:
    """The type of a value that stands in a statement."""
    if isinstance(value, int):
        return "bigint"
    if isinstance(value, float):
        return "double precision"
    return "unknown" if value is None or isinstance(value, str) else "bytea"


def literal(value: Any) -> str:
    """A value as it stands in a statement."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        text = escaped(value)
        return "'" + (text.replace("'", "''") if "'" in text else text) + "'"
    if isinstance(value, int):
        return f"'{int(value)}'"
    return f"'{float(value)!r}'" if isinstance(value, float) else f"'\\x{bytes(value).hex()}'"


def array(kind: str, column: Iterable[Any]) -> str:
    """A column of a table as the text of one array, as ``array_in`` of PostgreSQL reads it.

    psycopg looks at each value for itself, which takes five times as long.

    Args:
        kind: The column's type.
        column: Its values, None where there is none.
    """
    spelt = _SPELT[kind]
    return f"{{{','.join(['NULL' if value is None else spelt(value) for value in column])}}}"


def _quoted(value: Any) -> str:
    text = str(value)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


_SPELT: dict[str, Callable[[Any], str]] = {
    "bigint": lambda value: str(int(value)),
    "double precision": lambda value: repr(float(value)),
    "text": _quoted,
    "bytea": lambda value: f'"\\\\x{bytes(value).hex()}"',
}


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(escaped(obj))


class _Boolean(BoolDumper):
    oid = Int8Dumper.oid

    def dump(self, obj: bool) -> Buffer | None:
        return b"1" if obj else b"0"


class _Whole(Int8Dumper):
    """Always the same type, so that a statement is prepared once."""


class FreeTextLoader(TextLoader):
    """Reads texts that people wrote."""

    def load(self, data: Buffer) -> str | bytes:
        """With its characters 0."""
        found = super().load(data)
        return original(found) if isinstance(found, str) else found


class FreeTextBinaryLoader(TextBinaryLoader):
    """The same, from the binary format."""

    def load(self, data: Buffer) -> str | bytes:
        """With its characters 0."""
        found = super().load(data)
        return original(found) if isinstance(found, str) else found


def _number(found: Decimal) -> int | float:
    """A sum is whole where its summands are, an average is not."""
    return int(found) if found.as_tuple().exponent == 0 else float(found)


class _Number(NumericLoader):
    def load(self, data: Buffer) -> Any:
        return _number(super().load(data))


class _BinaryNumber(NumericBinaryLoader):
    def load(self, data: Buffer) -> Any:
        return _number(super().load(data))


@cache
def adapters() -> AdaptersMap:
    """How values go in and out."""
    import psycopg

    ours = AdaptersMap(psycopg.adapters)
    ours.register_dumper(str, _Text)
    ours.register_dumper(bool, _Boolean)
    ours.register_dumper(int, _Whole)
    ours.register_loader("numeric", _Number)
    ours.register_loader("numeric", _BinaryNumber)
    return ours
