"""Another process at work on a store: ``python -m router_sdk.testing.checks.store_program ORDER STORE …``.

It prints ``ready`` once it has the store open, and waits for a line. ``write DECISION COUNT NAME`` records so many
outcomes, each acknowledged by a line with its id; ``hold NAME`` holds a lease until it is killed, ``seek NAME`` one
that is renewed, whose number it prints.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

from router_sdk.records import Outcome
from router_sdk.store import Store

SILENCE_S = 1.0
"""How long the holder of a renewed lease may be silent here."""
_PAUSE_S = 0.01


def main(order: str, location: str, *words: str) -> None:
    """Do as told."""
    with closing(Store(location)) as store:
        if order == "hold":
            with store.engine.lease(words[0]):
                _ready()
            return
        if order == "seek":
            lease = store.engine.renewed_lease(words[0], SILENCE_S)
            assert lease is not None
            lease.seek()
            while not lease.held:
                time.sleep(_PAUSE_S)
            _ready(f"ready\n{lease.held}\n")
            return
        _ready()
        decision_id, count, name = words
        for number in range(int(count)):
            outcome = Outcome(quality=0.5)
            said = f"{name}-{number}"
            store.writer.append([store.entry(decision_id, outcome, outcome.signals(), outcome_id=said)])
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()


def _ready(said: str = "ready\n") -> None:
    sys.stdout.write(said)
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
