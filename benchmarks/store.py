"""What the log costs and bears: durable recording, a million outcomes, several processes on one file.

Run it: ``python benchmarks/store.py [--quick]``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from beside import beside
from measuring import Figure, conditions, options, scratch, show
from million import replay, restart
from processes import four_processes
from recording import many_callers, one_caller

PARTS = ("callers", "caller", "replay", "restart", "processes", "beside")


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table."""
    chosen = options(__doc__, argv, PARTS)
    parts, repeats, quick = chosen.only or PARTS, chosen.repeats, chosen.quick
    outcomes = 5_000 if quick else 1_000_000
    figures: list[Figure] = []
    with scratch(chosen.folder) as folder:
        if "callers" in parts:
            figures += many_callers(folder, repeats, 640 if quick else 19_200)
        if "caller" in parts:
            figures += one_caller(folder, repeats, 50 if quick else 1_000)
        if "replay" in parts:
            figures += replay(folder, repeats, outcomes)
        if "restart" in parts:
            figures += restart(folder, repeats, outcomes)
        if "processes" in parts:
            figures += four_processes(folder, repeats, 0.3 if quick else 3.0)
        if "beside" in parts:
            figures += beside(folder, 5_000 if quick else 500_000, 1.0 if quick else 30.0)
        show("The store, files on disk, privacy full, learner running", figures, conditions(folder))


if __name__ == "__main__":
    main()
