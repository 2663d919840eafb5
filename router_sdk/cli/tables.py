"""How values look to people: short, aligned, and never with control characters of somebody's text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

NOTHING = "-"

_WIDE_CHARS = 12


def visible(text: str) -> str:
    """A text whose control characters are spelled out: a logged text must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def word(value: object) -> str:
    """A value in few characters; None is a dash."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.3f}"
        case Mapping():
            return ", ".join(f"{word(key)} {word(item)}" for key, item in value.items()) or NOTHING
        case str():
            return visible(value)
        case Iterable():
            return ", ".join(word(item) for item in value) or NOTHING
        case _:
            return visible(str(value))


def counted(count: int, noun: str) -> str:
    """``1 decision``, ``2 decisions``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def share(value: float | None) -> str:
    """A share in [0, 1] in percent."""
    return NOTHING if value is None else f"{value:.0%}"


def milliseconds(value: float | None) -> str:
    """A time given in milliseconds."""
    if value is None:
        return NOTHING
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def dollars(value: float | None) -> str:
    """Money given in US dollars, with as many places as it needs."""
    return NOTHING if value is None else f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def moment(at: float) -> str:
    """A time given in seconds since the epoch, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, wide: str | None = None) -> Table:
    """A table.

    Args:
        title: Its name.
        columns: Headings; one that starts with ``>`` is aligned to the right.
        rows: Texts as ``word`` and its like make them.
        wide: The heading of the column that gives way where the terminal is narrow; the others never break.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for heading in columns:
        name = heading.removeprefix(">")
        made.add_column(
            name,
            justify="right" if heading.startswith(">") else "left",
            no_wrap=name != wide,
            overflow="fold" if name == wide else "ellipsis",
            min_width=_WIDE_CHARS if name == wide else None,
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def pairs(values: Iterable[tuple[str, str]], title: str | None = None) -> Table:
    """Names and values below each other."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    made.add_column(no_wrap=True, style="dim")
    made.add_column(overflow="fold")
    for name, value in values:
        made.add_row(Text(name), Text(value))
    return made


def note(text: str) -> Text:
    """A remark below the answer."""
    from rich.text import Text

    return Text(visible(text), style="dim")
