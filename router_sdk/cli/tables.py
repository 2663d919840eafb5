"""How values look to people: short, aligned, and never with control characters of somebody's text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

NOTHING = "-"

_READABLE_CHARS = 30
"""In fewer columns a sentence is no pleasure; what is shorter needs but its own length."""
_GAP_CHARS = 2
"""Between two columns."""
_LEADING = 1
"""Up to this place a column is the row's name."""
_ENDLESS = 10_000


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


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    wide: str | None = None,
    last: Sequence[str] = (),
) -> RenderableType:
    """A table.

    Args:
        title: Its name.
        columns: Headings; one that starts with ``>`` is aligned to the right.
        rows: Texts as ``word`` and its like make them.
        wide: The heading of the column that gives way where the terminal is narrow; the others never break.
        last: Headings of those that give way, too, where that is not enough, in this order.
    """
    listed = [list(row) for row in rows]
    return _rich(title, columns, listed) if wide is None else _Giving(title, list(columns), listed, [wide, *last])


def _rich(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str]], wide: str | None = None) -> Table:
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
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


class _Giving:
    """A table of which columns have lines of their own where the terminal leaves them no room.

    A name leads: where it is the first or second column, its line stands above the rest of its row, else below.
    """

    def __init__(self, title: str, columns: list[str], rows: list[list[str]], wide: Sequence[str]) -> None:
        self._title, self._columns, self._rows, self._wide = title, columns, rows, wide[0]
        names = [heading.removeprefix(">") for heading in columns]
        self._places = [names.index(one) for one in wide]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.segment import SegmentLines
        from rich.text import Text

        if self._width(console, options, self._places[:1]) + _GAP_CHARS + self._needed() <= options.max_width:
            yield _rich(self._title, self._columns, self._rows, self._wide)
            return
        given = next(
            (
                self._places[:count]
                for count in range(1, len(self._places))
                if self._width(console, options, self._places[:count]) <= options.max_width
            ),
            self._places,
        )
        left = [place for place in range(len(self._columns)) if place not in given]
        narrow = [[row[place] for place in left] for row in (self._columns, *self._rows)]
        lines = iter(console.render_lines(_rich(None, narrow[0], narrow[1:]), options, pad=False))
        heights = [1 + max(cell.count("\n") for cell in row) for row in narrow]
        heights[0] += 1  # the rule
        head, *parts = [SegmentLines([next(lines) for _ in range(height)], new_lines=True) for height in heights]
        yield Text(self._title, style="bold")
        yield head
        for row, part in zip(self._rows, parts, strict=True):
            yield from (
                _line(row[place], 0) for place in given if place <= _LEADING and row[place] not in ("", NOTHING)
            )
            yield part
            yield from (
                _line(row[place], _GAP_CHARS) for place in given if place > _LEADING and row[place] not in ("", NOTHING)
            )

    def _needed(self) -> int:
        """In how many characters the column that gives way first can be read."""
        from rich.cells import cell_len

        texts = [row[self._places[0]] for row in self._rows]
        longest = max((cell_len(word) for text in texts for word in text.split()), default=0)
        if self._places[0] <= _LEADING:
            return longest
        return max(longest, min(_READABLE_CHARS, max(map(cell_len, texts), default=0)))

    def _width(self, console: Console, options: ConsoleOptions, given: Sequence[int]) -> int:
        """Of the columns that are left."""
        from rich.measure import Measurement

        rows = [[cell for place, cell in enumerate(row) if place not in given] for row in (self._columns, *self._rows)]
        return Measurement.get(console, options.update(width=_ENDLESS), _rich(None, rows[0], rows[1:])).maximum


def _line(text: str, indent: int) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text, overflow="fold"), (0, 0, 0, indent))


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
