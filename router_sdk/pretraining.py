"""A first version from made-up or historical examples, which are no part of what happened here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError
from router_sdk.store import Store

if TYPE_CHECKING:
    from router_sdk.assembly import Engine
    from router_sdk.exchange.importing import Observation
    from router_sdk.training.fit import Fit

_GROUP = 64


def pretrain(
    engine: Engine, observed: Sequence[Observation], strategy: str | None, settings: Mapping[str, Any], *, wait: bool
) -> Fit:
    """Write the examples to a store of their own, and fit from there with the code of every other fit.

    That store stands in the fit's folder, keeps of texts what the router's keeps, and goes with the folder.

    Raises:
        InvalidInputError: if there is no example.
    """
    if not observed:
        raise InvalidInputError("pretrain: there is no example to learn from")
    fit = engine.trainer.retrain(strategy, settings, partial(_write, engine, observed))
    return fit.wait() if wait else fit


def _write(engine: Engine, observed: Sequence[Observation], path: Path) -> int:
    """The position up to which the examples reach in a new store."""
    store = Store(path, privacy=engine.store.privacy)
    try:
        entries = []
        for task, agent, outcome in observed:
            decision = engine.observation(task, agent)
            if outcome is not None:
                if engine.store.privacy.hides_texts:  # what is learnt then, is learnt from vectors
                    decision = replace(decision, vectors=engine.deciding.vectors(task))
                entries.append(store.entry(decision.decision_id, outcome, outcome.signals(), decision=decision))
        for start in range(0, len(entries), _GROUP):
            store.writer.append(tuple(entries[start : start + _GROUP]))
        tail = store.tail(engine.reward)
        try:
            return tail.head()
        finally:
            tail.close()
    finally:
        store.close()
