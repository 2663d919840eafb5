"""A stream of JSON lines, one call each: a line that is refused becomes a dead letter, and the rest goes on."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from router_sdk.cli.invocation import STDIN
from router_sdk.errors import InvalidInputError, RouterClosedError, RouterError, StoreError
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from router_sdk.cli.invocation import Invocation
    from router_sdk.router import Router

_BODY_CHARS = 10_000
_TELL_EVERY = 50


@dataclass(slots=True)
class StreamReport:
    """What became of the lines.

    Attributes:
        accepted: Lines that were carried out.
        refused: Lines that are dead letters now.
    """

    accepted: int = 0
    refused: int = 0

    def check(self) -> None:
        """Fail if a line was refused, so that a script notices.

        Raises:
            InvalidInputError: if so; says how many.
        """
        if self.refused:
            total = self.accepted + self.refused
            raise InvalidInputError(
                f"{self.refused:,} of {counted(total, 'line')} were refused and kept as dead letters (router status "
                "shows them); the others are done"
            )


def run_stream(
    invocation: Invocation, router: Router, source: str, kind: str, carry_out: Callable[[dict[str, Any]], Any]
) -> StreamReport:
    """Carry out every line of a file or of standard input, in order, as each arrives.

    Args:
        invocation: Where answers and refusals go.
        router: Where dead letters are kept; their body only where privacy keeps texts in full.
        source: A JSONL file, ``.gz`` too, or ``-``.
        kind: What a line is: names the dead letters and the progress bar.
        carry_out: Takes a line's object and returns what to answer.

    Raises:
        InvalidInputError: if the file cannot be read.
        StoreError: if the store fails; that is not the line's fault.
    """
    report = StreamReport()
    with invocation.screen.progress(f"{kind}s") as tell:
        for number, line in lines_of(source):
            try:
                invocation.screen.line({"line": number, **carry_out(_parsed(line))})
            except (StoreError, RouterClosedError):
                raise
            except RouterError as error:
                report.refused += 1
                _refuse(invocation, router, kind, number, line, error)
            else:
                report.accepted += 1
            if number % _TELL_EVERY == 0:
                tell(f"{kind}s: {report.accepted:,} done, {report.refused:,} refused", None)
    return report


def lines_of(source: str) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, with their numbers, as bytes: one that is no UTF-8 must not end the stream."""
    try:
        if source == STDIN:
            yield from _numbered(sys.stdin.buffer)
            return
        opener = gzip.open if Path(source).suffix == ".gz" else open
        with opener(source, "rb") as file:
            yield from _numbered(file)
    except (OSError, EOFError) as error:
        raise InvalidInputError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error


def _numbered(lines: Any) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = from_json(line)  # nesting is bounded without touching the interpreter's own limit
    except ValueError as error:
        raise InvalidInputError(f"not JSON in UTF-8: {error}") from None
    if isinstance(row, str):
        return {"text": row}
    if not isinstance(row, dict):
        raise InvalidInputError(f"expected one JSON object on the line, got {type(row).__name__}")
    return row


def _refuse(invocation: Invocation, router: Router, kind: str, number: int, line: bytes, error: RouterError) -> None:
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    router.dead_letter(kind, f"line {number}: {error}", body=text[:_BODY_CHARS])
    fault: Mapping[str, Any] = {"line": number, "type": type(error).__name__, "message": str(error)}
    invocation.screen.refuse(fault, f"line {number}: {error}")
