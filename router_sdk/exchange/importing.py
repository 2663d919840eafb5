"""A file into the log, each of its lines once, however often the import is cut off and begun again.

What a line's ids follow from is the same whenever it is read, so that what the log holds already is not written again.
The import is an intent: whoever comes next finishes one that was cut off, if the file is still what it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError, RouterClosedError, RouterError, StoreError, StoreUnavailableError
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.exchange.copied import CopiedLines, is_exported
from router_sdk.exchange.lines import TEXTS
from router_sdk.exchange.observations import ImportReport, MappingLike, Newcomers, Refusals, read_observed
from router_sdk.exchange.observing import ObservedLines
from router_sdk.exchange.parquet import parquet_files
from router_sdk.exchange.reading import read_rows, rows_and_fault
from router_sdk.spelling import counted
from router_sdk.store.coordination import Intent, add_intent, finish_intent, pending_intents
from router_sdk.store.retention import ArchivedIds

if TYPE_CHECKING:
    from router_sdk.recording import Recorder
    from router_sdk.routing.agents import Members
    from router_sdk.store import Store

Tell = Callable[[str, float | None], None]
"""Takes what is going on, and the share done in [0, 1], or None where nobody knows the whole."""

_TELL_EVERY = 500
_PATIENCE_S = 2.0
"""Who looks whether an import was cut off is gone in an instant; a process that imports takes longer."""


class Intake:
    """Imports files.

    Args:
        store: The log.
        recorder: Makes decisions and entries of lines.
        members: The agents that lines may name.
    """

    def __init__(self, store: Store, recorder: Recorder, members: Members) -> None:
        self._store, self._recorder, self._members = store, recorder, members

    def import_file(
        self,
        path: Path,
        mapping: MappingLike | None,
        *,
        new_agents: bool = False,
        tell: Tell = lambda words, done: None,
    ) -> ImportReport:
        """Log each line of a file, exported lines as what they were, others as observed; a bad one is a dead letter.

        An import of the same file that was cut off is gone on with.

        Args:
            path: The file.
            mapping: What the columns of a foreign file mean.
            new_agents: Whether names that nobody knows become agents.
            tell: Told how far it is.

        Raises:
            InvalidInputError: if the file cannot be read, or has not the mapping's columns.
            StoreUnavailableError: if the log cannot be written; what is left of the file is then imported by whoever
                opens the store next.
        """
        if mapping is not None:
            mapping = ColumnMapping.of(mapping)
        told = None if mapping is None else mapping.model_dump(mode="json", exclude_defaults=True)
        body = {"key": _key(path, told), **_state(path), "mapping": told, "new_agents": new_agents}
        try:
            with self._lock(body["key"], _PATIENCE_S):
                same = (one for one in self._intents() if one.body == body)
                intent = next(same, None) or self._begin(body)
                try:
                    return self._run(intent, mapping, tell)
                except InvalidInputError:  # nothing of the file was logged
                    self._finish(intent)
                    raise
        except TimeoutError as error:
            raise StoreUnavailableError("another process imports this file") from error

    def welcome(self, names: Iterable[str | None], *, new_agents: bool) -> None:
        """Make agents of those of some names whom nobody knows, where that is asked for.

        Raises:
            UnknownAgentError: if one is unknown and is made no agent.
        """
        newcomers = Newcomers(self._members, allowed=new_agents)
        named = list(dict.fromkeys(name for name in names if name is not None))
        newcomers.welcome(named)
        newcomers.check(named)

    def _intents(self) -> list[Intent]:
        return [one for one in self._store.reader.query(pending_intents) if one.kind == "import"]

    def _begin(self, body: Mapping[str, Any]) -> Intent:
        number = self._store.writer.transact(lambda connection, seq: add_intent(connection, "import", body))
        return next(one for one in self._intents() if one.number == number)

    def go_on(self, intent: Intent) -> None:
        """Finish an import that was cut off; raises ``TimeoutError`` where another process is at it."""
        body = intent.body
        mapping = None if body["mapping"] is None else ColumnMapping.of(body["mapping"])
        path = Path(body["path"])
        with self._lock(body["key"]):
            if intent not in self._intents():
                return
            try:
                if _state(path) != {name: body[name] for name in ("path", "bytes", "changed_ns")}:
                    raise InvalidInputError(f"{path.name} was changed")
                self._run(intent, mapping)
            except InvalidInputError as error:
                words = f"the import of {path.name} was cut off and cannot be finished: {error}"
                self._store.refuse([("import", None, words, None)])
                self._finish(intent)

    @contextmanager
    def _lock(self, key: object, patience_s: float = 0.0) -> Iterator[None]:
        """Held by who is at work on an import, and for an instant by who looks whether one was cut off."""
        with self._store.engine.lease(f"import-{key}", patience_s, once=True):
            yield

    def _run(
        self, intent: Intent, mapping: ColumnMapping | None, tell: Tell = lambda words, done: None
    ) -> ImportReport:
        path, texts = Path(intent.body["path"]), TEXTS
        if mapping is not None:
            texts |= mapping.texts
            _look_for_columns(path, mapping)
        report = ImportReport()
        refusals = Refusals(path.name)
        newcomers = Newcomers(self._members, allowed=bool(intent.body.get("new_agents")))
        with ExitStack() as opened:
            shared = (newcomers, report, refusals, opened.enter_context(closing(ArchivedIds(self._store.folder))))
            observed = ObservedLines(self._store, self._recorder, str(intent.body["key"]), intent.at, *shared)
            copied = CopiedLines(self._store, self._recorder, *shared, lambda share: tell("importing", share))
            opened.callback(copied.close)
            for count, (number, row) in enumerate(rows_and_fault(path, texts), start=1):
                try:
                    if isinstance(row, Exception):
                        raise row
                    if mapping is None and isinstance(row, Mapping) and is_exported(row):
                        copied.take(number, row)
                    else:
                        observed.take(number, row, read_observed(row, mapping, report))
                except (StoreError, RouterClosedError):
                    raise
                except RouterError as error:
                    refusals.add(number, row, error)
                if count % _TELL_EVERY == 0:
                    tell(f"read {counted(count, 'line')}", None)
            observed.finish()
            copied.finish()
        report.new_agents = newcomers.names
        self._store.refuse(refusals.tell(report), intent.number)
        return report

    def _finish(self, intent: Intent) -> None:
        self._store.writer.transact(lambda connection, seq: finish_intent(connection, intent.number))


def _state(path: Path) -> Mapping[str, Any]:
    """What tells a file from another one, and from itself once it is changed.

    Raises:
        InvalidInputError: if it is not there.
    """
    try:
        found = [one.stat() for one in parquet_files(path)] if path.is_dir() else [path.stat()]
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    changed_ns = max((one.st_mtime_ns for one in found), default=0)
    return {"path": str(path.absolute()), "bytes": sum(one.st_size for one in found), "changed_ns": changed_ns}


def _key(path: Path, mapping: Mapping[str, Any] | None) -> str:
    """Tells the content of a file, or of a folder's, read as the mapping says, from any other.

    Raises:
        InvalidInputError: if it cannot be read.
    """
    content = ""
    try:
        for one in parquet_files(path) if path.is_dir() else [path]:
            with one.open("rb") as file:
                content += file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    return sha256(f"{content} {json.dumps(mapping, sort_keys=True)}".encode()).hexdigest()[:32]


def _look_for_columns(path: Path, mapping: ColumnMapping) -> None:
    """Read until every column of the mapping was seen once, which takes one line of most files.

    Raises:
        InvalidInputError: if there are lines, and one of the columns is on none of them.
    """
    seen: dict[str, None] = {}
    for _, row in read_rows(path):
        seen.update(dict.fromkeys(row if isinstance(row, Mapping) else ()))
        if not mapping.missing(seen):
            return
    if seen:
        mapping.check_columns(seen, path.name)
