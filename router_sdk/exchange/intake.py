"""A file into the log, each of its lines once, however often the import is cut off and begun again.

The ids of a line's decision and outcome follow from the import and the line's number, so that what the log holds
already is not written again. The import is an intent: whoever comes next finishes one that was cut off, if the file is
still what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from router_sdk.errors import InvalidInputError, StoreUnavailableError
from router_sdk.exchange.importing import ImportReport, MappingLike, Numbered, import_examples
from router_sdk.exchange.mapping import ColumnMapping
from router_sdk.store.artifacts import entry
from router_sdk.store.connection import PRIVATE_FILE, private_folder
from router_sdk.store.identity import new_id
from router_sdk.store.intents import Intent, add_intent, finish_intent, pending_intents
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from router_sdk.records import Decision, Outcome, Task
    from router_sdk.store import Store

Observe = Callable[["Task", str | None, float, str], "Decision"]
Check = Callable[["Decision", "Outcome", str | None], Entry]


class Intake:
    """Imports files.

    Args:
        store: The log.
        observed: Makes the decision of a task, an agent, a time and an id.
        checked: Makes an entry of a decision, an outcome and that outcome's id; raises where it cannot be logged.
        recorded: Told the ids of decisions whose outcomes are on disk, with one of them.
    """

    def __init__(
        self, store: Store, observed: Observe, checked: Check, recorded: Callable[[Iterable[str], Outcome], None]
    ) -> None:
        self._store, self._observed, self._checked, self._recorded = store, observed, checked, recorded

    def import_file(self, path: Path, mapping: MappingLike | None) -> ImportReport:
        """Log each line of a file as an observed decision; a bad one is a dead letter.

        An import of the same file that was cut off is gone on with.

        Raises:
            InvalidInputError: if the file cannot be read, or has not the mapping's columns.
            StoreUnavailableError: if the log cannot be written; what is left of the file is then imported by whoever
                opens the store next.
        """
        if mapping is not None:
            mapping = ColumnMapping.of(mapping)
        body = {
            "key": new_id(),
            **_state(path),
            "mapping": None if mapping is None else mapping.model_dump(mode="json"),
        }
        for intent in self._store.reader.query(pending_intents):
            if intent.kind == "import" and {**intent.body, "key": ""} == {**body, "key": ""}:
                return self._alone(intent, mapping)
        with self._lock(body["key"]):
            number = self._store.writer.transact(lambda connection, seq: add_intent(connection, "import", body))
            (intent,) = (one for one in self._store.reader.query(pending_intents) if one.number == number)
            try:
                return self._run(intent, mapping)
            except InvalidInputError:  # nothing of the file was logged
                self._finish(intent)
                raise

    def go_on(self, intent: Intent) -> None:
        """Finish an import that was cut off; raises ``filelock.Timeout`` where another process is at it."""
        body = intent.body
        mapping = None if body["mapping"] is None else ColumnMapping.of(body["mapping"])
        path = Path(body["path"])
        with self._lock(body["key"]):
            if intent not in self._store.reader.query(pending_intents):
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
    def _lock(self, key: object) -> Iterator[None]:
        """Held by who is at work on an import."""
        path = entry(private_folder(self._store.folder), f"import-{key}.lock")
        with FileLock(path, 0, PRIVATE_FILE):
            yield
        path.unlink(missing_ok=True)

    def _alone(self, intent: Intent, mapping: ColumnMapping | None) -> ImportReport:
        try:
            with self._lock(intent.body["key"]):
                return self._run(intent, mapping)
        except Timeout as error:
            raise StoreUnavailableError("another process imports this file") from error

    def _run(self, intent: Intent, mapping: ColumnMapping | None) -> ImportReport:
        key, at = str(intent.body["key"]), intent.at

        def entry_of(numbered: Numbered) -> Entry:
            number, (task, agent, outcome) = numbered
            decision = self._observed(task, agent, at, _line_id(key, number, at))
            if outcome is None:
                return Entry(decision=decision)
            if outcome.origin is None:
                outcome = outcome.model_copy(update={"origin": "import"})
            return self._checked(decision, outcome, f"import:{key}:{number}")

        def observe(group: Sequence[Numbered]) -> None:
            entries = [entry_of(numbered) for numbered in group]
            self._store.writer.append(entries)
            for (_, (_, _, outcome)), one in zip(group, entries, strict=True):
                if outcome is not None and one.decision is not None:
                    self._recorded([one.decision.decision_id], outcome)

        report, letters = import_examples(Path(intent.body["path"]), entry_of, observe, mapping)
        self._store.refuse(letters, intent.number)
        return report

    def _finish(self, intent: Intent) -> None:
        self._store.writer.transact(lambda connection, seq: finish_intent(connection, intent.number))


def _state(path: Path) -> Mapping[str, Any]:
    """What tells a file from another one, and from itself once it is changed.

    Raises:
        InvalidInputError: if it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    return {"path": str(path.absolute()), "bytes": found.st_size, "changed_ns": found.st_mtime_ns}


def _line_id(key: str, number: int, at: float) -> str:
    """A decision's id that sorts by time and is the same whenever the line is read."""
    return f"{int(at * 1000):012x}{blake2b(f'{key}:{number}'.encode(), digest_size=10).hexdigest()}"
