"""What a transaction has to say to the server, in as few messages as there are answers that it needs.

Statements wait until somebody asks for a row, or for the end; then all go together in one message of several
statements. So the lock under which every writer of the database waits is held for fewer answers. In the protocol's own
pipeline a server that has the half of what is to come waits for the rest without end, with the lock, where a client is
stopped; between whole messages it does not wait longer than ``idle_in_transaction_session_timeout``.

Values stand in the statements. What is said again and again is prepared once for each connection, and planned once: a
plan takes longer than what it is for. The connection plans by indexes alone, see ``engine``, so that no plan is one for
the few rows that there were when it was made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from router_sdk_postgres.connection import FreeTextCursor, LogConnection
from router_sdk_postgres.dialect import translate
from router_sdk_postgres.faults import translated
from router_sdk_postgres.values import array, kind_of, literal

if TYPE_CHECKING:
    from router_sdk_postgres.connection import Kinds
    from router_sdk_postgres.server import Server

_MOST = 1 << 20
"""Characters that wait together at most."""
_OFTEN, _KEPT = 3, 100
"""How many times a statement is said before it is prepared, and most that are."""
_VALUE = re.compile(r"('(?:[^']|'')*')|\$(\d+)")


class Answer:
    """See ``router_sdk.engine.Rows``; to ask for it sends what waits.

    Args:
        send: Sends it, so that the rows are here.
    """

    def __init__(self, send: Callable[[], object]) -> None:
        self._send: Callable[[], object] | None = send
        self._rows: Iterator[Any] = iter(())
        self._description: Any = None
        self._rowcount = -1

    def arrived(self, cursor: FreeTextCursor) -> None:
        """Take it from where it is the current one."""
        self._send = None
        self._description, self._rowcount = cursor.description, cursor.rowcount
        if self._description is not None:
            self._rows = iter(cursor.fetchall())

    def _here(self) -> Answer:
        if self._send is not None:
            self._send()
        return self

    @property
    def description(self) -> Any:
        """See ``Rows``."""
        return self._here()._description

    @property
    def rowcount(self) -> int:
        """See ``Rows``."""
        return self._here()._rowcount

    def fetchone(self) -> Any:
        """See ``Rows``."""
        return next(self._here()._rows, None)

    def fetchmany(self, size: int = 1, /) -> list[Any]:
        """See ``Rows``."""
        return list(islice(self._here()._rows, size))

    def fetchall(self) -> list[Any]:
        """See ``Rows``."""
        return list(self._here()._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._here()._rows


class Prepared:
    """The statements that a connection's server has prepared."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """It has none."""
        self._names: dict[tuple[str, ...], str] = {}
        self._said: Counter[tuple[str, ...]] = Counter()

    def name(self, statement: str, kinds: Sequence[str]) -> tuple[str | None, bool]:
        """The name of a statement that is about to be said, None where it has none; and whether that is a new one."""
        known = (statement, *kinds)
        if (name := self._names.get(known)) is not None:
            return name, False
        self._said[known] += 1
        if self._said[known] < _OFTEN or len(self._names) == _KEPT:
            if len(self._said) > 10 * _KEPT:
                self._said.clear()
            return None, False
        self._names[known] = name = f"said_{len(self._names)}"
        return name, True


class BatchConnection(LogConnection):
    """See ``router_sdk.engine.Connection``, within a transaction. A refused row is told once something is asked for.

    Args:
        server: The connection to the server.
        kinds: Types of the tables' columns.
        prepared: What the server knows.
    """

    def __init__(self, server: Server, kinds: Kinds, prepared: Prepared) -> None:
        super().__init__(server, kinds)
        self._prepared = prepared
        self._texts: list[str] = []
        self._answers: list[Answer] = []
        self._waiting = 0

    def say(self, statement: str) -> Answer:
        """One statement in PostgreSQL's own words, with its values in it."""
        answer = Answer(self.send)
        self._texts.append(statement)
        self._answers.append(answer)
        self._waiting += len(statement)
        if self._waiting > _MOST:
            self.send()
        return answer

    def ask(self, statement: str, kinds: Sequence[str] = (), values: Sequence[str] = ()) -> Answer:
        """The same, with values for ``$1`` and so on; prepared where it is said often.

        Args:
            statement: The same text each time.
            kinds: Types of the values.
            values: Literals.
        """
        name, fresh = self._prepared.name(statement, kinds)
        if name is None:
            cast = [
                f"{value}::{kind}" if kind != "unknown" else value for kind, value in zip(kinds, values, strict=True)
            ]
            return self.say(_VALUE.sub(lambda found: found[1] or cast[int(found[2]) - 1], statement))
        if fresh:
            self.say(f"PREPARE {name}{_listed(kinds)} AS {statement}")
        return self.say(f"EXECUTE {name}{_listed(values)}")

    def send(self) -> None:
        """Send what waits, and take the answers."""
        texts, answers = self._texts, self._answers
        self._texts, self._answers, self._waiting = [], [], 0
        if not texts:
            return
        encoding = self.server.info.encoding
        with translated(self.server):
            cursor = FreeTextCursor(self.server)
            message = "; ".join(texts).encode("utf-8" if encoding == "ascii" else encoding)
            cursor.execute(message, prepare=False)
            for answer in answers:
                answer.arrived(cursor)
                cursor.nextset()

    def direct(self) -> Server:
        """See ``LogConnection``."""
        self.send()
        return self.server

    def execute(self, query: str, values: Any = (), /) -> Answer:
        """See ``Connection``."""
        said = translate(query)
        given = [values[name] for name in said.names] if said.names else values
        return self.ask(said.text, [kind_of(value) for value in given], [literal(value) for value in given])

    def executemany(self, query: str, values: Any, /) -> Answer:
        """See ``Connection``."""
        answers = [self.execute(query, each) for each in values]
        return answers[-1] if answers else Answer(lambda: None)

    def insert_rows(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]], known: bool = False) -> None:
        """See ``Connection``: each column goes as one array."""
        if not rows:
            return
        names = tuple(columns.split(", "))
        kinds = tuple(self.kinds[table][name] for name in names)
        arrays = [literal(array(kind, column)) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)]
        self.ask(_insert(table, columns, len(kinds), known), [f"{kind}[]" for kind in kinds], arrays)
        for name in {"id", "token"}.intersection(names):  # which count on from what was given
            self.say(f"SELECT setval(pg_get_serial_sequence('{table}', '{name}'), max({name})) FROM {table}")


def _listed(words: Sequence[str]) -> str:
    return f" ({', '.join(words)})" if words else ""


@lru_cache(maxsize=256)
def _insert(table: str, columns: str, count: int, known: bool) -> str:
    arrays = ", ".join(f"${place}" for place in range(1, count + 1))
    end = " ON CONFLICT DO NOTHING" if known else ""
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays}){end}"
