"""Where the SDK's log goes while a command runs: to people on stderr, and to a file where one is named."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router_sdk.errors import InvalidInputError, StoreUnavailableError

_LOGGER = "router_sdk"


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


@contextmanager
def logging_to(log_file: Path | None, *, verbose: bool, as_json: bool) -> Iterator[None]:
    """Send the SDK's log to stderr (warnings, or everything) and to a file (everything) for a while.

    Raises:
        InvalidInputError: if the file cannot be written.
    """
    logger = logging.getLogger(_LOGGER)
    level, propagate = logger.level, logger.propagate
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
    logger.setLevel(logging.DEBUG if verbose or log_file is not None else logging.WARNING)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
