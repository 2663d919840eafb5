"""Another process at work on a store: ``python -m router_sdk.testing.checks.store_program ORDER STORE …``.

It prints ``ready`` once it has the store open, and waits for a line. ``write DECISION COUNT NAME`` records so many
outcomes, each acknowledged by a line with its id; ``hold NAME`` holds a lease until it is killed.
"""

from __future__ import annotations

import sys
from contextlib import closing

from router_sdk.records import Outcome
from router_sdk.store import Store


def main(order: str, location: str, *words: str) -> None:
    """Do as told."""
    with closing(Store(location)) as store:
        if order == "hold":
            with store.engine.lease(words[0]):
                _ready()
            return
        _ready()
        decision_id, count, name = words
        for number in range(int(count)):
            outcome = Outcome(quality=0.5)
            said = f"{name}-{number}"
            store.writer.append([store.entry(decision_id, outcome, outcome.signals(), outcome_id=said)])
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
