"""Which part of the log teaches nothing, on somebody's word: said here, heeded by whoever learns from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.records.arguments import whole, words, words_if_any
from router_sdk.store.quarantine import Quarantine, add_quarantine, lift_quarantine, position_of, quarantines

if TYPE_CHECKING:
    from router_sdk.learning.learner import Learner
    from router_sdk.routing.chain import Chain
    from router_sdk.store import Store
    from router_sdk.store.quarantine import Position


class Quarantines:
    """The quarantines of a store.

    Args:
        store: The log.
        chain: Whose learning they are about.
        learner: Who is to heed them here. Nobody waits for it, so that its own thread may call.
    """

    def __init__(self, store: Store, chain: Chain, learner: Learner) -> None:
        self._store, self._chain, self._learner = store, chain, learner

    def add(
        self,
        strategy: str | None,
        from_seq: Position,
        to_seq: Position | None = None,
        *,
        reason: str,
        actor: str | None = None,
    ) -> int:
        """Let what came behind one position and up to another teach nothing, see ``Router.models.quarantine``."""
        if strategy is not None:
            self._chain.stage(strategy)
        begin = self.position(from_seq, "from_seq")
        end = None if to_seq is None else self.position(to_seq, "to_seq")
        told = words(reason, "reason"), words_if_any(actor, "actor")
        number = add_quarantine(self._store.writer, strategy, begin, end, *told)
        self._learner.wake()
        return number

    def lift(self, number: int, *, reason: str, actor: str | None = None) -> None:
        """Let what it left out count again, see ``Router.models.lift``."""
        told = words(reason, "reason"), words_if_any(actor, "actor")
        lift_quarantine(self._store.writer, whole(number, "number"), *told)
        self._learner.wake()

    def position(self, where: Position, what: str) -> int:
        """Which position of the log is meant.

        Raises:
            InvalidInputError: if it is none.
            UnknownDecisionError: if the log holds no decision of that id.
        """
        self._store.writer.flush()  # what was decided a moment ago may be meant
        return self._store.reader.query(lambda connection: position_of(connection, where, what))

    def all(self) -> list[Quarantine]:
        """All of them, lifted ones too, oldest first."""
        return self._store.reader.query(quarantines)

    def status(self) -> list[dict[str, object]]:
        """Those in force, as JSON values."""
        return [one.to_dict() for one in self.all() if one.lifted_at is None]
