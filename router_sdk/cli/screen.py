"""Where answers go: tables for people, or JSON for programs; progress only where somebody watches."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from router_sdk.cli.tables import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Tell = Callable[[str, float | None], None]
"""Takes what is going on, and the share done in [0, 1], or None where nobody knows the whole."""


def plain(value: Any) -> Any:
    """A value as strict JSON has it: no NaN, no infinities, and texts for everything unheard of."""
    if isinstance(value, Mapping):
        return {"null" if key is None else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


class Screen:
    """One command's way to speak.

    Args:
        as_json: Whether stdout holds JSON and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def show(self, data: Any, render: Callable[[], Iterable[RenderableType]]) -> None:
        """Answer: ``data`` to a program, what ``render`` makes to people, with titled tables set apart."""
        if self._as_json:
            self._write(json.dumps(plain(data), indent=2, ensure_ascii=_ascii()))
            return
        console = _console()
        apart = None
        for part in render():
            titled = bool(getattr(part, "title", None))
            if apart is not None and (apart or titled):
                console.print()
            console.print(part)
            apart = titled

    def line(self, data: Any) -> None:
        """Answer a program with one line of a stream; people get the summary at its end instead."""
        if self._as_json:
            self._write(json.dumps(plain(data), ensure_ascii=_ascii()))

    def summary(self, render: Callable[[], Iterable[RenderableType]]) -> None:
        """Sum a stream up for people; a program has had its lines."""
        if not self._as_json:
            self.show(None, render)

    def refuse(self, data: Mapping[str, Any], words: str) -> None:
        """Say on stderr that one part of the input was refused, while the rest goes on."""
        if self._as_json:
            print(json.dumps({"refused": plain(data)}), file=sys.stderr, flush=True)  # noqa: T201
        else:
            from rich.text import Text

            line = Text.assemble(("refused: ", "yellow"), visible(words))
            self._errors.print(line, soft_wrap=not self._errors.is_terminal)

    @contextmanager
    def progress(self, title: str) -> Iterator[Tell]:
        """Show a bar on stderr while work goes on; nothing where stderr is no terminal or a program listens."""
        if self._as_json or not self._errors.is_terminal:
            yield lambda words, done: None
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self._errors, transient=True) as bar:
            task = bar.add_task(title, total=None)

            def tell(words: str, done: float | None) -> None:
                bar.update(task, description=words, total=None if done is None else 1.0, completed=done or 0.0)

            yield tell

    @cached_property
    def _errors(self) -> Console:
        """One console for stderr: what is printed while a bar moves then stands above the bar."""
        return _console(stderr=True)

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def _ascii() -> bool:
    """Whether stdout cannot hold every character."""
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
