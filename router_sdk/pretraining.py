"""A first version from made-up or historical examples, which are no part of what happened here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError
from router_sdk.store import Store

if TYPE_CHECKING:
    from router_sdk.engine import Engine
    from router_sdk.exchange.importing import Observation
    from router_sdk.training.fit import Fit

_GROUP = 64


def pretrain(
    engine: Engine, observed: Sequence[Observation], strategy: str | None, settings: Mapping[str, Any], *, wait: bool
) -> Fit:
    """Write the examples to a store of their own, and fit from there with the code of every other fit.

    Raises:
        InvalidInputError: if there is no example.
    """
    if not observed:
        raise InvalidInputError("pretrain: there is no example to learn from")
    folder = tempfile.TemporaryDirectory(prefix="router-pretrain-", ignore_cleanup_errors=True)
    source = Path(folder.name) / "examples.db"
    upto = _write(engine, observed, source)
    fit = engine.trainer.retrain(strategy, settings, (source, upto))
    fit.at_end(folder.cleanup)
    return fit.wait() if wait else fit


def _write(engine: Engine, observed: Sequence[Observation], path: Path) -> int:
    """The position up to which the examples reach in a new store."""
    store = Store(path)
    try:
        entries = []
        for task, agent, outcome in observed:
            decision = engine.observation(task, agent)
            if outcome is not None:
                entries.append(store.entry(decision.decision_id, outcome, outcome.signals(), decision=decision))
        for start in range(0, len(entries), _GROUP):
            store.writer.append(tuple(entries[start : start + _GROUP]))
        store.writer.flush()
        tail = store.tail(engine.reward)
        try:
            return tail.head()
        finally:
            tail.close()
    finally:
        store.close()
