"""The log of a service: lines of JSON for programs, lines for people, and the same in every worker."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

requests = logging.getLogger("router_sdk_server.requests")
"""One line for each request, at DEBUG; at ERROR where the service was at fault, at INFO where it is not ready yet."""

_FIELDS = ("request_id", "method", "path", "status", "ms", "key_id", "tenant")


class JsonLine(logging.Formatter):
    """One object a line; what a request is known by stands in fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        line.update({name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_config(*, as_json: bool, verbose: bool, log_file: Path | None) -> dict[str, Any]:
    """How the log of each worker is written, for ``logging.config.dictConfig``.

    Args:
        as_json: Whether stderr holds lines of JSON.
        verbose: Whether each request is a line, and everything else that is said.
        log_file: Where to write JSON lines as well, or None.
    """
    level = "DEBUG" if verbose else "INFO"
    handlers: dict[str, Any] = {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json" if as_json else "words", "level": level}
    }
    if log_file is not None:
        handlers["file"] = {
            "class": "logging.FileHandler",
            "filename": str(log_file),
            "encoding": "utf-8",
            "formatter": "json",
        }
    told = {"handlers": list(handlers), "level": level, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonLine},
            "words": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": "WARNING"},  # of plugins and libraries
        "loggers": {
            "router_sdk": {**told, "level": "DEBUG" if verbose else "WARNING"},
            "router_sdk_server": told,
            "uvicorn": {**told, "level": "INFO"},
        },
    }
