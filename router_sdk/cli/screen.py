"""Where answers, faults and the log go: tables for people, or JSON for programs."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.cli.tables import visible
from router_sdk.errors import InvalidInputError, RouterError, StoreUnavailableError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


Tell = Callable[[str, float | None], None]
"""Takes what is going on, and the share done in [0, 1], or None where nobody knows the whole."""

_LOGGER = "router_sdk"
_LINE_S = 5.0
"""Between two lines that say how far work is, where there is no terminal for a bar."""


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

    def event(self, data: Any, words: str) -> None:
        """Tell of something that happened: a line for programs, a line for people."""
        self._write(json.dumps(plain(data), ensure_ascii=_ascii()) if self._as_json else words)

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
        """Show on stderr how far work is: a bar on a terminal, else a line every few seconds, of JSON for a program."""
        if self._as_json or not self._errors.is_terminal:
            yield _Lines(self._said, time.perf_counter())
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self._errors, transient=True) as bar:
            task = bar.add_task(title, total=None)

            def tell(words: str, done: float | None) -> None:
                bar.update(task, description=words, total=None if done is None else 1.0, completed=done or 0.0)

            yield tell

    def _said(self, words: str, done: float | None) -> None:
        if self._as_json:
            print(json.dumps({"progress": {"done": done, "words": words}}), file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._errors.print(f"{'' if done is None else f'{done:4.0%}  '}{visible(words)}", soft_wrap=True)

    @cached_property
    def _errors(self) -> Console:
        """One console for stderr: what is printed while a bar moves then stands above the bar."""
        return _console(stderr=True)

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class _Lines:
    """Says how far it is now and then, the first time only after a while: most work is done before.

    Args:
        say: Writes one line.
        now: Seconds of the clock that does not jump.
    """

    def __init__(self, say: Tell, now: float) -> None:
        self._say, self._at = say, now

    def __call__(self, words: str, done: float | None) -> None:
        now = time.perf_counter()
        if now - self._at >= _LINE_S:
            self._at = now
            self._say(words, done)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def _ascii() -> bool:
    """Whether stdout cannot hold every character."""
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"


class _JsonLine(logging.Formatter):
    """One JSON object per line, for a stderr that a program reads."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({"log": line})


class _Line(logging.Formatter):
    """A level and a message; a traceback only where it was asked for."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line += (
                f"\n{self.formatException(record.exc_info)}"
                if self._tracebacks
                else f" ({type(error).__name__}: {error})"
            )
        return line


def _is_news(record: logging.LogRecord) -> bool:
    """Not that the store cannot be written: a command that fails for it says so itself."""
    return not (record.exc_info and isinstance(record.exc_info[1], StoreUnavailableError))


def _is_asked_for(record: logging.LogRecord) -> bool:
    """Everything of the SDK and of its plugins, whose loggers have names of their own; warnings of others."""
    return record.levelno >= logging.WARNING or record.name.startswith(_LOGGER)


@contextmanager
def logging_to(log_file: Path | None, *, verbose: bool, as_json: bool) -> Iterator[None]:
    """Send the log of the SDK and of plugins to stderr (warnings, or everything) and to a file (everything) meanwhile.

    Warnings of other libraries go the same way: what a program reads on stderr is JSON alone.

    Raises:
        InvalidInputError: if the file cannot be written.
    """
    root = logging.getLogger()
    level = root.level
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers[0].setLevel(logging.DEBUG if verbose else logging.WARNING)
    if not verbose:
        handlers[0].addFilter(_is_news)
    handlers[0].setFormatter(_JsonLine() if as_json else _Line(tracebacks=verbose))
    if log_file is not None:
        try:
            handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
        except OSError as error:
            raise InvalidInputError(f"cannot write the log to {log_file}: {error.strerror}") from error
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root.setLevel(logging.DEBUG if verbose or log_file is not None else logging.WARNING)
    for handler in handlers:
        handler.addFilter(_is_asked_for)
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)


OTHER, BAD_INPUT = 1, 2
"""Exit codes; 2 is what was typed or handed in, 1 is everything else."""


def report_fault(error: Exception, *, as_json: bool, verbose: bool) -> int:
    """Say what is wrong on stderr; the traceback only where it was asked for.

    Returns:
        The exit code.
    """
    message, code = describe_fault(error)
    trace = "".join(traceback.format_exception(error)) if verbose else ""
    if as_json:
        told = {"type": type(error).__name__, "message": message, "exit_code": code}
        print(json.dumps({"error": {**told, **({"traceback": trace} if trace else {})}}), file=sys.stderr)  # noqa: T201
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True, highlight=False)
        line = Text.assemble(trace, ("error: ", "bold red"), visible(message))
        console.print(line, soft_wrap=not console.is_terminal)
    return code


def describe_fault(error: Exception) -> tuple[str, int]:
    """A fault in words, and the exit code that goes with it."""
    if isinstance(error, RouterError):
        return str(error), BAD_INPUT if isinstance(error, (InvalidInputError, LookupError)) else OTHER
    if "pydantic" in sys.modules:  # nothing else raises its errors
        from pydantic import ValidationError

        from router_sdk.records.record import describe

        if isinstance(error, ValidationError):
            return describe(error), BAD_INPUT
    if isinstance(error, sqlite3.Error):
        return f"the store cannot be read: {error}", OTHER
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, OTHER
    return f"unexpected {type(error).__name__}: {error}; --verbose shows where", OTHER
