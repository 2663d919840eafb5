"""How a fold finds its place: at its newest snapshot that holds what it is to hold, and nothing of what is quarantined.

Snapshots are the checkpoints that a fold goes back to. One that was made where other positions were left out has
another fingerprint, and is passed over for as long as that is so. What was archived can be learnt from no more: where
going back would lose it, that is weighed, and said.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from router_sdk.store.events import refused_decisions
from router_sdk.store.quarantine import below, quarantined, union
from router_sdk.store.retention import archived_upto

if TYPE_CHECKING:
    from router_sdk.learning.fold import Fold
    from router_sdk.store import Store
    from router_sdk.store.quarantine import Ranges

_EVERYTHING = 2**62

_log = logging.getLogger(__name__)


def wanted(store: Store, fold: Fold, upto: int = _EVERYTHING) -> Ranges:
    """What a fold is to leave out; or was, by what the log said at a position."""
    name = fold.strategy
    if name is None:
        return fold.leaving_out(())
    return fold.leaving_out(store.reader.query(lambda connection: quarantined(connection, name, upto)))


def unheeded(store: Store, fold: Fold) -> str | None:
    """Why a fold holds what is quarantined, or lacks what was lifted or archived; None where it does not."""
    name = fold.strategy
    if fold.unheeded is None and name is not None:
        now = store.reader.query(lambda connection: quarantined(connection, name))
        if below(now, fold.start) != below(fold.left_out, fold.start):
            return (
                f"version {fold.model_version} was fitted with what is quarantined, or without what was lifted since: "
                "fit another one, or roll back"
            )
    return fold.unheeded


def restore(store: Store, fold: Fold, upto: int = _EVERYTHING) -> None:
    """Load a fold's newest right snapshot, if that is newer than where it stands, and note what it leaves out.

    With ``upto``, the newest one that knows nothing beyond that position.
    """
    fold.left_out, fold.unheeded = wanted(store, fold), None

    def mark(cursor: int) -> str:
        return fold.mark(cursor) if cursor <= upto else ""

    found = store.snapshots.restore(fold.name, mark, fold.state.load, fold.cursor)
    archived = store.reader.query(archived_upto)
    if max(found, fold.cursor) < archived <= upto:
        found = _without_archive(store, fold, found, archived, upto)
    if found:
        fold.cursor = fold.saved = found
    fold.refused, fold.learnt = store.reader.query(
        lambda connection: refused_decisions(connection, fold.fingerprint, fold.cursor)
    )


def _without_archive(store: Store, fold: Fold, found: int, archived: int, upto: int) -> int:
    """Where the log lacks what would have to be learnt again: the place from which the least is missing.

    That is the oldest snapshot behind what was archived, though other positions were left out then; but where one is
    right that stands before it, none that holds what is quarantined now.
    """

    def as_it_was(cursor: int) -> str:
        then = wanted(store, fold, cursor)
        suspect = union((*then, *below(fold.left_out, cursor))) != then
        return "" if cursor > upto or (found and suspect) else fold.mark(cursor, then)

    whole = store.snapshots.restore(fold.name, as_it_was, fold.state.load, archived - 1, oldest=True)
    if whole:
        fold.unheeded = f"what it had learnt up to position {whole} stays as it was, because the log before is archived"
    else:
        lacking = f"it lacks what was archived of the positions {found or fold.cursor} to {archived}"
        fold.unheeded = f"{lacking}: no state that may be used holds it"
    _log.error("%s does not hold exactly what it is to hold: %s", fold.name, fold.unheeded)
    return whole or found
